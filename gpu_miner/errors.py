"""Everything that can go wrong in the miner.

MinerError
├── ConfigError          the command line, the environment or the state folder is wrong
├── DownloadFailed       a model could not be brought here whole
├── NameTaken            the platform knows this name and this machine holds no key for it
├── EngineUnavailable    the chosen engine cannot run here
├── EngineHung           every slot is held by an engine that no longer listens
├── EngineError          one job went wrong; says whether another miner may try it
└── PlatformError        the platform did not do what was asked
    ├── Unreachable      no reply, or a reply that is not the platform's
    ├── Unavailable      429 or 5xx: the same request may work later
    ├── Refused          401 or 403: the key or the token is not accepted
    └── Rejected         any other status: the same request will never work
"""


class MinerError(Exception):
    """The root; `exit_code` is what the process ends with when nobody handles it."""

    exit_code = 1


class ConfigError(MinerError):
    """The miner was started wrongly; every problem is named at once."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class EngineUnavailable(MinerError):
    """The chosen engine cannot run on this machine; the text says what to install or start."""

    exit_code = 3


class DownloadFailed(MinerError):
    """A model could not be brought here whole and unaltered; the text says why."""

    exit_code = 6


class NameTaken(MinerError):
    """Another miner, or a former life of this one, owns the name."""

    exit_code = 5


class EngineHung(MinerError):
    """Every slot is held by jobs that ignore their cancellation; only a new process helps."""

    exit_code = 70


class EngineError(MinerError):
    """One job failed in the engine; `retryable` means that another miner may succeed."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class PlatformError(MinerError):
    """The platform did not do what was asked."""

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str = "",
        retry_after_s: float | None = None,
        timestamp: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.timestamp = timestamp


class Unreachable(PlatformError):
    """No reply came, or one that cannot be the platform's."""


class Unavailable(PlatformError):
    """The platform is overloaded, restarting or limiting; the same request may work later."""


class Refused(PlatformError):
    """The platform does not accept the key or the enrolment token."""

    exit_code = 4


class Rejected(PlatformError):
    """The platform will never accept this request."""
