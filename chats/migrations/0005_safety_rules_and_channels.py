"""Safety rules, masked values, the record of guardrails, blocks of visitors, and channels."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from mia.lib.migrations import ForceRowSecurity, TenantForeignKey, UniquePair


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_audit_entries_are_append_only"),
        ("chats", "0002_webhooks_and_deliveries"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Channel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[("widget", "Website"), ("email", "E-mail"), ("telegram", "Telegram")],
                        max_length=8,
                        verbose_name="kind",
                    ),
                ),
                ("name", models.CharField(help_text="What agents know it by.", max_length=80, verbose_name="name")),
                ("is_active", models.BooleanField(default=True, verbose_name="active")),
                (
                    "address",
                    models.CharField(
                        blank=True,
                        help_text="The mailbox's address, or the Telegram bot's name.",
                        max_length=254,
                        verbose_name="address",
                    ),
                ),
                ("imap_host", models.CharField(blank=True, max_length=253, verbose_name="IMAP server")),
                ("imap_port", models.PositiveIntegerField(default=993, verbose_name="IMAP port")),
                (
                    "imap_security",
                    models.CharField(
                        choices=[("tls", "TLS"), ("starttls", "STARTTLS"), ("none", "None")],
                        default="tls",
                        max_length=8,
                        verbose_name="IMAP encryption",
                    ),
                ),
                ("smtp_host", models.CharField(blank=True, max_length=253, verbose_name="SMTP server")),
                ("smtp_port", models.PositiveIntegerField(default=465, verbose_name="SMTP port")),
                (
                    "smtp_security",
                    models.CharField(
                        choices=[("tls", "TLS"), ("starttls", "STARTTLS"), ("none", "None")],
                        default="tls",
                        max_length=8,
                        verbose_name="SMTP encryption",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        blank=True, help_text="Empty: the address.", max_length=254, verbose_name="user name"
                    ),
                ),
                ("encrypted_secret", models.TextField(blank=True, editable=False, verbose_name="password or token")),
                ("cursor", models.BigIntegerField(default=0, editable=False)),
                ("cursor_epoch", models.BigIntegerField(default=0, editable=False)),
                (
                    "status",
                    models.CharField(
                        choices=[("new", "Not tried yet"), ("works", "Works"), ("failing", "Failing")],
                        default="new",
                        editable=False,
                        max_length=7,
                        verbose_name="status",
                    ),
                ),
                ("last_error", models.CharField(blank=True, editable=False, max_length=300, verbose_name="last error")),
                (
                    "checked_at",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last looked at"),
                ),
                ("next_poll_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["name", "id"],
            },
        ),
        migrations.CreateModel(
            name="ChannelMessage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "direction",
                    models.CharField(choices=[("in", "In"), ("out", "Out")], max_length=3, verbose_name="direction"),
                ),
                ("external_id", models.CharField(blank=True, max_length=300, verbose_name="id there")),
                ("address", models.CharField(blank=True, max_length=254, verbose_name="address")),
                ("subject", models.CharField(blank=True, max_length=300, verbose_name="subject")),
                ("text", models.TextField(blank=True, verbose_name="text")),
                (
                    "delivery",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("done", "Delivered"),
                            ("ignored", "Ignored"),
                            ("failed", "Given up"),
                        ],
                        default="done",
                        max_length=7,
                        verbose_name="delivery",
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0, verbose_name="attempts")),
                ("due_at", models.DateTimeField(blank=True, null=True, verbose_name="next attempt")),
                ("error", models.CharField(blank=True, max_length=300, verbose_name="error")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="time"),
                ),
            ],
            options={
                "verbose_name": "delivery",
                "verbose_name_plural": "deliveries",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="GuardrailEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("job_id", models.UUIDField(blank=True, editable=False, null=True, verbose_name="job")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("injection", "Attack on the instructions"),
                            ("extraction", "Asked for the instructions"),
                            ("off_topic", "Another topic"),
                            ("untaught", "Nothing taught about it"),
                            ("abuse", "Abuse"),
                            ("leak", "Instructions in an answer"),
                            ("guarded", "Guarded words in an answer"),
                        ],
                        max_length=10,
                        verbose_name="what",
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("refused", "Refused"),
                            ("stopped", "Stopped while written"),
                            ("replaced", "Answer replaced"),
                            ("blocked", "Visitor kept out"),
                        ],
                        max_length=8,
                        verbose_name="done",
                    ),
                ),
                ("rule", models.CharField(blank=True, max_length=40, verbose_name="by rule")),
                ("excerpt", models.CharField(blank=True, max_length=200, verbose_name="words")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="time")),
            ],
            options={
                "verbose_name": "refusal",
                "verbose_name_plural": "refused and stopped",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="MaskedValue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("placeholder", models.CharField(max_length=16, verbose_name="placeholder")),
                ("value", models.TextField(max_length=400, verbose_name="value")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="masked"),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="SafetyPolicy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "personal_data_trust",
                    models.SmallIntegerField(
                        choices=[
                            (0, "Any miner: nothing is hidden"),
                            (1, "Verified miners"),
                            (2, "Trusted miners only"),
                            (9, "No miner: always hidden"),
                        ],
                        default=2,
                        help_text="Where a miner with less trust may answer, addresses, numbers and names are replaced before it reads them.",
                        verbose_name="who may read personal data",
                    ),
                ),
                (
                    "names",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        default=list,
                        help_text="Of people or customers, separated by commas. The visitor's own is hidden anyway.",
                        size=None,
                        verbose_name="names to hide",
                    ),
                ),
                (
                    "phone_region",
                    models.CharField(
                        blank=True,
                        help_text="For numbers without a +. Empty: that of the business's language.",
                        max_length=2,
                        validators=[
                            django.core.validators.RegexValidator("^[A-Z]{2}$", "Two capital letters, such as CH.")
                        ],
                        verbose_name="country of phone numbers",
                    ),
                ),
                (
                    "blocks_injection",
                    models.BooleanField(
                        default=True,
                        help_text="Messages that try to change the bot's instructions or to have them told.",
                        verbose_name="refuse attacks on the instructions",
                    ),
                ),
                ("blocks_abuse", models.BooleanField(default=True, verbose_name="refuse abuse")),
                (
                    "off_topic",
                    models.CharField(
                        choices=[
                            ("allowed", "Let the model decide"),
                            ("balanced", "Refuse what is clearly something else"),
                            ("strict", "Refuse what the bot was not taught"),
                        ],
                        default="balanced",
                        max_length=8,
                        verbose_name="other topics",
                    ),
                ),
                (
                    "topics",
                    models.TextField(
                        blank=True,
                        help_text="What the bot is there for, in your words. What it was taught counts anyway.",
                        max_length=2000,
                        verbose_name="its topics",
                    ),
                ),
                (
                    "guarded_texts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=300),
                        blank=True,
                        default=list,
                        help_text="Words or phrases, separated by commas. An answer that holds one is replaced.",
                        size=None,
                        verbose_name="never to be told",
                    ),
                ),
                (
                    "refusal_text",
                    models.CharField(
                        blank=True,
                        help_text="Empty: ours, in the visitor's language.",
                        max_length=500,
                        verbose_name="words of refusal",
                    ),
                ),
                (
                    "session_per_minute",
                    models.PositiveIntegerField(
                        default=60,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(600),
                        ],
                        verbose_name="messages a minute",
                    ),
                ),
                (
                    "session_per_day",
                    models.PositiveIntegerField(
                        default=300,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100000),
                        ],
                        verbose_name="messages a day",
                    ),
                ),
                (
                    "address_per_minute",
                    models.PositiveIntegerField(
                        default=120,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(6000),
                        ],
                        verbose_name="messages a minute from one address",
                    ),
                ),
                (
                    "daily_messages",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Of all visitors together, in the business's own day. Empty: as many as come.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="messages a day in all",
                    ),
                ),
                (
                    "strikes",
                    models.PositiveSmallIntegerField(
                        default=5,
                        help_text="Refused messages within an hour after which a visitor is kept out.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                        verbose_name="strikes",
                    ),
                ),
                (
                    "block_minutes",
                    models.PositiveIntegerField(
                        default=60,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(43200),
                        ],
                        verbose_name="kept out for (minutes)",
                    ),
                ),
            ],
            options={
                "verbose_name": "safety rules",
                "verbose_name_plural": "safety rules",
                "ordering": ["bot", "id"],
            },
        ),
        migrations.CreateModel(
            name="VisitorBlock",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address_hash", models.CharField(blank=True, editable=False, max_length=32, verbose_name="address")),
                ("reason", models.CharField(max_length=300, verbose_name="reason")),
                ("blocked_by", models.CharField(blank=True, max_length=150, verbose_name="by")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="since"),
                ),
                (
                    "until",
                    models.DateTimeField(
                        blank=True, help_text="Empty: until it is lifted.", null=True, verbose_name="until"
                    ),
                ),
                ("lifted_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="lifted")),
            ],
            options={
                "verbose_name": "blocked visitor",
                "verbose_name_plural": "blocked visitors",
                "ordering": ["-id"],
            },
        ),
        migrations.AddField(
            model_name="conversation",
            name="address_hash",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=32),
        ),
        migrations.AddField(
            model_name="conversation",
            name="channel",
            field=models.CharField(
                choices=[("widget", "Website"), ("email", "E-mail"), ("telegram", "Telegram")],
                db_default="widget",
                default="widget",
                max_length=8,
                verbose_name="channel",
            ),
        ),
        migrations.AlterField(
            model_name="bot",
            name="instructions",
            field=models.TextField(
                blank=True,
                help_text="What the bot should do, and must never do. Put what it may say word for word in quotation marks.",
                max_length=8000,
                verbose_name="instructions",
            ),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.CheckConstraint(
                condition=models.Q(("channel__in", ["widget", "email", "telegram"])),
                name="conversation_channel_is_known",
            ),
        ),
        migrations.AddField(
            model_name="channel",
            name="bot",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="channels", to="chats.bot", verbose_name="bot"
            ),
        ),
        migrations.AddField(
            model_name="channel",
            name="business",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
            ),
        ),
        migrations.AddField(
            model_name="channelmessage",
            name="business",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
            ),
        ),
        migrations.AddField(
            model_name="channelmessage",
            name="channel",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="messages",
                to="chats.channel",
                verbose_name="channel",
            ),
        ),
        migrations.AddField(
            model_name="channelmessage",
            name="chat_log",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="chats.chatlog",
                verbose_name="message",
            ),
        ),
        migrations.AddField(
            model_name="channelmessage",
            name="conversation",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="channel_messages",
                to="chats.conversation",
                verbose_name="conversation",
            ),
        ),
        migrations.AddField(
            model_name="guardrailevent",
            name="business",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
            ),
        ),
        migrations.AddField(
            model_name="guardrailevent",
            name="conversation",
            field=models.ForeignKey(
                blank=True,
                help_text="None for what a program asked through /v1.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="guardrail_events",
                to="chats.conversation",
                verbose_name="conversation",
            ),
        ),
        migrations.AddField(
            model_name="maskedvalue",
            name="business",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
            ),
        ),
        migrations.AddField(
            model_name="maskedvalue",
            name="conversation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="masked_values", to="chats.conversation"
            ),
        ),
        migrations.AddField(
            model_name="safetypolicy",
            name="bot",
            field=models.ForeignKey(
                blank=True,
                help_text="Empty: for every bot that has no rules of its own.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="safety_policies",
                to="chats.bot",
                verbose_name="bot",
            ),
        ),
        migrations.AddField(
            model_name="safetypolicy",
            name="business",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
            ),
        ),
        migrations.AddField(
            model_name="visitorblock",
            name="business",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
            ),
        ),
        migrations.AddField(
            model_name="visitorblock",
            name="conversation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="blocks",
                to="chats.conversation",
                verbose_name="conversation",
            ),
        ),
        migrations.AddConstraint(
            model_name="channel",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["email", "telegram"])), name="channel_kind_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="channel",
            constraint=models.UniqueConstraint(
                condition=models.Q(("address", ""), _negated=True),
                fields=("business", "kind", "address"),
                name="channel_address_is_listed_once_in_its_business",
            ),
        ),
        migrations.AddIndex(
            model_name="channelmessage",
            index=models.Index(
                condition=models.Q(("delivery", "waiting")), fields=["due_at"], name="channel_message_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="channelmessage",
            constraint=models.UniqueConstraint(
                condition=models.Q(("external_id", ""), _negated=True),
                fields=("business", "channel", "direction", "external_id"),
                name="channel_message_comes_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="channelmessage",
            constraint=models.UniqueConstraint(
                condition=models.Q(("chat_log__isnull", False), ("direction", "out")),
                fields=("business", "chat_log"),
                name="channel_message_goes_out_once",
            ),
        ),
        migrations.AddIndex(
            model_name="guardrailevent",
            index=models.Index(fields=["conversation", "-at"], name="guardrail_event_by_talk"),
        ),
        migrations.AddConstraint(
            model_name="guardrailevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["injection", "extraction", "off_topic", "untaught", "abuse", "leak", "guarded"])
                ),
                name="guardrail_event_kind_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="guardrailevent",
            constraint=models.CheckConstraint(
                condition=models.Q(("action__in", ["refused", "stopped", "replaced", "blocked"])),
                name="guardrail_event_action_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="maskedvalue",
            constraint=models.UniqueConstraint(
                fields=("business", "conversation", "placeholder"), name="masked_value_is_one_per_placeholder"
            ),
        ),
        migrations.AddConstraint(
            model_name="safetypolicy",
            constraint=models.UniqueConstraint(
                condition=models.Q(("bot", None)), fields=("business",), name="safety_policy_is_one_per_business"
            ),
        ),
        migrations.AddConstraint(
            model_name="safetypolicy",
            constraint=models.UniqueConstraint(
                condition=models.Q(("bot__isnull", False)),
                fields=("business", "bot"),
                name="safety_policy_is_one_per_bot",
            ),
        ),
        migrations.AddConstraint(
            model_name="safetypolicy",
            constraint=models.CheckConstraint(
                condition=models.Q(("personal_data_trust__in", [0, 1, 2, 9])), name="safety_policy_trust_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="safetypolicy",
            constraint=models.CheckConstraint(
                condition=models.Q(("off_topic__in", ["allowed", "balanced", "strict"])),
                name="safety_policy_off_topic_is_known",
            ),
        ),
        migrations.AddIndex(
            model_name="visitorblock",
            index=models.Index(fields=["business", "address_hash"], name="visitor_block_by_address"),
        ),
        migrations.AddIndex(
            model_name="visitorblock",
            index=models.Index(fields=["conversation"], name="visitor_block_by_talk"),
        ),
        ForceRowSecurity("chats_safetypolicy"),
        ForceRowSecurity("chats_maskedvalue"),
        ForceRowSecurity("chats_guardrailevent"),
        ForceRowSecurity("chats_visitorblock"),
        ForceRowSecurity("chats_channel"),
        ForceRowSecurity("chats_channelmessage"),
        UniquePair("chats_channel"),
        TenantForeignKey("chats_safetypolicy", "bot_id", "chats_bot"),
        TenantForeignKey("chats_maskedvalue", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_guardrailevent", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_visitorblock", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_channel", "bot_id", "chats_bot"),
        TenantForeignKey("chats_channelmessage", "channel_id", "chats_channel"),
        TenantForeignKey("chats_channelmessage", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_channelmessage", "chat_log_id", "chats_chatlog"),
    ]
