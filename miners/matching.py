"""Which parked miner gets which job: pure, so that its rules can be read and tested without a database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from miners.choices import JobKind, Lane, Trust
from miners.limits import AFFINITY_HOLD
from miners.profiles import MinerProfile

AFFINITY_HOLD_MS: Final = AFFINITY_HOLD.total_seconds() * 1000


@dataclass(eq=False)
class Seat:
    """A parked poll: how many jobs its miner can take now, and what it has been given in this round."""

    profile: MinerProfile
    slots: int
    idle: bool
    given: list[UUID] = field(default_factory=list)

    @property
    def free(self) -> int:
        return self.slots - len(self.given)

    @property
    def lanes(self) -> tuple[int, ...]:
        """What its owner lets it take, without idle jobs when this very poll wants none."""
        return tuple(lane for lane in self.profile.lanes if self.idle or lane != Lane.IDLE)

    @property
    def capability(self) -> tuple[object, ...]:
        """Seats of one capability can serve the same jobs, but for those that name or have tried a miner."""
        profile = self.profile
        return (profile.trust, profile.model_ids, profile.features, profile.max_context, self.lanes)


@dataclass(frozen=True)
class Match:
    """Who gets what, and how long the shortest of the jobs held for their own miner may still wait."""

    pairs: tuple[tuple[UUID, Seat], ...]
    hold_ms: float | None


def describe(seats: Sequence[Seat]) -> list[dict[str, Any]]:
    """The seats by capability, as the claim's SQL takes them."""
    classes: dict[tuple[object, ...], list[Seat]] = {}
    for seat in seats:
        classes.setdefault(seat.capability, []).append(seat)
    return [
        {
            "miners": [seat.profile.id for seat in alike],
            "trust": int(alike[0].profile.trust),
            "models": list(alike[0].profile.model_ids),
            "features": list(alike[0].profile.features),
            "max_context": alike[0].profile.max_context,
            "lanes": list(alike[0].lanes),
        }
        for alike in classes.values()
    ]


def match(candidates: Sequence[Mapping[str, Any]], seats: Sequence[Seat]) -> Match:
    """Jobs in claiming order to seats: its last miner if parked, else the seat with least given, longest parked first.

    A job whose last miner is free but between two polls is held for it, at most AFFINITY_HOLD from submission. A miner
    that let this very job go before, without a word, comes last.
    """
    pairs: list[tuple[UUID, Seat]] = []
    holds: list[float] = []
    for job in candidates:
        able = [seat for seat in seats if seat.free > 0 and may_serve(seat, job)]
        own = next((seat for seat in able if _is_preferred(seat, job)), None)
        if own is None and _is_held(job):
            holds.append(AFFINITY_HOLD_MS - job["age_ms"])
            continue
        if not able:
            continue
        let_go = job["miner_id"]
        seat = own or min(able, key=lambda able_seat: (able_seat.profile.id == let_go, len(able_seat.given)))
        seat.given.append(job["id"])
        pairs.append((job["id"], seat))
    return Match(pairs=tuple(pairs), hold_ms=min(holds, default=None))


def _is_preferred(seat: Seat, job: Mapping[str, Any]) -> bool:
    return bool(seat.profile.id == job["affinity_miner_id"] != job["miner_id"])


def _is_held(job: Mapping[str, Any]) -> bool:
    is_waited_for = job["affine_is_free"] and job["affinity_miner_id"] != job["miner_id"]
    return bool(is_waited_for and job["age_ms"] < AFFINITY_HOLD_MS)


def may_serve(seat: Seat, job: Mapping[str, Any]) -> bool:
    """`fencing.MAY_SERVE` for one seat."""
    profile = seat.profile
    return bool(
        _is_able(profile, job)
        and _is_allowed(seat, job)
        and profile.id not in job["tried"]
        and job["target_miner_id"] in {None, profile.id}
    )


def _is_able(profile: MinerProfile, job: Mapping[str, Any]) -> bool:
    return bool(
        job["model"] in {"", *profile.model_ids}
        and job["context_tokens"] + job["max_tokens"] <= profile.max_context
        and set(job["features"]) <= set(profile.features)
    )


def _is_allowed(seat: Seat, job: Mapping[str, Any]) -> bool:
    trust = seat.profile.trust
    if trust < job["min_trust"]:
        return False
    if job["kind"] == JobKind.CANARY:
        return True
    least = Trust.PROBATION if job["lane"] == Lane.IDLE else Trust.VERIFIED
    return job["lane"] in seat.lanes and trust >= least
