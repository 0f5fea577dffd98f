"""The network's tables, under row-level security from the start."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from mia.lib.migrations import ForceRowSecurity, TenantForeignKey, UniquePair


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0002_audit_entries_are_append_only"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Canary",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("question", models.TextField(unique=True)),
                ("facts", models.TextField(help_text="What the answer can be found in.")),
                (
                    "expected",
                    models.CharField(help_text="The answer must contain this, whatever its case.", max_length=200),
                ),
                ("is_active", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "verbose_name_plural": "canaries",
            },
        ),
        migrations.CreateModel(
            name="NetworkSample",
            fields=[
                ("at", models.DateTimeField(primary_key=True, serialize=False)),
                ("online", models.PositiveIntegerField()),
                ("idle", models.PositiveIntegerField()),
                ("busy", models.PositiveIntegerField()),
                ("queued_chat", models.PositiveIntegerField()),
                ("queued_api", models.PositiveIntegerField()),
                ("queued_idle", models.PositiveIntegerField()),
                ("running", models.PositiveIntegerField()),
                ("tokens_per_second", models.FloatField()),
                ("start_p50_ms", models.FloatField(null=True)),
                ("start_p95_ms", models.FloatField(null=True)),
                ("first_token_p50_ms", models.FloatField(null=True)),
                ("first_token_p95_ms", models.FloatField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="EnrolmentToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="Whose machines these are, or where they stand.", max_length=100)),
                ("prefix", models.CharField(editable=False, max_length=16, unique=True)),
                ("digest", models.CharField(editable=False, max_length=64)),
                (
                    "trust",
                    models.SmallIntegerField(
                        choices=[(-2, "banned"), (-1, "suspect"), (0, "probation"), (1, "verified"), (2, "trusted")],
                        default=0,
                        help_text="What a miner starts with that registers with this token.",
                    ),
                ),
                ("max_uses", models.PositiveIntegerField(default=1, help_text="How many miners may register with it.")),
                ("uses", models.PositiveIntegerField(default=0, editable=False)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Miner",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("key_prefix", models.CharField(editable=False, max_length=16, unique=True)),
                ("key_digest", models.CharField(editable=False, max_length=64)),
                (
                    "trust",
                    models.SmallIntegerField(
                        choices=[(-2, "banned"), (-1, "suspect"), (0, "probation"), (1, "verified"), (2, "trusted")],
                        default=0,
                    ),
                ),
                ("trust_reason", models.CharField(blank=True, max_length=200)),
                ("trust_changed_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("idle", "Idle"),
                            ("busy", "Busy"),
                            ("offline", "Offline"),
                            ("draining", "Draining"),
                            ("paused", "Paused"),
                        ],
                        default="offline",
                        max_length=10,
                    ),
                ),
                (
                    "drain_requested",
                    models.BooleanField(default=False, help_text="Finish what runs, take nothing new."),
                ),
                ("ip_address", models.CharField(blank=True, max_length=45)),
                (
                    "agent",
                    models.CharField(
                        blank=True, help_text="The program; empty for a miner of the first protocol.", max_length=100
                    ),
                ),
                ("instance", models.CharField(blank=True, max_length=64)),
                ("gpu_name", models.CharField(blank=True, max_length=100)),
                ("gpu_memory_mb", models.PositiveIntegerField(default=0)),
                ("gpus", models.JSONField(blank=True, default=list)),
                (
                    "gpu_stats",
                    models.JSONField(
                        blank=True, default=dict, help_text="Memory used in MB, utilization in %, temperature in °C."
                    ),
                ),
                ("bench", models.JSONField(blank=True, default=dict)),
                (
                    "served_models",
                    models.JSONField(blank=True, default=list, help_text="What it serves, as it registered it."),
                ),
                (
                    "model_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200), blank=True, default=list, size=None
                    ),
                ),
                (
                    "features",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=50), blank=True, default=list, size=None
                    ),
                ),
                ("max_context", models.PositiveIntegerField(default=4096)),
                ("slots", models.PositiveSmallIntegerField(default=1)),
                (
                    "max_slots",
                    models.PositiveSmallIntegerField(
                        blank=True, help_text="Never give it more jobs at once than this.", null=True
                    ),
                ),
                (
                    "config_pending",
                    models.BooleanField(
                        default=False, editable=False, help_text="Its next heartbeat gets the new limits."
                    ),
                ),
                ("slots_free", models.PositiveSmallIntegerField(default=1)),
                ("job_count", models.PositiveBigIntegerField(default=0)),
                ("total_tokens_generated", models.PositiveBigIntegerField(default=0)),
                ("fault_count", models.PositiveBigIntegerField(default=0)),
                ("forgery_count", models.PositiveIntegerField(default=0)),
                ("canaries_passed", models.PositiveIntegerField(default=0)),
                ("canaries_failed", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("last_active", models.DateTimeField(blank=True, null=True)),
                (
                    "enrolment_token",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="miners",
                        to="miners.enrolmenttoken",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("chat", "Chat"), ("api", "Api"), ("idle", "Idle"), ("canary", "Canary")],
                        max_length=10,
                    ),
                ),
                ("lane", models.SmallIntegerField(choices=[(0, "chat"), (1, "api"), (2, "idle")])),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("offered", "Offered"),
                            ("running", "Running"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("expired", "Expired"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                (
                    "phase",
                    models.CharField(
                        blank=True,
                        choices=[("", "not started"), ("prefill", "reading the prompt"), ("decode", "writing")],
                        default="",
                        max_length=10,
                    ),
                ),
                ("messages", models.JSONField(default=list)),
                ("params", models.JSONField(default=dict)),
                ("tools", models.JSONField(default=list)),
                ("tool_choice", models.JSONField(default=str)),
                ("stream", models.BooleanField(default=True)),
                ("model", models.CharField(blank=True, help_text="Empty: any.", max_length=200)),
                (
                    "features",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=50), blank=True, default=list, size=None
                    ),
                ),
                (
                    "min_trust",
                    models.SmallIntegerField(
                        choices=[(-2, "banned"), (-1, "suspect"), (0, "probation"), (1, "verified"), (2, "trusted")],
                        default=1,
                    ),
                ),
                ("context_tokens", models.PositiveIntegerField(default=0, help_text="Estimated.")),
                ("max_tokens", models.PositiveIntegerField(default=500)),
                ("topic", models.CharField(blank=True, help_text="Where its events are published.", max_length=100)),
                ("affinity_key", models.CharField(blank=True, max_length=100)),
                ("prefix_key", models.CharField(blank=True, max_length=100)),
                (
                    "virtual_start",
                    models.BigIntegerField(
                        default=0, help_text="Weighted tokens its tenant had been served when it was submitted."
                    ),
                ),
                ("fence", models.BigIntegerField(blank=True, null=True)),
                ("attempt_count", models.PositiveSmallIntegerField(default=0)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("progress_at", models.DateTimeField(blank=True, null=True)),
                ("deadline", models.DateTimeField()),
                ("faults", models.PositiveSmallIntegerField(default=0)),
                (
                    "fault_fence",
                    models.BigIntegerField(
                        blank=True, help_text="The attempt that the last fault was charged for.", null=True
                    ),
                ),
                (
                    "tried",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), blank=True, default=list, size=None
                    ),
                ),
                ("resume_text", models.TextField(blank=True)),
                ("output", models.TextField(blank=True)),
                ("tool_calls", models.JSONField(blank=True, null=True)),
                ("finish_reason", models.CharField(blank=True, max_length=20)),
                ("prompt_tokens", models.PositiveIntegerField(default=0)),
                ("tokens_generated", models.PositiveIntegerField(default=0)),
                (
                    "error_code",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "none"),
                            ("ENGINE_ERROR", "every attempt failed"),
                            ("LEASE_EXPIRED", "miners went away"),
                            ("DEADLINE", "no answer before the deadline"),
                            ("CANCELLED", "cancelled"),
                        ],
                        max_length=30,
                    ),
                ),
                ("error_message", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("offered_at", models.DateTimeField(blank=True, null=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("first_token_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "business",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.business",
                    ),
                ),
                (
                    "affinity_miner",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="miners.miner",
                    ),
                ),
                (
                    "miner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="jobs",
                        to="miners.miner",
                    ),
                ),
                (
                    "target_miner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="miners.miner",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("fence", models.BigIntegerField(primary_key=True, serialize=False)),
                ("number", models.PositiveSmallIntegerField()),
                ("model", models.CharField(blank=True, max_length=200)),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "live"),
                            ("accepted", "Accepted"),
                            ("offer_expired", "offer expired"),
                            ("lease_expired", "lease expired"),
                            ("stalled", "Stalled"),
                            ("error", "engine error"),
                            ("refused", "Refused"),
                            ("cancelled", "Cancelled"),
                            ("deadline", "deadline passed"),
                        ],
                        default="",
                        max_length=20,
                    ),
                ),
                ("is_fault", models.BooleanField(default=False, help_text="Charged to the job.")),
                ("is_blamed", models.BooleanField(default=False, help_text="Charged to the miner as well.")),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("tokens_reported", models.PositiveIntegerField(default=0)),
                ("timing", models.JSONField(blank=True, default=dict)),
                ("offered_at", models.DateTimeField()),
                ("acked_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "business",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.business",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="attempts", to="miners.job"
                    ),
                ),
                (
                    "miner",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="attempts",
                        to="miners.miner",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="CanaryTrial",
            fields=[
                (
                    "job",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="canary_trial",
                        serialize=False,
                        to="miners.job",
                    ),
                ),
                ("passed", models.BooleanField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "canary",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="trials", to="miners.canary"
                    ),
                ),
                (
                    "miner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="canary_trials", to="miners.miner"
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="miner",
            index=models.Index(fields=["last_active"], name="miner_by_last_active"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("state", "queued")),
                fields=["lane", "virtual_start", "created_at"],
                name="job_claim_order",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("state__in", ["offered", "running"])), fields=["lease_until"], name="job_lease"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("state__in", ["queued", "offered", "running"])),
                fields=["deadline"],
                name="job_live_deadline",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("state__in", ["offered", "running"])), fields=["miner"], name="job_live_by_miner"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("affinity_key", ""), _negated=True),
                fields=["affinity_key", "-created_at"],
                name="job_affinity",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["business", "-created_at"], name="job_by_business"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["-created_at"], name="job_by_age"),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["offered", "running"]), _negated=True),
                    models.Q(("fence__isnull", False), ("lease_until__isnull", False), ("miner__isnull", False)),
                    _connector="OR",
                ),
                name="a_job_in_a_miners_hands_has_a_fence_and_a_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at__isnull", True), ("state__in", ["queued", "offered", "running"])),
                    models.Q(
                        models.Q(("state__in", ["queued", "offered", "running"]), _negated=True),
                        ("finished_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="a_job_is_finished_exactly_when_its_state_is_terminal",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ["queued", "offered", "running", "completed", "failed", "cancelled", "expired"])
                ),
                name="a_jobs_state_is_known",
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["miner", "-offered_at"], name="attempt_by_miner"),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(
                condition=models.Q(("outcome", "accepted")),
                fields=("job",),
                name="at_most_one_accepted_attempt_per_job",
            ),
        ),
        migrations.RunSQL("CREATE SEQUENCE miners_fence AS bigint", "DROP SEQUENCE miners_fence"),
        # Rows that live for seconds and are updated five times each: room for updates in place, early vacuums.
        migrations.RunSQL(
            "ALTER TABLE miners_job SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)",
            "ALTER TABLE miners_job RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_cost_delay)",
        ),
        ForceRowSecurity("miners_job", nullable=True),
        ForceRowSecurity("miners_attempt", nullable=True),
        UniquePair("miners_job"),
        TenantForeignKey("miners_attempt", "job_id", "miners_job"),
    ]
