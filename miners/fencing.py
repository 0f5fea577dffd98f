"""The guarded statements that move a job through its life.

Every offer draws a strictly increasing fence, and every later statement names it: a call that speaks for an offer
that is no longer the job's touches no row. Execution is therefore at least once; acceptance, credit and the
visitor's answer are exactly once. `miners/tests/test_fence_proof.py` runs these, and a copy without the guards,
against PostgreSQL with dying, late, forging and doubling miners.

Lock order: jobs by id, then attempts, then the miner. Statements that lock several jobs do so in order of id, or skip.
"""

from typing import Final

from mia.lib import rows
from miners.models import Job

MAY_SERVE: Final = """
    (j.model = '' OR j.model = ANY (w.models))
    AND j.context_tokens + j.max_tokens <= w.max_context
    AND j.features::text[] <@ w.features
    AND w.trust >= j.min_trust
    AND (j.kind = 'canary' OR w.trust >= 1 OR (j.lane = 2 AND w.trust = 0))
    AND (j.kind = 'canary' OR j.lane = ANY (w.lanes))
    AND NOT w.miners <@ j.tried
    AND (j.target_miner_id IS NULL OR j.target_miner_id = ANY (w.miners))
"""

WAITERS: Final = """
    jsonb_to_recordset(%(waiters)s::jsonb)
    AS w(miners bigint[], trust int, models text[], features text[], max_context int, lanes int[])
"""

CANDIDATES: Final = f"""
SELECT j.id, j.kind, j.lane, j.model, j.features, j.context_tokens, j.max_tokens, j.min_trust, j.tried,
       j.target_miner_id, j.affinity_miner_id, j.miner_id, affine.id IS NOT NULL AS affine_is_free,
       (extract(epoch FROM clock_timestamp() - j.created_at) * 1000)::float AS age_ms
FROM miners_job j
LEFT JOIN miners_miner affine ON affine.id = j.affinity_miner_id AND affine.slots_free > 0
     AND affine.status = 'idle' AND affine.last_active > now() - %(affinity_seen)s::interval
WHERE j.state = 'queued' AND j.deadline > now() AND EXISTS (SELECT 1 FROM {WAITERS} WHERE {MAY_SERVE})
ORDER BY j.lane, j.virtual_start, j.created_at
LIMIT %(limit)s
FOR UPDATE OF j SKIP LOCKED
"""  # noqa: S608 - constants

OFFER_FIELDS: Final = """
    id, fence, miner_id, attempt_count, kind, lane, deadline, model, messages, params, tools, tool_choice, stream,
    resume_text, prefix_key, topic, max_tokens, virtual_start,
    greatest(extract(epoch FROM deadline - clock_timestamp()) * 1000, 0)::bigint AS deadline_ms
"""

# A poll may have been parked since before its miner was found out, drained or cut down: it then gets nothing more.
OFFER: Final = f"""
WITH given AS (
    SELECT g.* FROM unnest(%(jobs)s::uuid[], %(miners)s::bigint[], %(models)s::text[], %(leases)s::interval[],
                           %(acked)s::boolean[], %(trusts)s::int[], %(slots)s::int[])
    AS g(job, miner, model, lease, acked, trust, slots)
    JOIN miners_miner m ON m.id = g.miner
     AND m.trust >= g.trust AND NOT m.drain_requested AND NOT m.pause_requested
     AND g.slots <= least(m.slots, nullif(m.max_slots, 0))
), taken AS (
    UPDATE miners_job j
    SET state = CASE WHEN g.acked THEN 'running' ELSE 'offered' END, fence = nextval('miners_fence'),
        miner_id = g.miner,
        attempt_count = j.attempt_count + 1, lease_until = now() + g.lease, offered_at = clock_timestamp(),
        progress_at = clock_timestamp(), phase = '',
        started_at = CASE WHEN g.acked THEN coalesce(j.started_at, clock_timestamp()) ELSE j.started_at END
    FROM given g WHERE j.id = g.job AND j.state = 'queued'
    RETURNING j.*, coalesce(nullif(j.model, ''), g.model) AS served_model
), noted AS (
    INSERT INTO miners_attempt (fence, job_id, business_id, miner_id, number, model, outcome, is_fault, is_blamed,
                                reason, remark, model_digest, tokens_reported, timing, offered_at, acked_at)
    SELECT fence, id, business_id, miner_id, attempt_count, served_model, '', false, false, '', '', '', 0, '{{}}',
           offered_at,
           CASE WHEN state = 'running' THEN offered_at END
    FROM taken
)
SELECT {OFFER_FIELDS}, served_model FROM taken
"""  # noqa: S608 - constants

HELD_BY_CALLER: Final = "j.fence = s.fence AND j.miner_id = %(miner)s"

# Every word from the platform about a canary is as about a chat job, its lease included.
LONG_LEASE: Final = "(j.lane = 2 AND j.kind <> 'canary')"

