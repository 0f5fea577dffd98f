"""What agents keep: notes, tags, canned replies, sleep, and who owned a conversation when."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from mia.lib.migrations import ForceRowSecurity, TenantForeignKey, UniquePair


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_audit_entries_are_append_only"),
        ("chats", "0005_safety_rules_and_channels"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="conversation",
            name="snoozed_until",
            field=models.DateTimeField(
                blank=True, help_text="Or until the visitor writes again.", null=True, verbose_name="asleep until"
            ),
        ),
        migrations.CreateModel(
            name="Tag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=40, verbose_name="name")),
                (
                    "colour",
                    models.CharField(
                        choices=[
                            ("default", "Grey"),
                            ("info", "Blue"),
                            ("success", "Green"),
                            ("warning", "Amber"),
                            ("danger", "Red"),
                        ],
                        default="default",
                        max_length=7,
                        verbose_name="colour",
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
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="ConversationTag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tagged", to="chats.conversation"
                    ),
                ),
                (
                    "tag",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tagged", to="chats.tag"
                    ),
                ),
            ],
            options={
                "ordering": ["tag__name"],
            },
        ),
        migrations.CreateModel(
            name="CannedReply",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "shortcut",
                    models.CharField(
                        help_text="Without the /, such as hours.",
                        max_length=32,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9_-]+\\Z", "Small letters, digits, _ and - only."
                            )
                        ],
                        verbose_name="shortcut",
                    ),
                ),
                ("title", models.CharField(max_length=80, verbose_name="title")),
                (
                    "text",
                    models.TextField(
                        help_text="{visitor} and {agent} become the names of the two, where they are known.",
                        max_length=8000,
                        verbose_name="reply",
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
                "verbose_name": "canned reply",
                "verbose_name_plural": "canned replies",
                "ordering": ["shortcut"],
                "constraints": [
                    models.UniqueConstraint(fields=("business", "shortcut"), name="canned_reply_shortcut_is_used_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Note",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.TextField(max_length=8000, verbose_name="note")),
                ("author_name", models.CharField(blank=True, max_length=150, verbose_name="written by")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="written"),
                ),
                (
                    "author",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
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
                        on_delete=django.db.models.deletion.CASCADE, related_name="notes", to="chats.conversation"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["conversation", "-id"], name="note_of_a_conversation")],
            },
        ),
        migrations.CreateModel(
            name="OwnershipChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "from_owner",
                    models.CharField(
                        choices=[
                            ("ai", "AI"),
                            ("queue", "Waiting for a human"),
                            ("human", "Human"),
                            ("closed", "Resolved"),
                        ],
                        max_length=6,
                        verbose_name="from",
                    ),
                ),
                (
                    "to_owner",
                    models.CharField(
                        choices=[
                            ("ai", "AI"),
                            ("queue", "Waiting for a human"),
                            ("human", "Human"),
                            ("closed", "Resolved"),
                        ],
                        max_length=6,
                        verbose_name="to",
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=20, verbose_name="why")),
                ("actor_name", models.CharField(blank=True, max_length=150, verbose_name="by")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="when")),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
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
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="ownership_changes",
                        to="chats.conversation",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "indexes": [
                    models.Index(fields=["conversation", "id"], name="ownership_change_in_order"),
                    models.Index(fields=["business", "at"], name="ownership_change_by_time"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("from_owner__in", ["ai", "queue", "human", "closed"]),
                            ("to_owner__in", ["ai", "queue", "human", "closed"]),
                        ),
                        name="ownership_change_owners_are_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("from_owner", models.F("to_owner")), _negated=True),
                        name="ownership_change_changes_something",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="tag",
            constraint=models.UniqueConstraint(fields=("business", "name"), name="tag_is_named_once_per_business"),
        ),
        migrations.AddConstraint(
            model_name="tag",
            constraint=models.CheckConstraint(
                condition=models.Q(("colour__in", ["default", "info", "success", "warning", "danger"])),
                name="tag_colour_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="conversationtag",
            constraint=models.UniqueConstraint(
                fields=("business", "conversation", "tag"), name="tag_is_once_on_a_conversation"
            ),
        ),
        ForceRowSecurity("chats_ownershipchange"),
        ForceRowSecurity("chats_note"),
        ForceRowSecurity("chats_tag"),
        ForceRowSecurity("chats_conversationtag"),
        ForceRowSecurity("chats_cannedreply"),
        UniquePair("chats_tag"),
        TenantForeignKey("chats_ownershipchange", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_note", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_conversationtag", "conversation_id", "chats_conversation"),
        TenantForeignKey("chats_conversationtag", "tag_id", "chats_tag"),
    ]
