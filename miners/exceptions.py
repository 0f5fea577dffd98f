"""What the network refuses, as the errors that outside programs see."""

from mia.lib.errors import Conflict, Forbidden, NotAuthenticated


class MinerNameTaken(Conflict):
    """Somebody else registered that name, and the request does not carry its key."""

    code = "NAME_TAKEN"
    default_detail = "A miner with this name is registered. Send its key, or choose another name."


class EnrolmentRefused(NotAuthenticated):
    """Registration without a usable enrolment token."""

    code = "ENROLMENT_REQUIRED"
    default_detail = "Registration needs a valid enrolment token."


class NotTheHolder(Forbidden):
    """The caller is a miner, but this job was never in its hands."""

    code = "NOT_THE_HOLDER"
    default_detail = "This job is not leased to this miner."


class MinerBanned(Forbidden):
    """The miner is banned."""

    code = "MINER_BANNED"
    default_detail = "This miner is banned from the network."
