"""python -m gpu_miner status: what the miners of this machine are doing, from their files."""

import json
import sys
from collections.abc import Mapping, Sequence
from time import sleep

from gpu_miner.config import parser, read_settings
from gpu_miner.status import CLEAR_LINE
from gpu_miner.status_file import Seen, miners_here

NOT_RUNNING = 3
EVERY_S = 1.0


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """0 when at least one miner runs, else 3, as service managers have it."""
    made = parser("status")
    made.add_argument("--json", action="store_true", help="everything, one JSON object a line")
    made.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    asked = made.parse_args(arguments)
    folder = read_settings(asked, environ, platform_needed=False).state_dir
    while True:
        miners = list(miners_here(folder))
        _show(miners, as_json=asked.json, in_place=asked.follow and sys.stdout.isatty() and len(miners) == 1)
        if not asked.follow or not miners:
            break
        sleep(EVERY_S)
    if not miners:
        sys.stdout.write(f"no miner runs with the state folder {folder}\n")
    return 0 if any(miner.is_running for miner in miners) else NOT_RUNNING


def _show(miners: Sequence[Seen], *, as_json: bool, in_place: bool) -> None:
    for miner in miners:
        text = json.dumps({**miner.status, "is_running": miner.is_running}) if as_json else miner.line
        sys.stdout.write(f"{CLEAR_LINE}{text}" if in_place else f"{text}\n")
    sys.stdout.flush()
