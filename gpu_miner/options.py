"""Where a setting comes from: its flag, else its MIA_* variable, else its line in miner.toml, else its default."""

import argparse
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gpu_miner.errors import ConfigError

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})
WORDS_FOR_TYPES = {int: "a whole number", float: "a number", bool: "yes or no", str: "text", Path: "a path"}


def option(default: Any, help_text: str, *, negated_as: str = "") -> Any:
    """A field of the settings; one that is on by default is turned off by the flag `negated_as`."""
    return field(default=default, metadata={"help": help_text, "negated_as": negated_as})


@dataclass(frozen=True)
class Option:
    """One setting as the sources name it: `name` in the file, --name as a flag, MIA_NAME in the environment."""

    field_name: str
    name: str
    kind: type
    help_text: str
    is_negated: bool

    @classmethod
    def of(cls, one: Field[Any]) -> "Option":
        negated_as = one.metadata["negated_as"]
        kind = str if one.default is MISSING else type(one.default)
        kind = Path if issubclass(kind, Path) else kind
        return cls(one.name, negated_as or one.name, kind, one.metadata["help"], bool(negated_as))

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return f"MIA_{self.name.upper()}"

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        if self.kind is bool:
            parser.add_argument(self.flag, dest=self.name, action="store_const", const="yes", help=self.help_text)
        else:
            parser.add_argument(self.flag, dest=self.name, help=self.help_text)


def options_of(settings_class: type) -> list[Option]:
    return [Option.of(one) for one in fields(settings_class)]


def gather(
    options: Sequence[Option], flags: Mapping[str, str | None], environ: Mapping[str, str], path: Path | None
) -> dict[str, Any]:
    """Typed values by field name of whatever is set anywhere; raises ConfigError that names every problem."""
    problems: list[str] = []
    in_file = _read_file(path, options, problems) if path else {}
    values: dict[str, Any] = {}
    for one in options:
        found = _first_said(one, flags, environ, in_file, path)
        if found is None:
            continue
        raw, source = found
        value = _typed(one.kind, raw)
        if value is None:
            problems.append(f"{source} must be {WORDS_FOR_TYPES[one.kind]}, not {raw!r}")
        else:
            values[one.field_name] = not value if one.is_negated else value
    if problems:
        raise ConfigError(*problems)
    return values


def _first_said(
    one: Option,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    in_file: Mapping[str, object],
    path: Path | None,
) -> tuple[object, str] | None:
    """The value of the strongest source that has one, and how to name that source to its author."""
    said = flags.get(one.name)
    if said is not None:
        return said, one.flag
    text = environ.get(one.variable, "").strip()
    if text:
        return text, f"{one.flag} ({one.variable})"
    if one.name in in_file:
        return in_file[one.name], f"{one.name} in {path}"
    return None


def _typed(kind: type, raw: object) -> Any:
    """The value in its type, from text or from TOML; None for what is neither."""
    if kind is bool:
        return _switch(raw)
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        return None
    if kind in (str, Path):
        return kind(raw) if isinstance(raw, str) else None
    try:
        number = kind(raw)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and (kind is float or not isinstance(raw, float)) else None


def _switch(raw: object) -> bool | None:
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else ""
    if word in TRUE_WORDS:
        return True
    return False if word in FALSE_WORDS else None


def _read_file(path: Path, options: Sequence[Option], problems: list[str]) -> dict[str, object]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"the settings file {path} is not there")
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"the settings file {path} cannot be read: {error}")
        return {}
    names = [one.name for one in options]
    # Flags are written with hyphens; a file that follows them means the same.
    given = {key.replace("-", "_"): value for key, value in raw.items()}
    problems.extend(_unknown(path, [key for key in given if key not in names], names))
    return {key: value for key, value in given.items() if key in names}


def _unknown(path: Path, keys: Iterable[str], names: Sequence[str]) -> list[str]:
    problems = []
    for key in keys:
        nearest = get_close_matches(key, names, 1, 0.0)
        problems.append(f"{path} sets “{key}”, which is no setting; did you mean “{nearest[0]}”?")
    return problems
