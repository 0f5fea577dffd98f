"""python -m gpu_miner doctor: looks at everything a miner needs and says what to do about what is amiss."""

import sys
from collections.abc import Mapping, Sequence

from gpu_miner.checkup import Checkup, Level
from gpu_miner.config import load_settings

FAILED = 1


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """0 when a miner would work, warnings or not; 1 when something must be done first."""
    settings = load_settings(arguments, environ)
    worst = Level.OK
    for finding in Checkup(settings, environ).findings():
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        worst = max(worst, finding.level)
    sys.stdout.write(f"{worst.verdict}\n")
    return FAILED if worst is Level.FAILURE else 0