# A job that is queued again under the same fence was given to nobody since: its miner may have it back, and the
# fault that its silence cost is taken back with it.
RENEW: Final = f"""
WITH said AS (
    SELECT * FROM unnest(%(jobs)s::uuid[], %(fences)s::bigint[], %(phases)s::text[], %(progressed)s::boolean[])
    AS s(job, fence, phase, progressed)
), mine AS MATERIALIZED (
    SELECT j.id, j.fence, j.state, j.fault_fence = j.fence AS was_faulted, s.phase, s.progressed
    FROM miners_job j JOIN said s ON j.id = s.job
    WHERE {HELD_BY_CALLER} AND j.state IN ('queued', 'offered', 'running') AND j.deadline > now()
    ORDER BY j.id FOR UPDATE OF j
), blamed AS MATERIALIZED (
    SELECT a.fence FROM miners_attempt a JOIN mine m ON m.fence = a.fence WHERE a.is_blamed
), forgiven AS (
    UPDATE miners_miner SET fault_count = greatest(fault_count - (SELECT count(*) FROM blamed), 0)
    WHERE id = %(miner)s AND EXISTS (SELECT 1 FROM blamed)
), renewed AS (
    UPDATE miners_job j
    SET state = 'running',
        lease_until = now() + CASE WHEN {LONG_LEASE} THEN %(idle_lease)s::interval ELSE %(lease)s::interval END,
        phase = CASE WHEN m.phase = '' THEN j.phase ELSE m.phase END,
        started_at = coalesce(j.started_at, clock_timestamp()),
        first_token_at = CASE WHEN m.progressed THEN coalesce(j.first_token_at, clock_timestamp())
                              ELSE j.first_token_at END,
        progress_at = CASE WHEN m.progressed OR m.state <> 'running' OR (m.phase <> '' AND m.phase <> j.phase)
                           THEN clock_timestamp() ELSE j.progress_at END,
        faults = j.faults - CASE WHEN m.state = 'queued' AND m.was_faulted THEN 1 ELSE 0 END,
        tried = CASE WHEN m.state = 'queued' AND m.was_faulted THEN array_remove(j.tried, j.miner_id) ELSE j.tried END,
        fault_fence = CASE WHEN m.state = 'queued' THEN NULL ELSE j.fault_fence END
    FROM mine m WHERE j.id = m.id
    RETURNING j.id, j.fence, {LONG_LEASE} AS has_long_lease
), acked AS (
    UPDATE miners_attempt a
    SET acked_at = coalesce(a.acked_at, clock_timestamp()), outcome = '', is_fault = false, is_blamed = false,
        ended_at = NULL
    FROM renewed r WHERE a.fence = r.fence AND (a.acked_at IS NULL OR a.outcome <> '')
)
SELECT s.job, s.fence, r.id IS NOT NULL AS renewed, r.has_long_lease, j.state,
       coalesce({HELD_BY_CALLER}, false) AS was_mine,
       j.attempt_count, j.topic, char_length(j.resume_text) AS resume_chars
FROM said s LEFT JOIN renewed r ON r.id = s.job AND r.fence = s.fence LEFT JOIN miners_job j ON j.id = s.job
"""  # noqa: S608 - constants

# The miner never heard of these offers, so one that runs does so only because the first protocol knows no ack.
TAKE_BACK: Final = """
WITH back AS (
    UPDATE miners_job SET state = 'queued', lease_until = NULL
    WHERE state IN ('offered', 'running') AND fence = ANY (%(fences)s::bigint[])
    RETURNING fence
)
UPDATE miners_attempt a SET outcome = 'offer_expired', reason = 'the miner went away before the reply', ended_at = now()
FROM back b WHERE a.fence = b.fence
RETURNING a.fence
"""

# What a result is held against.
GIVEN: Final = """
SELECT a.offered_at, a.model, m.served_models FROM miners_attempt a JOIN miners_miner m ON m.id = a.miner_id
WHERE a.fence = %(fence)s AND a.miner_id = %(miner)s
"""

# The job as it was completed, or no row. What an accepted answer means for its attempt and its miner is done with it;
# a fault that was charged too early is taken back.
# The platform's own answer takes the place of the one that is being written.
ANSWER_INSTEAD: Final = """
UPDATE miners_job j
SET state = 'completed', output = %(output)s, finish_reason = %(finish_reason)s, finished_at = clock_timestamp(),
    lease_until = NULL, phase = '', resume_text = ''
WHERE j.id = %(job)s AND j.state IN ('queued', 'offered', 'running')
RETURNING j.id
"""

