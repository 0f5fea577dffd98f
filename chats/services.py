"""What can be done with chats: one call for every view, socket, admin action and command."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from accounts.principals import Principal, PrincipalKind
from accounts.tenancy import platform_scope
from chats import admission, blocking, events, grounding, handoffs, idempotency, quotas, replies
from chats.access import access_bot, access_conversation, access_job, bot_of, own_business_id
from chats.choices import GuardAction, GuardKind, Mode, Role, Status, Verdict
from chats.desk import ownership
from chats.guardrails import events as guard_events
from chats.guardrails.attacks import Hit
from chats.guardrails.questions import objection
from chats.guardrails.refusals import refusal_for
from chats.handoffs import hand_back, say, take_over
from chats.limits import MAX_HISTORY
from chats.masking import services as masking
from chats.masking.mask import Mask
from chats.models import Bot, ChatLog, Conversation, Feedback, IdempotencyRecord, Lead, Rating
from chats.policies import policy_of
from chats.prompts import ChatMessage, build_prompt, tool_message, user_message
from chats.replies import Reply, Taken
from chats.webhooks import services as webhooks
from chats.webhooks.events import Event, of_feedback, of_lead, of_rating
from knowledge import gaps
from knowledge.answering import Grounding
from knowledge.choices import Outcome
from knowledge.languages import detect
from mia.lib import rows
from mia.lib.errors import InvalidRequest, NotFound
from miners.choices import JobKind, Lane, Trust
from miners.direct import announce, record_answer
from miners.models import Job
from miners.services import JobRequest, cancel_job, submit_job

__all__ = ["hand_back", "say", "take_over"]

MESSAGES_SHOWN = 200


@dataclass(frozen=True)
class Question:
    """A visitor's message as it came, checked for shape."""

    message: str = ""
    session_id: UUID | None = None
    bot_id: int | None = None
    business_id: int | None = None
    context: str = ""
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str | dict[str, Any] = "auto"
    tool_results: list[dict[str, str]] = field(default_factory=list)
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Caller:
    """Who asks, from where, with which session's token."""

    principal: Principal
    address: str = ""
    session_token: str = ""


def ask(*, caller: Caller, question: Question, now: datetime, idempotency_key: str = "") -> Reply:
    """Takes a message and puts the answer to it on the network, in the caller's transaction; the reply for the caller.

    The same Idempotency-Key again gets the first reply and does nothing, also when both come at once.
    """
    business_id = own_business_id(caller.principal, question.business_id)
    if not idempotency_key:
        return replies.with_tokens(_take(caller, question, now), business_id)
    key = idempotency.check_key(idempotency_key)
    claim = idempotency.claim(
        business_id=business_id,
        holder=idempotency.holder_of(caller.principal, key, caller.address),
        key=key,
        request_hash=idempotency.fingerprint(question),
        now=now,
    )
    taken = claim.earlier_reply
    if taken is None:
        taken = _take(caller, question, now)
        idempotency.remember(claim, taken)
    return replies.with_tokens(taken, business_id)


def _take(caller: Caller, question: Question, now: datetime) -> Taken:
    conversation, bot = _open(caller, question, now)
    if handoffs.is_human(conversation, now):
        return _deliver(conversation, question, now)
    return _queue(conversation, bot, question, now)


def _open(caller: Caller, question: Question, now: datetime) -> tuple[Conversation, Bot]:
    """The session that was named, or a new one that is not in the database yet."""
    if question.session_id is not None:
        conversation = access_conversation(caller.principal, question.session_id, caller.session_token)
        if question.bot_id not in {None, conversation.bot_id}:
            raise NotFound("This session belongs to another bot.")
        admission.check_visitor(str(conversation.public_id))
        bot = bot_of(conversation)
        _check_limits(caller, conversation, bot, now)
        return conversation, bot
    bot = access_bot(caller.principal, question.bot_id)
    admission.check_new_session(caller.principal, caller.address)
    conversation = Conversation(business=bot.business, bot=bot, created_at=now, last_message_at=now)
    conversation.address_hash = address_hash(caller)
    _check_limits(caller, conversation, bot, now)
    return conversation, bot


def _check_limits(caller: Caller, conversation: Conversation, bot: Bot, now: datetime) -> None:
    blocking.check_not_blocked(conversation, address_hash=address_hash(caller), now=now)
    quotas.spend(conversation, policy_of(bot), address_hash=address_hash(caller), now=now)


def address_hash(caller: Caller) -> str:
    """Only of a browser's address: a business's server asks for everybody."""
    is_browser = caller.principal.kind == PrincipalKind.PUBLISHABLE
    return blocking.hash_address(caller.principal.business_id, caller.address) if is_browser else ""


