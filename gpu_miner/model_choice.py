"""From what the operator says to a model folder on this machine: a folder, a catalogue name, or the best that fits."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gpu_miner.catalogue import Model, largest_that_fits, named
from gpu_miner.config import MODEL_ENGINES, Settings
from gpu_miner.digests import digest_of
from gpu_miner.errors import ConfigError, EngineUnavailable
from gpu_miner.hub import Hub, Report, folder_is_complete, token_for
from gpu_miner.progress import ProgressBar
from gpu_miner.protocol import GpuCard

logger = logging.getLogger(__name__)


def with_model(
    settings: Settings,
    gpus: Sequence[GpuCard],
    environ: Mapping[str, str] = os.environ,
    bar: Callable[[str], ProgressBar] | None = None,
) -> Settings:
    """Settings whose model is a local folder with a name and a digest, downloaded if need be.

    Engines without a model of their own get the settings back as they are. Raises ConfigError, DownloadFailed.
    """
    if settings.engine not in MODEL_ENGINES:
        return settings
    folder = Path(settings.model).expanduser() if settings.model else None
    name = ""
    if folder is None or not folder.is_dir():
        model = chosen(settings, gpus)
        name, folder = model.name, fetched(settings, model, environ, bar)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no model folder: it has no config.json")
    digest = settings.model_digest or digest_of(folder, settings.state_dir / "digests.json")
    name = settings.model_name or name or folder.resolve().name
    return replace(settings, model=str(folder), model_name=name, model_digest=digest)


def chosen(settings: Settings, gpus: Sequence[GpuCard]) -> Model:
    """The model that was named, or the largest that fits into the largest GPU."""
    if settings.model:
        model = named(settings.model)
        if model is None:
            raise ConfigError(
                f"--model {settings.model} is neither a folder here, nor in the catalogue (`download --list`), "
                "nor OWNER/REPOSITORY@REVISION"
            )
        return model
    if not gpus:
        raise EngineUnavailable("no GPU is found, so no model can be chosen for it; name one with --model")
    return largest_that_fits(max(gpu["vram_mb"] for gpu in gpus), settings.engine)


def fetched(
    settings: Settings, model: Model, environ: Mapping[str, str], bar: Callable[[str], ProgressBar] | None = None
) -> Path:
    folder = settings.models_dir / model.folder
    if folder_is_complete(folder):
        return folder
    logger.info("downloading %s (%s@%s)", model.name, model.repository, model.revision)
    progress = bar(model.name) if bar else ProgressBar(model.name, sys.stdout)
    report: Report = progress.show
    try:
        Hub(settings.hub_url, token_for(settings.hub_url, environ)).download(model, folder, report)
    finally:
        progress.close()
    return folder