COMPLETE: Final = f"""
WITH completed AS (
    UPDATE miners_job j
    SET state = 'completed', output = %(output)s, tool_calls = %(tool_calls)s, finish_reason = %(finish_reason)s,
        prompt_tokens = %(prompt_tokens)s, tokens_generated = %(tokens)s, finished_at = clock_timestamp(),
        lease_until = NULL, started_at = coalesce(j.started_at, j.offered_at),
        first_token_at = coalesce(j.first_token_at, clock_timestamp()),
        faults = j.faults - CASE WHEN j.state = 'queued' AND j.fault_fence = j.fence THEN 1 ELSE 0 END,
        phase = '', resume_text = '', error_message = ''
    WHERE j.id = %(job)s
      AND j.fence = %(fence)s AND j.miner_id = %(miner)s AND j.state IN ('queued', 'offered', 'running')
    RETURNING j.*
), attempt AS MATERIALIZED (
    SELECT fence, miner_id, is_blamed FROM miners_attempt
    WHERE fence = %(fence)s AND EXISTS (SELECT FROM completed) FOR UPDATE
), accepted AS (
    UPDATE miners_attempt a
    SET outcome = 'accepted', reason = '', ended_at = %(now)s, is_fault = false, is_blamed = false,
        remark = %(remark)s, model_digest = %(digest)s, tokens_reported = %(reported)s, timing = %(timing)s
    FROM attempt WHERE a.fence = attempt.fence
), credited AS (
    UPDATE miners_miner m
    SET job_count = job_count + 1, total_tokens_generated = total_tokens_generated + %(tokens)s,
        last_active = %(now)s, fault_count = greatest(fault_count - attempt.is_blamed::int, 0)
    FROM attempt WHERE m.id = attempt.miner_id
)
SELECT {rows.columns(Job)} FROM completed
"""  # noqa: S608 - constants

# A miner that says itself that it failed gives up its fence: a heartbeat that was on its way must not bring it back.
FAULT: Final = """
UPDATE miners_job j
SET faults = j.faults + 1, fault_fence = j.fence, fence = CASE WHEN %(miner)s::bigint IS NULL THEN j.fence END,
    tried = array_append(array_remove(j.tried, j.miner_id), j.miner_id),
    resume_text = %(resume_text)s, phase = '', lease_until = NULL,
    state = CASE WHEN j.deadline <= now() THEN 'expired'
                 WHEN j.faults + 1 >= %(most_faults)s OR j.target_miner_id IS NOT NULL THEN 'failed' ELSE 'queued' END,
    error_code = CASE WHEN j.deadline <= now() THEN 'DEADLINE'
                      WHEN j.faults + 1 >= %(most_faults)s OR j.target_miner_id IS NOT NULL THEN %(error_code)s
                      ELSE '' END,
    error_message = %(reason)s,
    finished_at = CASE WHEN j.deadline <= now() OR j.faults + 1 >= %(most_faults)s OR j.target_miner_id IS NOT NULL
                       THEN clock_timestamp() END
WHERE j.id = %(job)s AND j.fence = %(fence)s AND j.state IN ('offered', 'running')
  AND (%(miner)s::bigint IS NULL OR j.miner_id = %(miner)s)
RETURNING j.id, j.state, j.miner_id
"""

# An idle job that gave way to a customer may come back to the same miner, but not for ever.
HAND_BACK: Final = """
UPDATE miners_job j
SET state = 'queued', phase = '', lease_until = NULL, resume_text = %(resume_text)s, fence = NULL,
    tried = CASE WHEN %(gave_way)s AND j.lane = 2 AND j.attempt_count < %(most_returns)s THEN j.tried
                 ELSE array_append(array_remove(j.tried, j.miner_id), j.miner_id) END
WHERE j.id = %(job)s AND j.fence = %(fence)s AND j.miner_id = %(miner)s AND j.state IN ('offered', 'running')
RETURNING j.id
"""

END: Final = """
UPDATE miners_job j
SET state = %(state)s, error_code = %(error_code)s, finished_at = clock_timestamp(), lease_until = NULL, phase = ''
WHERE j.id = %(job)s AND j.state IN ('queued', 'offered', 'running')
RETURNING j.id
"""

SKIPPED: Final = f"""
SELECT count(*) FILTER (WHERE NOT (j.model = '' OR j.model = ANY (w.models))) AS model,
       count(*) FILTER (WHERE j.context_tokens + j.max_tokens > w.max_context) AS context,
       count(*) FILTER (WHERE NOT j.features::text[] <@ w.features) AS features,
       count(*) FILTER (WHERE j.kind <> 'canary'
                        AND (w.trust < j.min_trust OR w.trust < 0 OR (w.trust = 0 AND j.lane < 2))) AS trust,
       count(*) FILTER (WHERE j.kind <> 'canary' AND NOT j.lane = ANY (w.lanes)) AS lane,
       count(*) FILTER (WHERE w.miners <@ j.tried) AS tried
FROM (SELECT * FROM miners_job WHERE state = 'queued' AND target_miner_id IS NULL LIMIT 1000) j, {WAITERS}
"""  # noqa: S608 - constants
