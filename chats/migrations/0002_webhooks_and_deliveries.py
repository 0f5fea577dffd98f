"""Webhooks: where events go, what was sent, and how it went."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from mia.lib.migrations import ForceRowSecurity, TenantForeignKey, UniquePair


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_audit_entries_are_append_only"),
        ("chats", "0001_bots_conversations_and_chat_logs"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("name", models.CharField(max_length=80, verbose_name="name")),
                (
                    "url",
                    models.URLField(
                        help_text="https, and reachable from the internet.", max_length=1000, verbose_name="address"
                    ),
                ),
                (
                    "events",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40), default=list, size=None, verbose_name="events"
                    ),
                ),
                ("sealed_secret", models.TextField(editable=False)),
                ("sealed_previous_secret", models.TextField(blank=True, editable=False)),
                (
                    "previous_secret_until",
                    models.DateTimeField(
                        blank=True, editable=False, null=True, verbose_name="the secret before signs until"
                    ),
                ),
                ("is_active", models.BooleanField(default=True, verbose_name="active")),
                (
                    "failing_since",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="failing since"),
                ),
                (
                    "disabled_reason",
                    models.CharField(
                        blank=True, editable=False, max_length=200, verbose_name="why it was switched off"
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
                "verbose_name": "webhook",
                "ordering": ["name", "id"],
            },
        ),
        migrations.CreateModel(
            name="WebhookMessage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("public_id", models.UUIDField(default=uuid.uuid4, editable=False, verbose_name="id")),
                ("event", models.CharField(max_length=40, verbose_name="event")),
                ("data", models.JSONField(default=dict, verbose_name="data")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="happened")),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[("pending", "On its way"), ("delivered", "Delivered"), ("failed", "Given up")],
                        default="pending",
                        max_length=9,
                        verbose_name="state",
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0, verbose_name="tries")),
                ("next_attempt_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="next try")),
                ("http_status", models.PositiveSmallIntegerField(blank=True, null=True, verbose_name="status")),
                ("latency_ms", models.PositiveIntegerField(blank=True, null=True, verbose_name="took (ms)")),
                ("excerpt", models.CharField(blank=True, max_length=1000, verbose_name="what it answered")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="ended")),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="chats.webhookendpoint",
                        verbose_name="webhook",
                    ),
                ),
                (
                    "message",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="chats.webhookmessage",
                    ),
                ),
            ],
            options={
                "verbose_name": "webhook delivery",
                "verbose_name_plural": "webhook deliveries",
                "ordering": ["-id"],
            },
        ),
        migrations.AddIndex(
            model_name="webhookmessage",
            index=models.Index(fields=["created_at"], name="webhook_message_by_age"),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("state", "pending")), fields=["next_attempt_at"], name="webhook_delivery_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(
                fields=("business", "message", "endpoint"), name="webhook_delivery_is_one_per_message_and_endpoint"
            ),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "delivered", "failed"])),
                name="webhook_delivery_state_is_known",
            ),
        ),
        ForceRowSecurity("chats_webhookendpoint"),
        ForceRowSecurity("chats_webhookmessage"),
        ForceRowSecurity("chats_webhookdelivery"),
        UniquePair("chats_webhookendpoint"),
        UniquePair("chats_webhookmessage"),
        TenantForeignKey("chats_webhookdelivery", "endpoint_id", "chats_webhookendpoint"),
        TenantForeignKey("chats_webhookdelivery", "message_id", "chats_webhookmessage"),
    ]
