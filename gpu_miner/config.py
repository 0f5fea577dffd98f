"""The miner's settings: flags first, then MIA_* variables, then defaults; checked before anything starts."""

import argparse
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from gpu_miner import VERSION
from gpu_miner.errors import ConfigError

ENGINES = ("extractive", "openai", "scripted", "exllamav2")
PREFILLS = ("none", "assistant", "vllm")
LOG_LEVELS = ("debug", "info", "warning", "error")
MAX_SLOTS = 64
NAME = re.compile(r"[\w .:@-]{1,100}")
TRUE_WORDS = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class Settings:
    """Everything a miner can be told at its start."""

    url: str
    name: str
    engine: str = "extractive"
    slots: int = 4
    enrolment_token: str = ""
    state_dir: Path = Path("~/.local/state/mia-miner")
    idle: bool = True
    once: bool = False
    insecure: bool = False
    log_level: str = "info"
    openai_url: str = ""
    openai_model: str = ""
    openai_embedding_model: str = ""
    openai_key: str = ""
    openai_prefill: str = "none"
    openai_timeout_s: float = 120.0
    max_context: int = 8192
    max_output: int = 1024
    words_per_s: float = 40.0
    script: str = ""


def load_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Settings from the command line and environment; raises ConfigError that names every problem."""
    given = vars(_parser(environ).parse_args(arguments))
    given["engine"] = given["engine"] or ("openai" if given["openai_url"] else "extractive")
    given["state_dir"] = Path(given["state_dir"]).expanduser()
    given["url"], given["openai_url"] = given["url"].rstrip("/"), given["openai_url"].rstrip("/")
    settings = Settings(**given)
    problems = [*_platform_problems(settings), *_engine_problems(settings)]
    if problems:
        raise ConfigError(*problems)
    return settings


def default_state_dir(environ: Mapping[str, str]) -> str:
    return str(Path(environ.get("XDG_STATE_HOME") or "~/.local/state") / "mia-miner")


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its very name; nothing is resolved, a name server may lie."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gpu_miner",
        description="Answers customers' questions for a MIA platform on this machine.",
        epilog="Every flag can be set as MIA_<FLAG>, for example MIA_URL or MIA_ENROLMENT_TOKEN.",
    )

    def env(name: str, default: str = "") -> str:
        return environ.get(f"MIA_{name}", "").strip() or default

    def switch(name: str) -> bool:
        return env(name).lower() in TRUE_WORDS

    add = parser.add_argument
    add("--url", default=env("URL"), help="address of the platform, https://…")
    add("--name", default=env("NAME", socket.gethostname()), help="name of this miner, unique on the platform")
    add("--engine", default=env("ENGINE"), help=f"{', '.join(ENGINES)} (openai with --openai-url, else extractive)")
    add("--slots", type=int, default=env("SLOTS", "4"), help="jobs answered at once (4)")
    add("--enrolment-token", default=env("ENROLMENT_TOKEN"), help="needed once, to register a new name")
    add("--state-dir", default=env("STATE_DIR", default_state_dir(environ)), help="where the key is kept")
    add("--no-idle", dest="idle", action="store_false", default=not switch("NO_IDLE"), help="customers' jobs only")
    add("--once", action="store_true", default=switch("ONCE"), help="answer one job, then stop")
    add("--insecure", action="store_true", default=switch("INSECURE"), help="allow plain http to another machine")
    add("--log-level", default=env("LOG_LEVEL", "info"), help=", ".join(LOG_LEVELS))
    add("--openai-url", default=env("OPENAI_URL"), help="an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    add("--openai-model", default=env("OPENAI_MODEL"), help="the server's model (its first)")
    add(
        "--openai-embedding-model",
        default=env("OPENAI_EMBEDDING_MODEL"),
        help="a model of the same server whose /embeddings the platform may use",
    )
    add("--openai-key", default=env("OPENAI_KEY"), help="the server's key; better set as MIA_OPENAI_KEY")
    add("--openai-prefill", default=env("OPENAI_PREFILL", "none"), help="how the server continues a begun answer")
    add("--openai-timeout-s", type=float, default=env("OPENAI_TIMEOUT_S", "120"), help="longest silence (120)")
    add("--max-context", type=int, default=env("MAX_CONTEXT", "8192"), help="tokens the model can read (8192)")
    add("--max-output", type=int, default=env("MAX_OUTPUT", "1024"), help="tokens of one answer (1024)")
    add("--words-per-s", type=float, default=env("WORDS_PER_S", "40"), help="pace of the extractive engine (40)")
    add("--script", default=env("SCRIPT"), help="what the scripted engine does: a JSON file, or JSON")
    add("--version", action="version", version=f"mia-miner {VERSION}")
    return parser


def _platform_problems(settings: Settings) -> list[str]:
    problems = _url_problems("--url", settings.url, settings.insecure)
    if not NAME.fullmatch(settings.name):
        problems.append("--name must have 1 to 100 letters, digits, spaces or one of _ . : @ -")
    if not 1 <= settings.slots <= MAX_SLOTS:
        problems.append(f"--slots must be between 1 and {MAX_SLOTS}, not {settings.slots}")
    if settings.log_level not in LOG_LEVELS:
        problems.append(f"--log-level must be one of {', '.join(LOG_LEVELS)}")
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