def _deliver(conversation: Conversation, question: Question, now: datetime) -> Taken:
    log = _log(conversation, Role.USER, question.message, now)
    log.save()
    conversation.touch(question.message, now)
    conversation.snoozed_until = None
    conversation.save(update_fields=["snippet", "last_message_at", "snoozed_until"])
    events.announce_message(conversation, log)
    webhooks.tell_of_message(conversation, log)
    return replies.delivered(conversation)


def _queue(conversation: Conversation, bot: Bot, question: Question, now: datetime) -> Taken:
    history = _history(conversation)
    grounded = grounding.ground(bot, history, question)
    hit = objection(question.message, bot=bot, policy=policy_of(bot), grounding=grounded) if question.message else None
    if hit is not None:
        return _refuse(conversation, bot, question, hit, now)
    if grounded is not None and grounded.direct:
        request = _job_request(conversation, bot, history, question)
        return _answer_directly(conversation, question, request, grounded, now)
    admission.check_queue(conversation.business_id)
    mask = masking.mask_of(conversation, bot, policy_of(bot))
    request = _masked_request(mask, conversation, bot, history, question, grounded.context if grounded else "")
    with platform_scope():
        job = submit_job(business_id=conversation.business_id, request=request, now=now)
        place = admission.admit(job)
    conversation.last_job_id = job.pk
    conversation.touch(question.message or conversation.snippet, now)
    if not _save(conversation, now):
        cancel_job(job=job, now=now)
        return _deliver(conversation, question, now)
    masking.keep(mask, conversation, now)
    _log_question(conversation, question, job, now)
    grounding.keep_receipt(grounded, conversation, job, now)
    return replies.queued(conversation, job, place.position, place.eta_ms)


def _answer_directly(
    conversation: Conversation, question: Question, request: JobRequest, grounded: Grounding, now: datetime
) -> Taken:
    """Words of the business itself, or its "I don't know": no miner is asked."""
    job = record_answer(business_id=conversation.business_id, request=request, output=grounded.direct, now=now)
    conversation.last_job_id = job.pk
    conversation.touch(question.message, now)
    if not _save(conversation, now):
        return _deliver(conversation, question, now)
    _log_question(conversation, question, job, now)
    grounding.keep_receipt(grounded, conversation, job, now)
    if grounded.outcome == Outcome.REFUSED:
        _record_refusal(conversation, question, Hit(GuardKind.UNTAUGHT, "no evidence"), job, now)
    announce(job, now=now)
    return replies.answered(conversation, job, list(grounded.cited))


def _refuse(conversation: Conversation, bot: Bot, question: Question, hit: Hit, now: datetime) -> Taken:
    """The platform's own words, and a line in the record: no miner is asked, and no retrieval is kept."""
    policy = policy_of(bot)
    language = detect(question.message, likely=conversation.language or bot.business.locale[:2])
    request = JobRequest(kind=JobKind.CHAT, lane=Lane.CHAT, messages=[], topic=conversation.topic)
    words = refusal_for(hit.kind, language=language, policy=policy)
    job = record_answer(business_id=conversation.business_id, request=request, output=words, now=now)
    conversation.last_job_id = job.pk
    conversation.touch(question.message, now)
    if not _save(conversation, now):
        return _deliver(conversation, question, now)
    _log_question(conversation, question, job, now)
    _record_refusal(conversation, question, hit, job, now)
    blocking.count_strike(conversation, policy, now=now)
    announce(job, now=now)
    return replies.answered(conversation, job, [])


def _record_refusal(conversation: Conversation, question: Question, hit: Hit, job: Job, now: datetime) -> None:
    guard_events.record(
        business_id=conversation.business_id,
        conversation=conversation,
        kind=hit.kind,
        action=GuardAction.REFUSED,
        words=question.message,
        rule=hit.rule,
        job_id=job.pk,
        now=now,
    )


def _history(conversation: Conversation) -> list[ChatLog]:
    """Oldest first, without what was refused: an attack must not reach the model with the next question after all."""
    if conversation._state.adding:
        return []
    logs = ChatLog.objects.for_business(conversation.business_id).filter(conversation=conversation)
    return list(reversed(logs.not_refused(conversation).latest(MAX_HISTORY)))


def _masked_request(
    mask: Mask | None,
    conversation: Conversation,
    bot: Bot,
    history: list[ChatLog],
    question: Question,
    sources: str,
) -> JobRequest:
    """The request as the miners that may answer it are allowed to read it."""
    if mask is None:
        return _job_request(conversation, bot, history, question, sources=sources)

    def hide(mask: Mask) -> JobRequest:
        hidden = replace(question, context=mask.hide(question.context))
        request = _job_request(conversation, bot, history, hidden, sources=sources, hides_data=True)
        return replace(request, messages=masking.mask_messages(mask, cast("list[ChatMessage]", request.messages)))

    return masking.settle(mask, conversation, hide)


