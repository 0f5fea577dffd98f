"""Telling the platform, from a thread of its own, that the miner and its jobs live, and hearing its verdicts."""

import logging
from collections.abc import Callable

from gpu_miner.errors import PlatformError, Refused
from gpu_miner.jobs import Ending, Job, Phase
from gpu_miner.miner import Miner
from gpu_miner.protocol import GpuLoad, Heartbeat, HeartbeatReply, Verdict

logger = logging.getLogger(__name__)


class Heart:
    """Beats every `heartbeat_ms`, and sooner while a job waits for its `ok` or for its first words."""

    def __init__(self, miner: Miner, gpu_load: Callable[[], GpuLoad | None]) -> None:
        self._miner = miner
        self._gpu_load = gpu_load
        self._failures = 0

    def run(self) -> None:
        while not self._miner.stopping.is_set():
            self.beat()
            self._miner.heartbeat_due.wait(self._interval_s())
            self._miner.heartbeat_due.clear()

    def beat(self) -> None:
        jobs = self._living_jobs()
        try:
            reply = self._miner.client.heartbeat(self._heartbeat(jobs))
        except Refused as error:
            self._miner.fail(error)
        except PlatformError as error:
            self._failures += 1
            logger.log(logging.WARNING if self._failures == 1 else logging.DEBUG, "no heartbeat: %s", error)
        else:
            self._failures = 0
            self._miner.obey(reply.orders)
            self._judge(jobs, reply)

    def _living_jobs(self) -> list[Job]:
        """The jobs to report; an offer that has run out is dropped here, so it can never be acknowledged late."""
        for job in self._miner.jobs.all():
            if job.offer_expired:
                job.end(Ending.UNACKNOWLEDGED)
            elif job.past_deadline and job.phase is not Phase.FINISHED:
                job.end(Ending.DEADLINE)
        return [job for job in self._miner.jobs.all() if not job.cancelled]

    def _heartbeat(self, jobs: list[Job]) -> Heartbeat:
        body: Heartbeat = {
            "miner_id": self._miner.miner_id,
            "status": self._miner.status,
            "slots_free": self._miner.slots_free,
            "jobs": [job.heartbeat() for job in jobs],
        }
        load = self._gpu_load()
        if load is not None:
            body["gpu"] = load
        return body

    def _judge(self, jobs: list[Job], reply: HeartbeatReply) -> None:
        verdicts = {verdict.job_id: verdict for verdict in reply.verdicts}
        for job in jobs:
            if job.job_id in verdicts:
                apply_verdict(job, verdicts[job.job_id])

    def _interval_s(self) -> float:
        interval_s, patience = self._miner.config.heartbeat_ms / 1000, self._miner.patience
        phases = {job.phase for job in self._miner.jobs.all() if not job.cancelled}
        if Phase.OFFERED in phases:
            return min(interval_s, patience.ack_retry_s)
        # Without chunks only a heartbeat brings a cancellation, and a lease must survive one lost heartbeat.
        if Phase.PREFILL in phases or (phases and self._failures):
            return min(interval_s, patience.busy_heartbeat_s)
        return interval_s


def apply_verdict(job: Job, verdict: Verdict) -> None:
    """Follow the platform's verdict on a job; a finished one that is `lost` still tries its result, which decides."""
    if verdict.verdict == "ok":
        job.acknowledge()
    elif verdict.verdict == "cancel":
        job.end(Ending.CANCELLED)
    elif verdict.verdict == "lost" and job.phase is not Phase.FINISHED:
        job.end(Ending.LOST)
