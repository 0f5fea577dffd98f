"""The command line: python -m gpu_miner [run|doctor|bench|download|status] [flags]."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module

from gpu_miner.errors import ConfigError, MinerError

COMMANDS = ("run", "doctor", "bench", "download", "status")

Command = Callable[[Sequence[str], Mapping[str, str]], int]


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit code; what went wrong is on standard error, a line for each problem."""
    try:
        name, rest = split(arguments)
        command: Command = import_module(f"gpu_miner.commands.{name}").main
        return command(rest, environ)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"gpu_miner: {problem}\n")
        return error.exit_code
    except MinerError as error:
        sys.stderr.write(f"gpu_miner: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        logging.shutdown()


def split(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The command and its arguments; flags alone mean `run`."""
    if not arguments or arguments[0].startswith("-"):
        return "run", arguments
    name = arguments[0]
    if name not in COMMANDS:
        nearest = get_close_matches(name, COMMANDS, 1, 0.0)[0]
        raise ConfigError(f"there is no command “{name}”; did you mean “{nearest}”? It knows {', '.join(COMMANDS)}")
    return name, arguments[1:]