def _job_request(
    conversation: Conversation,
    bot: Bot,
    history: list[ChatLog],
    question: Question,
    *,
    sources: str = "",
    hides_data: bool = False,
) -> JobRequest:
    max_tokens = question.max_tokens or bot.max_tokens
    temperature = bot.temperature if question.temperature is None else question.temperature
    prompt = build_prompt(
        bot=bot,
        history=history,
        question=_asked(history, question),
        context=question.context,
        max_tokens=max_tokens,
        sources=sources,
        hides_data=hides_data,
    )
    return JobRequest(
        kind=JobKind.CHAT,
        lane=Lane.CHAT,
        messages=[dict(message) for message in prompt.messages],
        params={"max_tokens": max_tokens, "temperature": temperature},
        max_tokens=max_tokens,
        tools=question.tools,
        tool_choice=question.tool_choice,
        model=bot.model,
        topic=conversation.topic,
        affinity_key=conversation.topic,
        opens_topic=conversation._state.adding,
        prefix_key=prompt.prefix_key,
        min_trust=Trust(bot.business.min_trust),
        features=("tools",) if question.tools else (),
    )


def _asked(history: list[ChatLog], question: Question) -> list[ChatMessage]:
    """The new messages; results only of calls that the last answer made and that have no result yet."""
    called = {str(call.get("id")) for call in history[-1].tool_calls} if history else set()
    named = [result["tool_call_id"] for result in question.tool_results]
    if not set(named) <= called or len(set(named)) < len(named):
        raise InvalidRequest({"tool_results": ["They must answer calls of the last answer, each once."]})
    asked = [tool_message(result["tool_call_id"], result["content"]) for result in question.tool_results]
    return [*asked, user_message(question.message)] if question.message else asked


def _save(conversation: Conversation, now: datetime) -> bool:
    """False when a human took the conversation over meanwhile.

    The row is locked only now, after the network's rows: a job that ends locks them in this order too.
    """
    if conversation._state.adding:
        rows.insert(conversation)
        webhooks.tell_of_conversation(Event.CONVERSATION_STARTED, conversation)
        return True
    if _write(conversation, now):
        return True
    ownership.hold(conversation)
    return conversation.mode == Mode.AI and _write(conversation, now)


def _write(conversation: Conversation, now: datetime) -> bool:
    """False when somebody changed who owns it since it was read; a question opens what was resolved."""
    before, read = conversation.owner, conversation.status
    if read == Status.RESOLVED:
        conversation.status = Status.OPEN
    unchanged = Conversation.objects.for_business(conversation.business_id).filter(
        pk=conversation.pk, mode=Mode.AI, status=read
    )
    updated = unchanged.update(
        last_job_id=conversation.last_job_id,
        snippet=conversation.snippet,
        last_message_at=conversation.last_message_at,
        status=conversation.status,
        snoozed_until=None,
    )
    if updated:
        ownership.record(conversation, before, now=now, reason="visitor")
    return bool(updated)


def _log_question(conversation: Conversation, question: Question, job: Job, now: datetime) -> None:
    logs = [
        _log(conversation, Role.TOOL, result["content"], now, job=job, tool_call_id=result["tool_call_id"])
        for result in question.tool_results
    ]
    if question.message:
        logs.append(_log(conversation, Role.USER, question.message, now, job=job))
    for log in logs:
        rows.insert(log)
    if question.message:
        events.announce_message(conversation, logs[-1])
        webhooks.tell_of_message(conversation, logs[-1])


def _log(conversation: Conversation, role: Role, message: str, now: datetime, **fields: Any) -> ChatLog:
    return ChatLog(
        business_id=conversation.business_id,
        conversation=conversation,
        role=role,
        message=message,
        timestamp=now,
        **fields,
    )


def read_job(*, caller: Caller, job_id: UUID) -> dict[str, Any]:
    """Where a job stands, from the database and nothing else."""
    job = access_job(caller.principal, job_id, caller.session_token)
    return replies.job_reply(job, _citations(job))


def cancel(*, caller: Caller, job_id: UUID, now: datetime) -> dict[str, Any]:
    """Stops a job; one that has ended stays as it ended."""
    job = access_job(caller.principal, job_id, caller.session_token)
    if job.is_live and not cancel_job(job=job, now=now):
        job.refresh_from_db()
    return replies.job_reply(job, _citations(job))


def _citations(job: Job) -> list[object]:
    answer = ChatLog.objects.for_business(job.business_id).answers().filter(job=job).first()
    return answer.citations if answer else []


