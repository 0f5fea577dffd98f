"""Handing in a finished job: the result is kept and sent again until the platform has judged it."""

import hashlib
import logging

from gpu_miner.backoff import result_waits
from gpu_miner.delivery import Delivery
from gpu_miner.engines.base import Finish
from gpu_miner.errors import EngineError, PlatformError, Refused, Rejected
from gpu_miner.jobs import Job
from gpu_miner.miner import Miner
from gpu_miner.protocol import Result, as_text

logger = logging.getLogger(__name__)

CHECKSUM_MISMATCH = 412
MAX_ERROR_TEXT = 500
GAVE_WAY = "gave_way"
HAND_BACK_WAITS_S = (1.0, 2.0, 0.0)


class ResultSender:
    """Delivers results, each from its own job's thread."""

    def __init__(self, miner: Miner, delivery: Delivery) -> None:
        self._miner = miner
        self._delivery = delivery

    def send(self, job: Job, result: Result) -> bool:
        """True when the platform took it; false when it refused it for good, or twelve tries were not enough."""
        for wait_s in [*result_waits(self._miner.patience), None]:
            try:
                reply = self._miner.client.result(result)
            except PlatformError as error:
                if not self._worth_another_try(job, error):
                    return False
                if wait_s is None or job.pause(self._wait_s(wait_s, error)):
                    break
            else:
                logger.info("job %s delivered: %s", job.job_id, as_text(reply.get("message")) or "ok")
                return True
        logger.error("the result of job %s could not be delivered and is dropped", job.job_id)
        return False

    def hand_back(self, job: Job) -> None:
        """Give an idle job back at once, so that others need not wait for its lease to run out."""
        for wait_s in HAND_BACK_WAITS_S:
            try:
                self._miner.client.result(handed_back(job, self._miner.miner_id))
            except (Rejected, Refused) as error:
                logger.info("job %s is no longer ours to hand back: %s", job.job_id, error)
                return
            except PlatformError as error:
                logger.warning("job %s could not be handed back: %s", job.job_id, error)
                self._miner.stopping.wait(wait_s)
            else:
                return

    def _worth_another_try(self, job: Job, error: PlatformError) -> bool:
        if error.status == CHECKSUM_MISMATCH:
            logger.warning("job %s arrived damaged and is sent again", job.job_id)
            job.rewind(0)
            self._delivery.flush(self._miner.patience.final_flush_s)
            return True
        if error.status == 401:
            self._miner.fail(error)
            return False
        if isinstance(error, Rejected | Refused):
            logger.warning("the result of job %s was not taken (%s): %s", job.job_id, error.status, error)
            return False
        logger.warning("the result of job %s has to wait: %s", job.job_id, error)
        return True

    def _wait_s(self, planned_s: float, error: PlatformError) -> float:
        return max(planned_s, min(error.retry_after_s or 0.0, self._miner.patience.retry_after_cap_s))


def answer_result(job: Job, finish: Finish, miner_id: str, *, model: str = "", digest: str = "") -> Result:
    """The result of a job that has an answer, signed with the very model that wrote it where that is known."""
    result = _result(job, miner_id, job.answer.text, status="ok")
    if model:
        result["model"] = model
    if digest:
        result["model_digest"] = digest
    result["finish_reason"] = finish.finish_reason
    if finish.tool_calls:
        result["tool_calls"] = list(finish.tool_calls)
    if finish.usage is not None:
        result["tokens_generated"] = finish.usage.completion_tokens or result["tokens_generated"]
        result["usage"] = {
            "prompt_tokens": finish.usage.prompt_tokens,
            "completion_tokens": result["tokens_generated"],
            **({"cached_tokens": finish.usage.cached_tokens} if finish.usage.cached_tokens else {}),
        }
    return result


def error_result(job: Job, error: EngineError, miner_id: str) -> Result:
    """The result of a job without an answer; what the engine said is never passed off as one."""
    result = _result(job, miner_id, "", status="error")
    result["error"] = {"code": error.code, "retryable": error.retryable, "message": str(error)[:MAX_ERROR_TEXT]}
    return result


def handed_back(job: Job, miner_id: str) -> Result:
    """The result of an idle job that gave way: nobody's fault, and this miner may be given it again."""
    result = _result(job, miner_id, "", status="refused")
    result["error"] = {"code": GAVE_WAY, "retryable": True, "message": "the job gave way"}
    return result


def _result(job: Job, miner_id: str, output: str, *, status: str) -> Result:
    return {
        "job_id": job.job_id,
        "session_id": job.offer.session_id,
        "output": output,
        "miner_id": miner_id,
        "success": status == "ok",
        "tokens_generated": job.answer.tokens,
        "attempt": job.offer.attempt,
        "fence": job.fence,
        "status": status,
        "output_sha256": hashlib.sha256(output.encode()).hexdigest(),
        "timing": _timing(job),
    }


def _timing(job: Job) -> dict[str, int]:
    """Milliseconds by this machine's monotonic clock: of the prefill, until the first words, of the writing."""
    started = job.started_at or job.received_at
    finished = job.finished_at or started
    first = job.first_text_at or finished
    return {
        "prefill_ms": round((first - started) * 1000),
        "ttft_ms": round((first - job.received_at) * 1000),
        "decode_ms": round((finished - first) * 1000),
    }
