"""What is looked at while a miner works: its owner's limits, the line on the screen, the file for `status`."""

from time import monotonic

from gpu_miner.config import Settings
from gpu_miner.pauses import OwnersLimits
from gpu_miner.schedule import local_now
from gpu_miner.status import StatusLine
from gpu_miner.status_file import StatusFile
from gpu_miner.supervisor import Supervisor

LIMITS_EVERY_S = 1.0


class Watch:
    """Looks a few times a second; the costlier looks are taken once a second."""

    def __init__(self, supervisor: Supervisor, settings: Settings, line: StatusLine, file: StatusFile) -> None:
        self._supervisor = supervisor
        self._limits = OwnersLimits(settings)
        self._line = line
        self._file = file
        self._due_at = 0.0

    def look(self) -> None:
        situation = self._supervisor.situation()
        self._line.show(situation)
        if monotonic() < self._due_at:
            return
        self._due_at = monotonic() + LIMITS_EVERY_S
        for reason, holds in self._limits.judge(situation.load, local_now()).items():
            self._supervisor.miner.pause(reason, on=holds)
        self._file.write(self._supervisor.situation())