def read_messages(*, caller: Caller, session_id: UUID, before: int | None = None) -> dict[str, Any]:
    conversation = access_conversation(caller.principal, session_id, caller.session_token)
    logs = conversation.chat_logs.for_business(conversation.business_id).exclude(role=Role.SYSTEM)
    if before is not None:
        logs = logs.filter(pk__lt=before)
    page = list(logs.select_related("feedback").latest(MESSAGES_SHOWN + 1))
    older = page[MESSAGES_SHOWN - 1].pk if len(page) > MESSAGES_SHOWN else None
    return replies.messages(conversation, page[:MESSAGES_SHOWN][::-1], _active_job(conversation), older)


def _active_job(conversation: Conversation) -> Job | None:
    if conversation.last_job_id is None:
        return None
    jobs = Job.objects.filter(pk=conversation.last_job_id, business_id=conversation.business_id)
    return jobs.live().defer("messages", "tools", "output").first()


def give_feedback(
    *, caller: Caller, session_id: UUID, message_id: int, verdict: str, reason: str, now: datetime
) -> Feedback:
    """The last word counts: a second thumb replaces the first."""
    conversation = access_conversation(caller.principal, session_id, caller.session_token)
    answers = conversation.chat_logs.filter(role__in=[Role.ASSISTANT, Role.AGENT])
    answer = answers.filter(pk=message_id).first()
    if answer is None:
        raise NotFound("There is no such answer in this session.")
    feedback, _created = Feedback.objects.update_or_create(
        business_id=conversation.business_id,
        message=answer,
        defaults={"verdict": verdict, "reason": reason, "updated_at": now},
        create_defaults={"verdict": verdict, "reason": reason, "created_at": now, "updated_at": now},
    )
    webhooks.notify(
        business_id=conversation.business_id,
        event=Event.FEEDBACK_GIVEN,
        data=of_feedback(conversation, feedback),
    )
    if verdict == Verdict.NEGATIVE:
        gaps.note_bad_rating(business_id=conversation.business_id, job_id=answer.job_id, now=now)
    return feedback


def leave_lead(*, caller: Caller, session_id: UUID, contact: dict[str, str], now: datetime) -> tuple[Lead, str]:
    """Keeps contact details, also as the conversation's visitor; the lead and the bot's words of thanks."""
    conversation = access_conversation(caller.principal, session_id, caller.session_token, lock=True)
    admission.check_visitor(str(conversation.public_id))
    lead = Lead.objects.create(
        business_id=conversation.business_id, conversation=conversation, created_at=now, **contact
    )
    conversation.visitor_name = lead.name or conversation.visitor_name
    conversation.visitor_email = lead.email or conversation.visitor_email
    conversation.save(update_fields=["visitor_name", "visitor_email"])
    webhooks.notify(business_id=conversation.business_id, event=Event.LEAD_CREATED, data=of_lead(conversation, lead))
    return lead, conversation.bot.confirmation_message


def rate(*, caller: Caller, session_id: UUID, score: int, comment: str, now: datetime) -> Rating:
    """The last word counts."""
    conversation = access_conversation(caller.principal, session_id, caller.session_token)
    rating, _created = Rating.objects.update_or_create(
        business_id=conversation.business_id,
        conversation=conversation,
        defaults={"score": score, "comment": comment, "updated_at": now},
        create_defaults={"score": score, "comment": comment, "created_at": now, "updated_at": now},
    )
    webhooks.notify(
        business_id=conversation.business_id, event=Event.RATING_GIVEN, data=of_rating(conversation, rating)
    )
    return rating


def request_handoff(*, caller: Caller, session_id: UUID, reason: str, now: datetime) -> Conversation:
    """Puts the conversation among those that wait for a human; until one comes, the AI goes on answering."""
    conversation = access_conversation(caller.principal, session_id, caller.session_token, lock=True)
    admission.check_visitor(str(conversation.public_id))
    return handoffs.request(conversation, reason=reason, now=now)


def show_typing(*, caller: Caller, session_id: UUID) -> None:
    conversation = access_conversation(caller.principal, session_id, caller.session_token)
    events.announce_typing(conversation, Role.USER)


def open_stream(*, caller: Caller, session_id: UUID) -> Conversation:
    """The conversation, for a caller that may follow it."""
    return access_conversation(caller.principal, session_id, caller.session_token)


def read_config(*, caller: Caller, bot_id: int | None) -> dict[str, Any]:
    return replies.config(access_bot(caller.principal, bot_id))


def forget_old_idempotency_keys(*, now: datetime) -> int:
    """How many were forgotten; run under platform scope, every hour or so."""
    deleted, _by_model = IdempotencyRecord.objects.all().older_than(now - idempotency.KEPT).delete()
    return int(deleted)
