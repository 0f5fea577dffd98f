"""The miner's settings: flags first, then MIA_* variables, then miner.toml, then defaults; checked before any start."""

import argparse
import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gpu_miner import VERSION
from gpu_miner.errors import ConfigError
from gpu_miner.options import gather, option, options_of
from gpu_miner.schedule import Hours, parse_hours

ENGINES = ("exllamav2", "exllamav3", "transformers", "openai", "extractive", "scripted")
MODEL_ENGINES = frozenset({"exllamav2", "exllamav3", "transformers"})
PREFILLS = ("none", "assistant", "vllm")
CACHE_MODES = ("FP16", "Q8", "Q6", "Q4")
LOG_LEVELS = ("debug", "info", "warning", "error")
LANES = ("chat", "api", "idle")
MAX_SLOTS = 64
NAME = re.compile(r"[\w .:@-]{1,100}")
HUB_URL = "https://huggingface.co"
STATE_DIR = Path("~/.local/state/mia-miner")
MODELS_DIR = Path("~/.local/share/mia-miner/models")


@dataclass(frozen=True)
class Settings:
    """Everything a miner can be told at its start."""

    url: str = field(metadata={"help": "address of the platform, https://…", "negated_as": ""})
    name: str = field(metadata={"help": "name of this miner, unique on the platform (host name)", "negated_as": ""})
    engine: str = option("extractive", f"what writes the answers: {', '.join(ENGINES)} (the best that can run here)")
    slots: int = option(4, "jobs answered at once (4)")
    enrolment_token: str = option("", "needed once, to register a new name; better set as MIA_ENROLMENT_TOKEN")
    state_dir: Path = option(STATE_DIR, "where the key and the status are kept")  # noqa: RUF009 - a Path is immutable
    idle: bool = option(True, "customers' jobs only", negated_as="no_idle")
    chat_only: bool = option(False, "customers' chats only, no jobs of programs and no idle jobs")
    idle_only: bool = option(False, "paid idle jobs only")
    once: bool = option(False, "answer one job, then stop")
    insecure: bool = option(False, "allow plain http to another machine")
    log_level: str = option("info", ", ".join(LOG_LEVELS))
    log_file: str = option("", "write the log to this file, which is rotated, instead of to standard error")
    hours: str = option("", "when to work, by this machine's clock: 22:00-08:00, several separated by commas (always)")
    max_temperature: int = option(0, "pause while a GPU is hotter than this many °C (0: never)")
    max_power: int = option(0, "pause while the GPUs together draw more than this many watts (0: never)")
    bench: bool = option(True, "do not measure a GPU's speed before the first start", negated_as="no_bench")
    model: str = option("", "a name of `download --list`, OWNER/REPOSITORY@REVISION, or a folder (largest that fits)")
    model_name: str = option("", "what the platform calls the model (its name in the catalogue, or its folder's)")
    model_digest: str = option("", "what the platform is told to tell this very model by (computed)")
    models_dir: Path = option(MODELS_DIR, "where downloaded models are kept")  # noqa: RUF009
    hub_url: str = option(HUB_URL, "where models are downloaded from")
    cache_mode: str = option("Q8", f"how exact the cache of read tokens is: {', '.join(CACHE_MODES)} (Q8)")
    cache_tokens: int = option(0, "tokens of all jobs together that the cache holds (0: as many as fit)")
    chunk_size: int = option(512, "tokens of a prompt read in one step (512)")
    device: str = option("", "cuda, cuda:1, mps, cpu (the best there is)")
    openai_url: str = option("", "an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    openai_model: str = option("", "the server's model (its first)")
    openai_embedding_model: str = option("", "a model of the same server whose /embeddings the platform may use")
    openai_rerank_model: str = option("", "a model of the same server whose /rerank the platform may use")
    openai_key: str = option("", "the server's key; better set as MIA_OPENAI_KEY")
    openai_prefill: str = option("none", f"how the server continues a begun answer: {', '.join(PREFILLS)} (none)")
    openai_timeout_s: float = option(120.0, "longest silence of the server (120)")
    max_context: int = option(8192, "tokens the model can read (8192)")
    max_output: int = option(1024, "tokens of one answer (1024)")
    words_per_s: float = option(40.0, "pace of the extractive engine (40)")
    script: str = option("", "what the scripted engine does: a JSON file, or JSON")

    @property
    def lanes(self) -> tuple[str, ...]:
        """The kinds of jobs that are taken."""
        if self.idle_only:
            return ("idle",)
        if self.chat_only:
            return ("chat",)
        return LANES if self.idle else LANES[:2]

    @property
    def takes_idle(self) -> bool:
        return "idle" in self.lanes

    @property
    def takes_customers(self) -> bool:
        return "chat" in self.lanes

    @property
    def working_hours(self) -> Hours:
        return parse_hours(self.hours)


def load_settings(arguments: Sequence[str], environ: Mapping[str, str], *, platform_needed: bool = True) -> Settings:
    """Settings from every source; raises ConfigError that names every problem."""
    return read_settings(parser().parse_args(arguments), environ, platform_needed=platform_needed)


def read_settings(parsed: argparse.Namespace, environ: Mapping[str, str], *, platform_needed: bool = True) -> Settings:
    """Settings from parsed flags and the weaker sources; commands that never call the platform do without its url."""
    flags = vars(parsed)
    given = gather(options_of(Settings), flags, environ, _settings_file(flags.get("config"), environ))
    settings = Settings(**_completed(given, environ))
    problems = [
        *(_platform_problems(settings) if platform_needed else []),
        *_habit_problems(settings),
        *_engine_problems(settings),
    ]
    if problems:
        raise ConfigError(*problems)
    return settings


def parser(command: str = "") -> argparse.ArgumentParser:
    """Flags only; what is not given as a flag is looked up elsewhere later."""
    made = argparse.ArgumentParser(
        prog=f"python -m gpu_miner {command}".strip(),
        description="Answers customers' questions for a MIA platform on this machine.",
        epilog="Commands: run (the default), doctor, bench, download, status. Every flag can be set as MIA_<FLAG>, for "
        'example MIA_URL, and as a line of miner.toml, for example url = "https://…".',
        allow_abbrev=False,
    )
    made.add_argument("--config", help="the settings file (~/.config/mia-miner/miner.toml, when there is one)")
    for one in options_of(Settings):
        one.add_to(made)
    made.add_argument("--version", action="version", version=f"mia-miner {VERSION}")
    return made


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its very name; nothing is resolved, a name server may lie."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _settings_file(named: str | None, environ: Mapping[str, str]) -> Path | None:
    """The file that is named must be there; the usual one may be."""
    named = named or environ.get("MIA_CONFIG", "").strip()
    if named:
        return Path(named).expanduser()
    folder = _folder(environ, "XDG_CONFIG_HOME", ".config")
    usual = folder / "mia-miner" / "miner.toml" if folder else None
    return usual if usual and usual.is_file() else None


def _folder(environ: Mapping[str, str], variable: str, under_home: str) -> Path | None:
    named, home = environ.get(variable), environ.get("HOME")
    return Path(named) if named else Path(home) / under_home if home else None


def _completed(given: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """With the defaults that depend on the machine or on other settings, and values in their canonical form."""
    state, data = environ.get("XDG_STATE_HOME") or "~/.local/state", environ.get("XDG_DATA_HOME") or "~/.local/share"
    given = {"url": "", "name": socket.gethostname(), **given}
    given["state_dir"] = Path(given.get("state_dir") or Path(state) / "mia-miner").expanduser()
    given["models_dir"] = Path(given.get("models_dir") or Path(data) / "mia-miner" / "models").expanduser()
    for address in ("url", "openai_url", "hub_url"):
        given[address] = str(given.get(address, "")).rstrip("/")
    given["hub_url"] = given["hub_url"] or HUB_URL
    given["cache_mode"] = str(given.get("cache_mode") or "Q8").upper()
    given["engine"] = given.get("engine") or _best_engine(given["openai_url"], given.get("model", ""))
    return given


def _best_engine(openai_url: str, model: str) -> str:
    """A server that the operator names is what they want; else a GPU with its packages; else no weights at all."""
    if openai_url:
        return "openai"
    if find_spec("exllamav2") and (shutil.which("nvidia-smi") or os.path.exists("/proc/driver/nvidia")):
        return "exllamav2"
    return "transformers" if model and find_spec("transformers") else "extractive"


def _platform_problems(settings: Settings) -> list[str]:
    problems = _url_problems("--url", settings.url, settings.insecure)
    if not NAME.fullmatch(settings.name):
        problems.append("--name must have 1 to 100 letters, digits, spaces or one of _ . : @ -")
    return problems


def _habit_problems(settings: Settings) -> list[str]:
    problems = []
    if not 1 <= settings.slots <= MAX_SLOTS:
        problems.append(f"--slots must be between 1 and {MAX_SLOTS}, not {settings.slots}")
    if settings.log_level not in LOG_LEVELS:
        problems.append(f"--log-level must be one of {', '.join(LOG_LEVELS)}")
    if settings.idle_only and (settings.chat_only or not settings.idle):
        problems.append("--idle-only leaves nothing to do together with --chat-only or --no-idle")
    if settings.max_temperature and not 40 <= settings.max_temperature <= 110:
        problems.append("--max-temperature must be between 40 and 110 °C, or 0")
    if settings.max_power < 0:
        problems.append("--max-power must be a number of watts, or 0")
    try:
        parse_hours(settings.hours)
    except ValueError as error:
        problems.append(f"--hours: {error}")
    return problems


def _url_problems(flag: str, url: str, insecure: bool) -> list[str]:
    if not url:
        return [f"{flag} is missing: the address of the platform, for example https://mia.example.com"]
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return [f"{flag} is not an address: {url}"]
    if parts.scheme not in ("http", "https") or not host:
        return [f"{flag} must start with https:// (or http:// for this machine): {url}"]
    if parts.username or parts.query or parts.fragment:
        return [f"{flag} must be a plain address, without user, query or fragment"]
    if parts.scheme == "http" and not is_loopback(host) and not insecure:
        return [f"{flag} would send the key and customers' words unencrypted to {host}; use https:// or add --insecure"]
    return []


def _engine_problems(settings: Settings) -> list[str]:
    problems = []
    if settings.engine not in ENGINES:
        problems.append(f"--engine must be one of {', '.join(ENGINES)}, not {settings.engine}")
    if settings.engine == "openai":
        problems += _openai_problems(settings)
    if settings.engine == "extractive" and settings.model:
        problems.append("--model needs an engine that reads models: --engine exllamav2, exllamav3 or transformers")
    if settings.cache_mode not in CACHE_MODES:
        problems.append(f"--cache-mode must be one of {', '.join(CACHE_MODES)}")
    if settings.cache_tokens < 0 or settings.chunk_size < 64:
        problems.append("--cache-tokens must be 0 or more, --chunk-size 64 or more")
    if settings.max_context < 256:
        problems.append("--max-context must be at least 256")
    if not 1 <= settings.max_output <= settings.max_context:
        problems.append("--max-output must be between 1 and --max-context")
    if settings.words_per_s <= 0:
        problems.append("--words-per-s must be more than 0")
    return problems


def _openai_problems(settings: Settings) -> list[str]:
    problems = []
    if not settings.openai_url:
        problems.append("--openai-url is missing: the openai engine needs a server to ask")
    else:
        problems += _url_problems("--openai-url", settings.openai_url, settings.insecure)
    if settings.openai_prefill not in PREFILLS:
        problems.append(f"--openai-prefill must be one of {', '.join(PREFILLS)}")
    if settings.openai_timeout_s <= 0:
        problems.append("--openai-timeout-s must be more than 0")
    return problems
