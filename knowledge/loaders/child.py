"""The process that reads what strangers made: little memory, no files to write, and nobody minds if it dies.

Reads requests from its standard input and answers on its standard output, each as a length and JSON, a request
followed by the content itself.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from typing import IO, Any, Final

LENGTH: Final = struct.Struct(">II")
MEMORY_BYTES: Final = 1_000_000_000
RECURSION: Final = 1_000
"""Deep enough for honest files, and shallow enough that Python's stack ends before the process's does."""


def main() -> None:
    answers = sys.stdout.buffer
    # Whatever a library prints would be taken for an answer.
    sys.stdout = sys.stderr
    preload()
    confine()
    answers.write(LENGTH.pack(2, 0) + b"{}")
    answers.flush()
    while (request := read(sys.stdin.buffer)) is not None:
        reply = json.dumps(answer(*request)).encode()
        answers.write(LENGTH.pack(len(reply), 0) + reply)
        answers.flush()


def preload() -> None:
    """What every page needs, before memory is short and files cannot be opened."""
    import warnings

    warnings.simplefilter("ignore")
    from knowledge.loaders import csv, docx, html, pdf, text  # noqa: F401


def confine() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    sys.setrecursionlimit(RECURSION)


def read(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    told, content = LENGTH.unpack(head)
    return json.loads(stream.read(told)), stream.read(content)


def answer(request: dict[str, Any], content: bytes) -> dict[str, Any]:
    from knowledge.loaders import prepare
    from knowledge.loaders.base import LoadError

    try:
        return {"prepared": prepare(content, **request)}
    except LoadError as error:
        return {"error": str(error)}
    except (MemoryError, RecursionError):
        return {"error": "It takes far more memory to read than a file of its size should."}
    except Exception as error:  # noqa: BLE001 - the edge of the process: libraries fail in any way on hostile files
        return {"error": f"It could not be read ({type(error).__name__})."}


if __name__ == "__main__":
    main()
