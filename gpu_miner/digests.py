"""What tells one model from another: a digest over its files, computed once and kept."""

import hashlib
import json
import logging
import os
from pathlib import Path

from gpu_miner.protocol import as_object, as_text

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024
# Files that decide what a model says; a note beside them does not make it another model.
DECISIVE = (".safetensors", ".json", ".jinja", ".model", ".txt")


def digest_of(folder: Path, cache: Path) -> str:
    """ "sha256:…" over the names and contents of the model's files; read again only when one of them changed."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in DECISIVE)
    stamp = _stamp(folder, files)
    known = _read(cache)
    entry = as_object(known.get(str(folder.resolve())))
    if entry.get("stamp") == stamp:
        return as_text(entry.get("digest"))
    logger.info("computing the digest of %s, once", folder)
    digest = _compute(folder, files)
    _write(cache, {**known, str(folder.resolve()): {"stamp": stamp, "digest": digest}})
    return digest


def _stamp(folder: Path, files: list[Path]) -> str:
    """Changes when a file comes, goes, grows or is written anew."""
    facts = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _compute(folder: Path, files: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        one = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                one.update(block)
        whole.update(f"{path.relative_to(folder).as_posix()}\0{one.hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _read(cache: Path) -> dict[str, object]:
    try:
        return as_object(json.loads(cache.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _write(cache: Path, content: dict[str, object]) -> None:
    cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = cache.with_suffix(".new")
    draft.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(draft, cache)
