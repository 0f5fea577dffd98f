"""One job from the offer to its result, in a thread of its own that sleeps while the engine writes."""

import logging
from threading import Thread

from gpu_miner.delivery import Delivery
from gpu_miner.engines.base import Cancelled, Finish
from gpu_miner.errors import EngineError
from gpu_miner.jobs import Ending, Job, end_all
from gpu_miner.miner import Miner
from gpu_miner.protocol import Offer
from gpu_miner.results import ResultSender, answer_result, error_result

logger = logging.getLogger(__name__)

# Errors that do not count against the engine. Any engine like it would refuse the same job; and an engine that restarts
# fails all its jobs at once, but has no room for others meanwhile, so that it need not rest as well.
NOT_THE_ENGINES_FAULT = frozenset({"bad_request", "context_too_long", "unsupported", "engine_restarting"})
# An engine lets go of a job at its next step; a customer's offer lasts five seconds.
GIVING_WAY_S = 2.0


class Server:
    """Serves every accepted offer."""

    def __init__(self, miner: Miner, delivery: Delivery) -> None:
        self._miner = miner
        self._delivery = delivery
        self._results = ResultSender(miner, delivery)

    def accept(self, offer: Offer) -> None:
        """Take a job in hand and have it acknowledged at once; one we cannot start is left to go back unharmed."""
        job = Job(offer, on_first_text=self._miner.flush_due.set)
        if not self._has_place_for(job) or not self._miner.engine.admits(job.work):
            logger.warning("job %s cannot start here now and is left to others", offer.job_id)
            return
        if self._miner.jobs.add(job):
            Thread(target=self._serve, args=(job,), name=f"job-{job.fence}", daemon=True).start()
            self._miner.heartbeat_due.set()

    def _has_place_for(self, job: Job) -> bool:
        """Whether a slot is free, if need be after an idle job has given way to a customer's."""
        # A poll that was parked when the miner began to rest or to pause can still bring one.
        if self._miner.is_resting or self._miner.is_paused:
            return False
        if self._miner.slots_idle > 0:
            return True
        yielding = [] if job.is_idle else self._miner.jobs.idle_jobs()[:1]
        if not yielding:
            return False
        end_all(yielding, Ending.GAVE_WAY)
        return self._miner.jobs.wait_until(lambda: self._miner.slots_idle > 0, GIVING_WAY_S)

    def _serve(self, job: Job) -> None:
        try:
            outcome = self._outcome(job)
            delivered = outcome is not None and self._hand_in(job, outcome)
            if job.ending is Ending.GAVE_WAY:
                self._results.hand_back(job)
        finally:
            self._miner.tally.tokens_written(job.answer.tokens)
            self._miner.jobs.remove(job)
        self._miner.tally.count(answered=isinstance(outcome, Finish), delivered=delivered)

    def _outcome(self, job: Job) -> Finish | EngineError | None:
        """What the engine made of the job; None when it ended without needing an answer."""
        try:
            outcome = self._run_engine(job) if job.wait_for_acknowledgement() else None
            self._learn_from(outcome)
            return outcome
        finally:
            job.finish()
            self._miner.jobs.release_slot(job)

    def _learn_from(self, outcome: Finish | EngineError | None) -> None:
        """Before the slot is free again and a poll asks for the next job."""
        if isinstance(outcome, Finish):
            self._miner.engine_worked()
        elif outcome is not None and outcome.code not in NOT_THE_ENGINES_FAULT:
            self._miner.engine_failed()
        if outcome is not None and self._miner.settings.once:
            self._miner.drain()

    def _run_engine(self, job: Job) -> Finish | EngineError | None:
        outcome: Finish | EngineError
        try:
            outcome = self._miner.engine.run(job.work, job)
        except Cancelled:
            return None
        except EngineError as error:
            outcome = error
        except Exception:
            # The edge of foreign code: whatever an engine lets slip is a failed job, never a dead miner.
            logger.exception("the engine crashed on job %s", job.job_id)
            outcome = EngineError("engine_crashed", "the engine crashed", retryable=True)
        if job.cancelled:
            return None
        if isinstance(outcome, Finish) and not outcome.tool_calls and not job.answer.text.strip():
            outcome = EngineError("empty_output", "the engine wrote nothing", retryable=True)
        return outcome

    def _hand_in(self, job: Job, outcome: Finish | EngineError) -> bool:
        if isinstance(outcome, EngineError):
            logger.warning("job %s failed: %s: %s", job.job_id, outcome.code, outcome)
            return self._results.send(job, error_result(job, outcome, self._miner.miner_id))
        # The visitor is to see the last words as a delta; the result carries them in any case.
        self._delivery.flush(self._miner.patience.final_flush_s)
        settings = self._miner.settings
        result = answer_result(
            job, outcome, self._miner.miner_id, model=settings.model_name, digest=settings.model_digest
        )
        return self._results.send(job, result)
