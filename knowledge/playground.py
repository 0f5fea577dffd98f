"""The playground: a question to a bot, and everything that its search makes of it; nothing is written down."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.permissions import Right, has_right
from accounts.scoped_admin import user_of
from knowledge import answering, configs, receipts
from knowledge.answering import Asked, Grounding
from knowledge.bots import names_of_bots
from knowledge.choices import Outcome, VersionState
from knowledge.models import ModelConfigVersion

MAX_QUESTION_CHARS: Final = 2_000
DRAFTS_SHOWN: Final = 20
TONES: Final = {Outcome.ANSWERED: "good", Outcome.CURATED: "good", Outcome.REFUSED: "bad"}


def playground_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Whoever may read a bot's business may ask it here."""
    user = user_of(request)
    bots = {
        bot_id: (business_id, name)
        for bot_id, (business_id, name) in names_of_bots().items()
        if has_right(user, Right.READ, business_id)
    }
    bot_id = _number(request.GET.get("bot")) or next(iter(bots), 0)
    question = request.GET.get("q", "").replace("\x00", "").strip()[:MAX_QUESTION_CHARS]
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": _("Playground"),
        "bots": [{"id": pk, "name": name} for pk, (_owner, name) in bots.items()],
        "bot_id": bot_id,
        "question": question,
    }
    if bot_id in bots:
        context |= _tried(bots[bot_id][0], bot_id, question, _number(request.GET.get("config")))
    return TemplateResponse(request, "knowledge/admin/playground.html", context)


def _tried(business_id: int, bot_id: int, question: str, config_id: int) -> dict[str, Any]:
    versions = ModelConfigVersion.objects.for_business(business_id).filter(bot_id=bot_id)
    drafts = list(versions.exclude(state=VersionState.ACTIVE)[:DRAFTS_SHOWN])
    chosen = next((draft for draft in drafts if draft.pk == config_id), None)
    grounding = answering.ground(
        Asked(
            business_id=business_id,
            bot_id=bot_id,
            question=question,
            answering=configs.settings_of(chosen) if chosen is not None else None,
        )
    )
    shown = {} if grounding is None else _shown(grounding)
    return {"drafts": drafts, "config_id": config_id, "grounding": grounding, **shown}


def _shown(grounding: Grounding) -> dict[str, Any]:
    found = grounding.found
    texts = {passage.chunk_id: passage for passage in found.passages}
    return {
        "outcome": grounding.outcome.label,
        "tone": TONES[grounding.outcome],
        "evidence": f"{found.evidence:.2f}",
        "threshold": f"{found.threshold:.2f}",
        "rewritten": found.query if found.query != grounding.asked.question else "",
        "words": ", ".join(found.words),
        "timings": [(name.removesuffix("_ms"), took) for name, took in found.timings.items()],
        "passages": [
            {**note, "text": texts[note["chunk_id"]].text, "curated": texts[note["chunk_id"]].is_curated}
            for note in receipts.notes(grounding, now=timezone.now())
        ],
    }


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0
