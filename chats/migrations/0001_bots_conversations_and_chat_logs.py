"""Bots, conversations and what is said in them, behind row-level security from the first row."""

import uuid

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from mia.lib.migrations import ForceRowSecurity, TenantForeignKey, UniquePair


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0002_audit_entries_are_append_only"),
        ("miners", "0001_miners_jobs_and_attempts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Bot",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("name", models.CharField(max_length=80, verbose_name="name")),
                (
                    "role",
                    models.CharField(
                        blank=True,
                        help_text="Such as: support agent of an online shop for bicycles.",
                        max_length=200,
                        verbose_name="role",
                    ),
                ),
                (
                    "tone",
                    models.CharField(
                        blank=True, help_text="Such as: warm, brief, no jargon.", max_length=200, verbose_name="tone"
                    ),
                ),
                (
                    "business_description",
                    models.TextField(
                        blank=True,
                        help_text="Everything the bot may tell: what you offer, prices, hours, policies. It knows nothing else.",
                        max_length=200000,
                        verbose_name="facts",
                    ),
                ),
                (
                    "instructions",
                    models.TextField(
                        blank=True,
                        help_text="What the bot should do, and must never do.",
                        max_length=8000,
                        verbose_name="instructions",
                    ),
                ),
                ("first_message", models.CharField(blank=True, max_length=1000, verbose_name="first message")),
                (
                    "confirmation_message",
                    models.CharField(
                        blank=True,
                        help_text="Shown when a visitor has left contact details.",
                        max_length=1000,
                        verbose_name="confirmation",
                    ),
                ),
                (
                    "languages",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=16),
                        blank=True,
                        default=list,
                        help_text="Such as en, fr, de. Empty: whatever the visitor writes in.",
                        size=None,
                        verbose_name="languages",
                    ),
                ),
                (
                    "model",
                    models.CharField(
                        blank=True, help_text="Empty: any model of the network.", max_length=200, verbose_name="model"
                    ),
                ),
                (
                    "max_tokens",
                    models.PositiveIntegerField(
                        default=512,
                        help_text="In tokens; an English word has about 1.3.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(4096),
                        ],
                        verbose_name="longest answer",
                    ),
                ),
                (
                    "temperature",
                    models.FloatField(
                        default=0.3,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(2.0),
                        ],
                        verbose_name="temperature",
                    ),
                ),
                (
                    "max_context_tokens",
                    models.PositiveIntegerField(
                        default=8192,
                        help_text="Tokens that the model reads and writes at most; older messages are left out to fit.",
                        validators=[
                            django.core.validators.MinValueValidator(512),
                            django.core.validators.MaxValueValidator(1000000),
                        ],
                        verbose_name="context",
                    ),
                ),
                ("title", models.CharField(blank=True, max_length=80, verbose_name="title")),
                (
                    "color",
                    models.CharField(
                        default="#1f6feb",
                        max_length=7,
                        validators=[django.core.validators.RegexValidator("^#[0-9a-fA-F]{6}$", "Write it as #rrggbb.")],
                        verbose_name="colour",
                    ),
                ),
                (
                    "position",
                    models.CharField(
                        choices=[("left", "Left"), ("right", "Right")],
                        default="right",
                        max_length=5,
                        verbose_name="corner",
                    ),
                ),
                (
                    "is_default",
                    models.BooleanField(
                        default=False, help_text="Answers when no bot is named.", verbose_name="default"
                    ),
                ),
                ("is_active", models.BooleanField(default=True, verbose_name="active")),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "widget_key",
                    models.ForeignKey(
                        blank=True,
                        help_text="A publishable key named here reaches this bot and no other.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="accounts.apikey",
                        verbose_name="only for widget key",
                    ),
                ),
            ],
            options={
                "ordering": ["name", "id"],
            },
        ),
        migrations.CreateModel(
            name="Conversation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        help_text="What visitors' programs know it by.",
                        unique=True,
                        verbose_name="session id",
                    ),
                ),
                (
                    "external_id",
                    models.CharField(
                        blank=True,
                        help_text="Given by the business's dashboard.",
                        max_length=64,
                        verbose_name="the business's own id",
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[("ai", "AI"), ("human", "Human")],
                        default="ai",
                        max_length=5,
                        verbose_name="answered by",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "Open"), ("waiting", "Waiting for a human"), ("resolved", "Resolved")],
                        default="open",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                ("visitor_name", models.CharField(blank=True, max_length=150, verbose_name="visitor")),
                ("visitor_email", models.EmailField(blank=True, max_length=254, verbose_name="visitor's e-mail")),
                ("language", models.CharField(blank=True, max_length=16, verbose_name="language")),
                (
                    "handoff_reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("visitor", "The visitor asked"),
                            ("agent", "An agent took over"),
                            ("failure", "No answer could be produced"),
                        ],
                        max_length=8,
                        verbose_name="why a human",
                    ),
                ),
                (
                    "handoff_requested_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="human wanted since"),
                ),
                ("snippet", models.CharField(blank=True, max_length=200, verbose_name="last words")),
                ("last_job_id", models.UUIDField(blank=True, editable=False, null=True, verbose_name="last job")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="started"),
                ),
                (
                    "last_message_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="last message"),
                ),
                (
                    "assignee",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="assigned to",
                    ),
                ),
                (
                    "bot",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="conversations",
                        to="chats.bot",
                        verbose_name="bot",
                    ),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
            ],
            options={
                "ordering": ["-last_message_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="ChatLog",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("user", "Visitor"),
                            ("assistant", "AI"),
                            ("agent", "Agent"),
                            ("system", "System"),
                            ("tool", "Tool"),
                        ],
                        max_length=9,
                        verbose_name="role",
                    ),
                ),
                ("message", models.TextField(blank=True, verbose_name="message")),
                ("timestamp", models.DateTimeField(default=django.utils.timezone.now, verbose_name="time")),
                ("author_name", models.CharField(blank=True, max_length=150, verbose_name="name of the writer")),
                ("prompt_tokens", models.PositiveIntegerField(default=0, verbose_name="tokens read")),
                ("tokens_generated", models.PositiveIntegerField(default=0, verbose_name="tokens written")),
                ("latency_ms", models.PositiveIntegerField(blank=True, null=True, verbose_name="took (ms)")),
                ("citations", models.JSONField(blank=True, default=list, verbose_name="sources")),
                ("tool_calls", models.JSONField(blank=True, default=list, verbose_name="tool calls")),
                ("tool_call_id", models.CharField(blank=True, max_length=100, verbose_name="answers tool call")),
                (
                    "author",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="written by",
                    ),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="miners.job",
                        verbose_name="job",
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="chat_logs", to="chats.conversation"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="AgentSeat",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("socket_id", models.UUIDField(default=uuid.uuid4, editable=False)),
                ("name", models.CharField(blank=True, max_length=150, verbose_name="name")),
                ("seen_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="last seen")),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="seats", to="chats.conversation"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Feedback",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "verdict",
                    models.CharField(
                        choices=[("positive", "Helpful"), ("negative", "Not helpful")],
                        max_length=8,
                        verbose_name="verdict",
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=1000, verbose_name="reason")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="given"),
                ),
                (
                    "updated_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="changed"),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "message",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="feedback", to="chats.chatlog"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "feedback",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="IdempotencyRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("principal", models.CharField(max_length=100)),
                ("key", models.CharField(max_length=255)),
                ("request_hash", models.CharField(max_length=64)),
                ("status", models.PositiveSmallIntegerField(default=0)),
                ("response", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Lead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(blank=True, max_length=150, verbose_name="name")),
                ("email", models.EmailField(blank=True, max_length=254, verbose_name="e-mail")),
                ("phone", models.CharField(blank=True, max_length=40, verbose_name="phone")),
                ("note", models.TextField(blank=True, max_length=2000, verbose_name="note")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="left"),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="leads", to="chats.conversation"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Rating",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("score", models.PositiveSmallIntegerField(verbose_name="score")),
                ("comment", models.CharField(blank=True, max_length=1000, verbose_name="comment")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="given"),
                ),
                (
                    "updated_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="changed"),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "conversation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="rating", to="chats.conversation"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.AddConstraint(
            model_name="bot",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_default", True)), fields=("business",), name="bot_default_is_one_per_business"
            ),
        ),
        migrations.AddConstraint(
            model_name="bot",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_tokens__gte", 1), ("max_tokens__lte", 4096)),
                name="bot_answers_have_a_sane_length",
            ),
        ),
        migrations.AddConstraint(
            model_name="bot",
            constraint=models.CheckConstraint(
                condition=models.Q(("temperature__gte", 0), ("temperature__lte", 2)),
                name="bot_temperature_is_between_zero_and_two",
            ),
        ),
        migrations.AddConstraint(
            model_name="bot",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_context_tokens__gte", 512)), name="bot_context_is_not_tiny"
            ),
        ),
        migrations.AddConstraint(
            model_name="bot",
            constraint=models.CheckConstraint(
                condition=models.Q(("position__in", ["left", "right"])), name="bot_position_is_known"
            ),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["business", "-last_message_at"], name="conversation_by_last_message"),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["business", "status", "-last_message_at"], name="conversation_by_status"),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("external_id", ""), _negated=True),
                fields=("business", "external_id"),
                name="conversation_external_id_is_unique_in_its_business",
            ),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.CheckConstraint(
                condition=models.Q(("mode__in", ["ai", "human"])), name="conversation_mode_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["open", "waiting", "resolved"])), name="conversation_status_is_known"
            ),
        ),
        migrations.AddIndex(
            model_name="chatlog",
            index=models.Index(fields=["conversation", "id"], name="chat_log_in_order"),
        ),
        migrations.AddConstraint(
            model_name="chatlog",
            constraint=models.UniqueConstraint(
                condition=models.Q(("role__in", ["user", "assistant", "system"])),
                fields=("business", "job", "role"),
                name="chat_log_is_one_question_and_one_answer_per_job",
            ),
        ),
        migrations.AddConstraint(
            model_name="chatlog",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["user", "assistant", "agent", "system", "tool"])),
                name="chat_log_role_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="chatlog",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("role", "tool"), _negated=True),
                    models.Q(("tool_call_id", ""), _negated=True),
                    _connector="OR",
                ),
                name="chat_log_of_a_tool_names_its_call",
            ),
        ),
        migrations.AddConstraint(
            model_name="agentseat",
            constraint=models.UniqueConstraint(fields=("business", "socket_id"), name="agent_seat_is_one_per_socket"),
        ),
        migrations.AddConstraint(
            model_name="feedback",
            constraint=models.CheckConstraint(
                condition=models.Q(("verdict__in", ["positive", "negative"])), name="feedback_verdict_is_known"
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencyrecord",
            index=models.Index(fields=["created_at"], name="idempotency_by_age"),
        ),
        migrations.AddConstraint(
            model_name="idempotencyrecord",
            constraint=models.UniqueConstraint(
                fields=("business", "principal", "key"), name="idempotency_key_is_used_once_by_its_holder"
            ),
        ),
        migrations.AddConstraint(
            model_name="lead",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("email", ""), _negated=True), models.Q(("phone", ""), _negated=True), _connector="OR"
                ),
                name="lead_can_be_reached_by_mail_or_phone",
            ),
        ),
        migrations.AddConstraint(
            model_name="rating",
            constraint=models.CheckConstraint(
                condition=models.Q(("score__gte", 1), ("score__lte", 5)), name="rating_is_one_to_five"
            ),
        ),
        ForceRowSecurity("chats_bot"),
        ForceRowSecurity("chats_conversation"),
        ForceRowSecurity("chats_chatlog"),
        ForceRowSecurity("chats_feedback"),
        ForceRowSecurity("chats_lead"),
        ForceRowSecurity("chats_rating"),
        ForceRowSecurity("chats_agentseat"),
        ForceRowSecurity("chats_idempotencyrecord"),
        UniquePair("chats_bot"),
        UniquePair("chats_conversation"),
        UniquePair("chats_chatlog"),
        TenantForeignKey("chats_bot", "widget_key_id", "accounts_apikey", on_delete="SET NULL"),
        TenantForeignKey("chats_conversation", "bot_id", "chats_bot", on_delete="NO ACTION"),
        TenantForeignKey("chats_chatlog", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_chatlog", "job_id", "miners_job", on_delete="SET NULL"),
        TenantForeignKey("chats_feedback", "message_id", "chats_chatlog"),
        TenantForeignKey("chats_lead", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_rating", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_agentseat", "conversation_id", "chats_conversation"),
    ]
