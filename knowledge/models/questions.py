"""What people ask: answers written for the bot, questions it could not answer, and questions it must answer."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import DetachedTenantModel
from knowledge import querysets
from knowledge.choices import ClusterStatus, GapReason, Retest, TestRunStatus
from knowledge.limits import MAX_ANSWER_CHARS, MAX_QUESTION_CHARS
from knowledge.models.answers import ModelConfigVersion, RetrievalLog
from knowledge.models.sources import Source
from mia.lib.models import TimestampedModel


class CuratedAnswer(DetachedTenantModel, TimestampedModel):
    """A question with the answer that people wrote for it; it goes before everything that is found elsewhere."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="answers", verbose_name=_("source"))
    question = models.CharField(_("question"), max_length=MAX_QUESTION_CHARS)
    other_wordings = ArrayField(
        models.CharField(max_length=MAX_QUESTION_CHARS),
        verbose_name=_("other wordings"),
        default=list,
        blank=True,
        help_text=_("The same question in other words, one per line."),
    )
    answer = models.TextField(_("answer"), max_length=MAX_ANSWER_CHARS)
    language = models.CharField(_("language"), max_length=16, blank=True)
    approved_by_label = models.CharField(_("approved by"), max_length=255, blank=True, editable=False)

    objects = querysets.CuratedAnswerManager()

    class Meta:
        ordering = ["source_id", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business_id", "source", "question"], name="curated_answer_is_one_per_question"
            ),
        ]

    def __str__(self) -> str:
        return self.question


class QuestionCluster(DetachedTenantModel, TimestampedModel):
    """Unanswered questions that mean the same, and the answer that is being written for them."""

    bot_id = models.BigIntegerField(_("bot"), null=True, blank=True)
    question = models.CharField(_("question"), max_length=MAX_QUESTION_CHARS)
    status = models.CharField(_("status"), max_length=9, choices=ClusterStatus.choices, default=ClusterStatus.OPEN)
    size = models.PositiveIntegerField(_("asked"), default=0)
    draft = models.TextField(_("draft of an answer"), max_length=MAX_ANSWER_CHARS, blank=True)
    draft_job_id = models.UUIDField(null=True, blank=True, editable=False)
    curated_answer = models.ForeignKey(
        CuratedAnswer, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("answer")
    )
    centre = models.JSONField(default=list, blank=True, editable=False)
    last_asked_at = models.DateTimeField(_("last asked"), default=timezone.now)

    objects = querysets.QuestionClusterManager()

    class Meta:
        ordering = ["-size", "-last_asked_at"]
        verbose_name = _("missing answer")
        constraints = [
            models.CheckConstraint(
                name="question_cluster_status_is_known", condition=Q(status__in=ClusterStatus.values)
            )
        ]
        indexes = [models.Index(fields=["business_id", "status", "-size"], name="question_cluster_by_size")]

    def __str__(self) -> str:
        return self.question


class UnansweredQuestion(DetachedTenantModel):
    """One time that a visitor went without a good answer."""

    cluster = models.ForeignKey(
        QuestionCluster,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="questions",
        verbose_name=_("missing answer"),
    )
    retrieval_log = models.ForeignKey(
        RetrievalLog, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("receipt")
    )
    bot_id = models.BigIntegerField(_("bot"), null=True, blank=True)
    conversation_id = models.UUIDField(_("conversation"), null=True, blank=True)
    message_id = models.BigIntegerField(_("message"), null=True, blank=True)
    question = models.TextField(_("question"))
    language = models.CharField(_("language"), max_length=16, blank=True)
    reason = models.CharField(_("why"), max_length=11, choices=GapReason.choices, default=GapReason.NO_EVIDENCE)
    retest = models.CharField(_("asked again"), max_length=10, choices=Retest.choices, blank=True)
    retested_at = models.DateTimeField(_("asked again at"), null=True, blank=True)
    asked_at = models.DateTimeField(_("asked"), default=timezone.now)

    objects = querysets.UnansweredQuestionManager()

    class Meta:
        ordering = ["-asked_at", "-id"]
        constraints = [
            models.CheckConstraint(name="unanswered_reason_is_known", condition=Q(reason__in=GapReason.values)),
            models.CheckConstraint(name="unanswered_retest_is_known", condition=Q(retest__in=Retest.values)),
        ]
        indexes = [
            models.Index(fields=["business_id", "-asked_at"], name="unanswered_by_time"),
            models.Index(fields=["business_id", "conversation_id"], name="unanswered_in_a_conversation"),
        ]

    def __str__(self) -> str:
        return self.question[:60]


class TestSet(DetachedTenantModel, TimestampedModel):
    """Questions that a bot must answer before a change to it is published."""

    __test__ = False

    bot_id = models.BigIntegerField(_("bot"))
    name = models.CharField(_("name"), max_length=100)

    objects = querysets.TestSetManager()

    class Meta:
        ordering = ["name", "id"]
        verbose_name = _("test set")
        constraints = [
            models.UniqueConstraint(fields=["business_id", "bot_id", "name"], name="test_set_is_named_once_per_bot")
        ]

    def __str__(self) -> str:
        return self.name


class TestCase(DetachedTenantModel):
    """One question of a test set and what its answer must hold, or that it must be refused."""

    __test__ = False

    test_set = models.ForeignKey(TestSet, on_delete=models.CASCADE, related_name="cases", verbose_name=_("test set"))
    question = models.CharField(_("question"), max_length=MAX_QUESTION_CHARS)
    expected_source = models.ForeignKey(
        Source, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("from source")
    )
    expected_url = models.CharField(_("from address"), max_length=500, blank=True)
    expected_phrase = models.CharField(_("says"), max_length=500, blank=True)
    expects_refusal = models.BooleanField(_("must not know"), default=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    objects = querysets.TestCaseManager()

    class Meta:
        ordering = ["test_set_id", "id"]
        verbose_name = _("test question")

    def __str__(self) -> str:
        return self.question


class TestRun(DetachedTenantModel):
    """One run of a test set, with the answer to each question."""

    __test__ = False

    test_set = models.ForeignKey(TestSet, on_delete=models.CASCADE, related_name="runs", verbose_name=_("test set"))
    model_config = models.ForeignKey(
        ModelConfigVersion,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("settings"),
    )
    status = models.CharField(_("status"), max_length=7, choices=TestRunStatus.choices, default=TestRunStatus.QUEUED)
    passed = models.PositiveIntegerField(_("passed"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    results = models.JSONField(_("results"), default=list, blank=True)
    error = models.CharField(_("what went wrong"), max_length=500, blank=True)
    overridden_by_label = models.CharField(_("published in spite of it by"), max_length=255, blank=True, editable=False)
    override_reason = models.CharField(_("because"), max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(_("started"), default=timezone.now, editable=False)
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True)

    objects = querysets.TestRunManager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = _("test run")
        constraints = [
            models.CheckConstraint(name="test_run_status_is_known", condition=Q(status__in=TestRunStatus.values))
        ]

    def __str__(self) -> str:
        return f"{self.passed}/{self.passed + self.failed}"
