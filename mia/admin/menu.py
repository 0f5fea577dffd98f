"""The sidebar: what each role works with, in its order of use."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.permissions import Right, has_right
from accounts.scoped_admin import user_of
from chats.choices import Status
from chats.models import Conversation
from knowledge.gaps import OPEN
from knowledge.models import QuestionCluster
from miners.choices import Trust
from miners.models import Miner


class Item(TypedDict):
    """A line of the sidebar."""

    title: str | Promise
    icon: str
    link: str
    badge: NotRequired[int]
    badge_variant: NotRequired[str]


class Group(TypedDict):
    """Lines under one heading."""

    title: str | Promise
    separator: bool
    items: list[Item]


def environment_label(request: HttpRequest) -> list[str] | None:
    """A chip in the header wherever this is not the real thing."""
    return None if settings.PRODUCTION else [settings.APP_ENV, "info"]


def navigation(request: HttpRequest) -> list[Group]:
    user = user_of(request)
    groups = [_support(user), _bots(user), _safety(user), _knowledge(user), _team(user)]
    if user.is_superuser:
        groups += [_network(), _system()]
    return [{**group, "separator": number > 0} for number, group in enumerate(groups) if group["items"]]


def _support(user: User) -> Group:
    if not has_right(user, Right.READ):
        return _group(_("Support"))
    waiting = Conversation.objects.visible_to(user).filter(status=Status.WAITING).count()
    return _group(
        _("Support"),
        _item(_("Overview"), "space_dashboard", "admin:index"),
        _item(_("Analytics"), "query_stats", "admin:analytics"),
        _with_badge(_item(_("Conversations"), "forum", "admin:chats_conversation_changelist"), waiting, "warning"),
        _item(_("Canned replies"), "quickreply", "admin:chats_cannedreply_changelist"),
        _item(_("Tags"), "sell", "admin:chats_tag_changelist"),
        _item(_("Leads"), "contact_mail", "admin:chats_lead_changelist"),
        _item(_("Feedback"), "thumbs_up_down", "admin:chats_feedback_changelist"),
        _item(_("Ratings"), "star", "admin:chats_rating_changelist"),
    )


def _bots(user: User) -> Group:
    if not has_right(user, Right.READ):
        return _group(_("Bots"))
    jobs = [] if user.is_superuser else [_item(_("Jobs"), "bolt", "admin:miners_job_changelist")]
    return _group(
        _("Bots"),
        _item(_("Bots"), "smart_toy", "admin:chats_bot_changelist"),
        _item(_("Channels"), "alternate_email", "admin:chats_channel_changelist"),
        _item(_("Deliveries"), "outgoing_mail", "admin:chats_channelmessage_changelist"),
        *jobs,
    )


def _safety(user: User) -> Group:
    if not has_right(user, Right.READ):
        return _group(_("Safety"))
    return _group(
        _("Safety"),
        _item(_("Rules"), "shield", "admin:chats_safetypolicy_changelist"),
        _item(_("Refused and stopped"), "gpp_maybe", "admin:chats_guardrailevent_changelist"),
        _item(_("Blocked visitors"), "block", "admin:chats_visitorblock_changelist"),
    )


def _knowledge(user: User) -> Group:
    if not has_right(user, Right.READ):
        return _group(_("Knowledge"))
    missing = QuestionCluster.objects.visible_to(user).filter(status__in=OPEN).count()
    return _group(
        _("Knowledge"),
        _item(_("Sources"), "school", "admin:knowledge_source_changelist"),
        _item(_("Documents"), "description", "admin:knowledge_document_changelist"),
        _item(_("Trainings"), "model_training", "admin:knowledge_trainingjob_changelist"),
        _with_badge(
            _item(_("Missing answers"), "contact_support", "admin:knowledge_questioncluster_changelist"),
            missing,
            "warning",
        ),
        _item(_("Playground"), "experiment", "admin:knowledge_playground"),
        _item(_("Answer settings"), "tune", "admin:knowledge_modelconfigversion_changelist"),
        _item(_("Test sets"), "rule", "admin:knowledge_testset_changelist"),
        _item(_("Receipts"), "receipt_long", "admin:knowledge_retrievallog_changelist"),
    )


def _team(user: User) -> Group:
    items: list[Item] = []
    if has_right(user, Right.READ):
        name = _("Businesses") if user.is_superuser else _("Business")
        items.append(_item(name, "storefront", "admin:accounts_business_changelist"))
        items.append(_item(_("Members"), "group", "admin:accounts_membership_changelist"))
    if has_right(user, Right.MANAGE):
        items += [
            _item(_("Invitations"), "person_add", "admin:accounts_invitation_changelist"),
            _item(_("API keys"), "key", "admin:accounts_apikey_changelist"),
            _item(_("Token issuers"), "verified_user", "admin:accounts_jwtissuer_changelist"),
            _item(_("Webhooks"), "webhook", "admin:chats_webhookendpoint_changelist"),
            _item(_("Webhook deliveries"), "outbox", "admin:chats_webhookdelivery_changelist"),
            _item(_("Audit trail"), "history", "admin:accounts_auditentry_changelist"),
        ]
    if user.is_superuser:
        items.append(_item(_("Users"), "manage_accounts", "admin:accounts_user_changelist"))
    return _group(_("Team"), *items)


def _network() -> Group:
    suspects = Miner.objects.filter(trust=Trust.SUSPECT).count()
    return _group(
        _("Network"),
        _item(_("Network live"), "monitoring", "admin:network_live"),
        _with_badge(_item(_("Miners"), "memory", "admin:miners_miner_changelist"), suspects, "danger"),
        _item(_("Jobs"), "bolt", "admin:miners_job_changelist"),
        _item(_("Enrolment tokens"), "vpn_key", "admin:miners_enrolmenttoken_changelist"),
        _item(_("Canaries"), "quiz", "admin:miners_canary_changelist"),
        _item(_("Canary trials"), "fact_check", "admin:miners_canarytrial_changelist"),
    )


def _system() -> Group:
    return _group(
        _("System"),
        _item(_("Task queues"), "stacks", "django_rq:home"),
        _item(_("Health"), "monitor_heart", "health-detailed"),
        _item(_("API docs"), "api", "docs"),
    )


def _group(title: str | Promise, *items: Item) -> Group:
    return {"title": title, "separator": False, "items": list(items)}


def _item(title: str | Promise, icon: str, view: str) -> Item:
    return {"title": title, "icon": icon, "link": reverse(view)}


def _with_badge(item: Item, number: int, variant: str) -> Item:
    return {**item, "badge": number, "badge_variant": variant} if number else item
