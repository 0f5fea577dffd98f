"""Everything that businesses teach and ask, behind row-level security from the first row."""

import uuid

import django.contrib.postgres.fields
import django.contrib.postgres.search
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import pgvector.django.halfvec
from django.db import migrations, models

from mia.lib.migrations import ForceRowSecurity, TenantForeignKey, UniquePair

# Declared immutable, as a generated column must be: PostgreSQL's own configurations do not change under one version.
SEARCH_VECTOR_SQL = """
CREATE FUNCTION knowledge_search_vector(configuration text, heading text, words text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURNS NULL ON NULL INPUT AS $$
    SELECT setweight(to_tsvector(('pg_catalog.' || configuration)::regconfig, heading), 'A')
        || setweight(to_tsvector(('pg_catalog.' || configuration)::regconfig, words), 'D')
$$
"""
# A vector belongs to a version and has its size: together with the check on the row itself, no other can be stored.
VECTOR_SIZE_SQL = """
ALTER TABLE knowledge_embeddingversion ADD CONSTRAINT embedding_version_and_size UNIQUE (business_id, id, dimensions);
ALTER TABLE knowledge_embedding ADD CONSTRAINT embedding_has_the_size_of_its_version
    FOREIGN KEY (business_id, embedding_version_id, dimensions)
    REFERENCES knowledge_embeddingversion (business_id, id, dimensions) ON DELETE CASCADE
"""
NO_VECTOR_SIZE_SQL = """
ALTER TABLE knowledge_embedding DROP CONSTRAINT embedding_has_the_size_of_its_version;
ALTER TABLE knowledge_embeddingversion DROP CONSTRAINT embedding_version_and_size
"""
TABLES = (
    "source",
    "document",
    "uploadedfile",
    "forgottenfile",
    "section",
    "chunk",
    "embeddingversion",
    "embedding",
    "trainingjob",
    "modelconfigversion",
    "retrievallog",
    "curatedanswer",
    "questioncluster",
    "unansweredquestion",
    "testset",
    "testcase",
    "testrun",
)
PARENTS = (
    "source",
    "document",
    "section",
    "chunk",
    "embeddingversion",
    "modelconfigversion",
    "retrievallog",
    "curatedanswer",
    "questioncluster",
    "testset",
)
LINKS = (
    ("document", "source_id", "source", "CASCADE"),
    ("uploadedfile", "source_id", "source", "CASCADE"),
    ("section", "document_id", "document", "CASCADE"),
    ("chunk", "source_id", "source", "CASCADE"),
    ("chunk", "document_id", "document", "CASCADE"),
    ("chunk", "section_id", "section", "CASCADE"),
    ("embedding", "chunk_id", "chunk", "CASCADE"),
    ("embedding", "embedding_version_id", "embeddingversion", "CASCADE"),
    ("retrievallog", "embedding_version_id", "embeddingversion", "SET NULL"),
    ("retrievallog", "model_config_id", "modelconfigversion", "SET NULL"),
    ("curatedanswer", "source_id", "source", "CASCADE"),
    ("questioncluster", "curated_answer_id", "curatedanswer", "SET NULL"),
    ("unansweredquestion", "cluster_id", "questioncluster", "SET NULL"),
    ("unansweredquestion", "retrieval_log_id", "retrievallog", "SET NULL"),
    ("testcase", "test_set_id", "testset", "CASCADE"),
    ("testcase", "expected_source_id", "source", "SET NULL"),
    ("testrun", "test_set_id", "testset", "CASCADE"),
    ("testrun", "model_config_id", "modelconfigversion", "SET NULL"),
)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        # Left where it is on the way back: it may be the superuser's, made when the database was.
        migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS vector", migrations.RunSQL.noop),
        migrations.RunSQL(SEARCH_VECTOR_SQL, "DROP FUNCTION knowledge_search_vector(text, text, text)"),
        migrations.CreateModel(
            name="CuratedAnswer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("question", models.CharField(max_length=500, verbose_name="question")),
                (
                    "other_wordings",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=500),
                        blank=True,
                        default=list,
                        help_text="The same question in other words, one per line.",
                        size=None,
                        verbose_name="other wordings",
                    ),
                ),
                ("answer", models.TextField(max_length=8000, verbose_name="answer")),
                ("language", models.CharField(blank=True, max_length=16, verbose_name="language")),
                (
                    "approved_by_label",
                    models.CharField(blank=True, editable=False, max_length=255, verbose_name="approved by"),
                ),
            ],
            options={
                "ordering": ["source_id", "id"],
            },
        ),
        migrations.CreateModel(
            name="Document",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                (
                    "key",
                    models.CharField(
                        editable=False, help_text="What tells it apart within its source.", max_length=2000
                    ),
                ),
                ("url", models.CharField(blank=True, max_length=2000, verbose_name="address")),
                ("title", models.CharField(blank=True, max_length=500, verbose_name="title")),
                ("language", models.CharField(blank=True, max_length=16, verbose_name="language")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("found", "Found"),
                            ("stored", "Read"),
                            ("trained", "Trained"),
                            ("skipped", "Left out"),
                            ("failed", "Failed"),
                        ],
                        default="found",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                ("error", models.CharField(blank=True, max_length=500, verbose_name="what went wrong")),
                ("depth", models.PositiveSmallIntegerField(default=0, editable=False)),
                ("content_hash", models.CharField(blank=True, max_length=64, verbose_name="fingerprint")),
                ("chunker_version", models.CharField(blank=True, editable=False, max_length=32)),
                ("etag", models.CharField(blank=True, editable=False, max_length=255)),
                ("last_modified", models.CharField(blank=True, editable=False, max_length=64)),
                ("size_bytes", models.PositiveBigIntegerField(default=0, verbose_name="size")),
                ("found_in", models.UUIDField(editable=False, null=True)),
                ("checked_in", models.UUIDField(editable=False, null=True)),
                ("fetched_at", models.DateTimeField(blank=True, null=True, verbose_name="read")),
                ("trained_at", models.DateTimeField(blank=True, null=True, verbose_name="trained")),
                (
                    "facts_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When its words were known to be true last.",
                        null=True,
                        verbose_name="facts of",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="found"),
                ),
            ],
            options={
                "ordering": ["source_id", "id"],
            },
        ),
        migrations.CreateModel(
            name="ForgottenFile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("storage_key", models.CharField(max_length=255)),
                ("forgotten_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="EmbeddingVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("provider", models.CharField(max_length=32, verbose_name="made by")),
                ("model", models.CharField(max_length=200, verbose_name="model")),
                ("version", models.CharField(blank=True, max_length=64, verbose_name="version")),
                ("dimensions", models.PositiveIntegerField(verbose_name="dimensions")),
                ("prefix", models.CharField(blank=True, max_length=64, verbose_name="prefix of passages")),
                ("query_prefix", models.CharField(blank=True, max_length=64, verbose_name="prefix of questions")),
                ("chunker_version", models.CharField(max_length=32, verbose_name="cut by")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("training", "Training"),
                            ("active", "Active"),
                            ("failed", "Failed"),
                            ("deprecated", "Replaced"),
                        ],
                        default="draft",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                ("threshold", models.FloatField(blank=True, null=True, verbose_name="evidence needed")),
                ("calibrated_at", models.DateTimeField(blank=True, null=True, verbose_name="calibrated")),
                (
                    "has_index",
                    models.BooleanField(default=False, editable=False, verbose_name="has an index of its own"),
                ),
                ("error", models.CharField(blank=True, max_length=500, verbose_name="what went wrong")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                ("activated_at", models.DateTimeField(blank=True, null=True, verbose_name="in use since")),
            ],
            options={
                "ordering": ["-created_at", "-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "business_id",
                            "provider",
                            "model",
                            "version",
                            "dimensions",
                            "prefix",
                            "chunker_version",
                        ),
                        name="embedding_version_is_made_once",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "active")),
                        fields=("business_id",),
                        name="embedding_version_in_use_is_one_per_business",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["draft", "training", "active", "failed", "deprecated"])),
                        name="embedding_version_state_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("dimensions__gte", 1), ("dimensions__lte", 4096)),
                        name="embedding_version_has_a_size",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ModelConfigVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("bot_id", models.BigIntegerField(verbose_name="bot")),
                ("number", models.PositiveIntegerField(verbose_name="version")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("training", "Training"),
                            ("active", "Active"),
                            ("failed", "Failed"),
                            ("deprecated", "Replaced"),
                        ],
                        default="draft",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                ("provider", models.CharField(default="network", max_length=32, verbose_name="answered by")),
                ("model", models.CharField(blank=True, max_length=200, verbose_name="model")),
                ("settings", models.JSONField(blank=True, default=dict, verbose_name="settings")),
                (
                    "retrieval_k",
                    models.PositiveIntegerField(
                        default=6,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(20),
                        ],
                        verbose_name="passages",
                    ),
                ),
                (
                    "threshold",
                    models.FloatField(
                        blank=True,
                        help_text="Empty: as calibrated.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                        verbose_name="evidence needed",
                    ),
                ),
                (
                    "fusion",
                    models.CharField(
                        choices=[("rrf", "Reciprocal ranks"), ("min_max", "Scores between their extremes")],
                        default="rrf",
                        max_length=7,
                        verbose_name="fusion",
                    ),
                ),
                ("rerank", models.BooleanField(default=False, verbose_name="rerank on the network")),
                ("refusal_text", models.CharField(blank=True, max_length=1000, verbose_name="when it does not know")),
                ("note", models.CharField(blank=True, max_length=500, verbose_name="what changed")),
                ("created_by_id", models.BigIntegerField(blank=True, editable=False, null=True)),
                (
                    "created_by_label",
                    models.CharField(blank=True, editable=False, max_length=255, verbose_name="made by"),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                (
                    "activated_at",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="in use since"),
                ),
            ],
            options={
                "verbose_name": "answer settings",
                "verbose_name_plural": "answer settings",
                "ordering": ["bot_id", "-number"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("business_id", "bot_id", "number"), name="model_config_is_numbered_per_bot"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "active")),
                        fields=("business_id", "bot_id"),
                        name="model_config_in_use_is_one_per_bot",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["draft", "training", "active", "failed", "deprecated"])),
                        name="model_config_state_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("fusion__in", ["rrf", "min_max"])), name="model_config_fusion_is_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("retrieval_k__gte", 1), ("retrieval_k__lte", 20)),
                        name="model_config_takes_some_passages",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("threshold__isnull", True),
                            models.Q(("threshold__gte", 0), ("threshold__lte", 1)),
                            _connector="OR",
                        ),
                        name="model_config_threshold_is_a_share",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="QuestionCluster",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("bot_id", models.BigIntegerField(blank=True, null=True, verbose_name="bot")),
                ("question", models.CharField(max_length=500, verbose_name="question")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("open", "Unanswered"),
                            ("drafted", "Draft to approve"),
                            ("approved", "Answered"),
                            ("dismissed", "Dismissed"),
                        ],
                        default="open",
                        max_length=9,
                        verbose_name="status",
                    ),
                ),
                ("size", models.PositiveIntegerField(default=0, verbose_name="asked")),
                ("draft", models.TextField(blank=True, max_length=8000, verbose_name="draft of an answer")),
                ("centre", models.JSONField(blank=True, default=list, editable=False)),
                ("last_asked_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="last asked")),
                (
                    "curated_answer",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="knowledge.curatedanswer",
                        verbose_name="answer",
                    ),
                ),
            ],
            options={
                "verbose_name": "missing answer",
                "ordering": ["-size", "-last_asked_at"],
            },
        ),
        migrations.CreateModel(
            name="RetrievalLog",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("bot_id", models.BigIntegerField(blank=True, null=True, verbose_name="bot")),
                ("conversation_id", models.UUIDField(blank=True, null=True, verbose_name="conversation")),
                ("message_id", models.BigIntegerField(blank=True, null=True, verbose_name="message")),
                ("job_id", models.UUIDField(blank=True, null=True, verbose_name="job")),
                ("query", models.TextField(verbose_name="question")),
                ("rewritten_query", models.TextField(blank=True, verbose_name="searched for")),
                ("language", models.CharField(blank=True, max_length=16, verbose_name="language")),
                (
                    "chunk_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), blank=True, default=list, size=None, verbose_name="chunks"
                    ),
                ),
                (
                    "scores",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.FloatField(), blank=True, default=list, size=None, verbose_name="scores"
                    ),
                ),
                ("passages", models.JSONField(blank=True, default=list, verbose_name="passages")),
                (
                    "fusion",
                    models.CharField(
                        choices=[("rrf", "Reciprocal ranks"), ("min_max", "Scores between their extremes")],
                        default="rrf",
                        max_length=7,
                        verbose_name="fusion",
                    ),
                ),
                ("threshold", models.FloatField(blank=True, null=True, verbose_name="evidence needed")),
                ("evidence", models.FloatField(blank=True, null=True, verbose_name="evidence found")),
                ("retrieval_k", models.PositiveIntegerField(default=0, verbose_name="passages wanted")),
                ("reranked", models.BooleanField(default=False, verbose_name="reranked")),
                ("model", models.CharField(blank=True, max_length=200, verbose_name="model")),
                ("miner_id", models.BigIntegerField(blank=True, null=True)),
                ("miner_name", models.CharField(blank=True, max_length=200, verbose_name="miner")),
                ("prompt_hash", models.CharField(blank=True, max_length=64, verbose_name="fingerprint of the prompt")),
                ("citations", models.JSONField(blank=True, default=list, verbose_name="citations")),
                ("timings", models.JSONField(blank=True, default=dict, verbose_name="timings")),
                ("answered", models.BooleanField(default=True, verbose_name="answered")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="asked"),
                ),
                (
                    "embedding_version",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="knowledge.embeddingversion",
                        verbose_name="embedded by",
                    ),
                ),
                (
                    "model_config",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="knowledge.modelconfigversion",
                        verbose_name="settings",
                    ),
                ),
            ],
            options={
                "verbose_name": "answer receipt",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Section",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("position", models.PositiveIntegerField(verbose_name="position")),
                ("heading", models.CharField(blank=True, max_length=1000, verbose_name="heading")),
                (
                    "anchor",
                    models.CharField(
                        blank=True,
                        help_text="Such as #prices, or page=3 of a PDF.",
                        max_length=200,
                        verbose_name="place",
                    ),
                ),
                ("text", models.TextField(verbose_name="text")),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sections",
                        to="knowledge.document",
                        verbose_name="document",
                    ),
                ),
            ],
            options={
                "ordering": ["document_id", "position"],
            },
        ),
        migrations.CreateModel(
            name="Source",
            fields=[
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "bot_id",
                    models.BigIntegerField(
                        blank=True, help_text="Empty: every bot of the business.", null=True, verbose_name="bot"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("url", "Page"),
                            ("sitemap", "Website"),
                            ("file", "File"),
                            ("text", "Text"),
                            ("qa", "Questions and answers"),
                        ],
                        max_length=8,
                        verbose_name="kind",
                    ),
                ),
                ("title", models.CharField(max_length=200, verbose_name="title")),
                (
                    "location",
                    models.CharField(
                        blank=True,
                        help_text="Of the page, the sitemap or the start page.",
                        max_length=2000,
                        verbose_name="address",
                    ),
                ),
                ("text", models.TextField(blank=True, max_length=1000000, verbose_name="text")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Waiting for the upload"),
                            ("created", "Not trained yet"),
                            ("upload_failed", "Upload failed"),
                            ("queued_for_training", "Waiting for training"),
                            ("training", "Training"),
                            ("trained", "Trained"),
                            ("training_failed", "Training failed"),
                        ],
                        default="created",
                        max_length=20,
                        verbose_name="status",
                    ),
                ),
                ("error", models.CharField(blank=True, max_length=500, verbose_name="what went wrong")),
                ("progress_done", models.PositiveIntegerField(default=0, editable=False, verbose_name="done")),
                ("progress_total", models.PositiveIntegerField(default=0, editable=False, verbose_name="of")),
                (
                    "content_hash",
                    models.CharField(blank=True, editable=False, max_length=64, verbose_name="fingerprint"),
                ),
                (
                    "page_limit",
                    models.PositiveIntegerField(
                        default=200,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(5000),
                        ],
                        verbose_name="pages at most",
                    ),
                ),
                (
                    "depth_limit",
                    models.PositiveSmallIntegerField(
                        default=5,
                        help_text="How many links away from the start page; a sitemap needs none.",
                        validators=[django.core.validators.MaxValueValidator(20)],
                        verbose_name="links deep",
                    ),
                ),
                (
                    "refresh_hours",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="Hours; 0: only when you ask for it.",
                        validators=[django.core.validators.MaxValueValidator(8760)],
                        verbose_name="look again every",
                    ),
                ),
                (
                    "next_refresh_at",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="next look"),
                ),
                ("checked_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last look")),
                ("trained_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="trained")),
            ],
            options={
                "ordering": ["-created_at", "id"],
                "indexes": [
                    models.Index(fields=["business_id", "bot_id", "status"], name="source_of_a_bot_by_status"),
                    models.Index(
                        condition=models.Q(("next_refresh_at__isnull", False)),
                        fields=["next_refresh_at"],
                        name="source_by_next_refresh",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["url", "sitemap", "file", "text", "qa"])),
                        name="source_kind_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "status__in",
                                [
                                    "pending",
                                    "created",
                                    "upload_failed",
                                    "queued_for_training",
                                    "training",
                                    "trained",
                                    "training_failed",
                                ],
                            )
                        ),
                        name="source_status_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind__in", ["url", "sitemap"]), _negated=True),
                            models.Q(("location", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="source_that_is_fetched_has_an_address",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("content_hash", ""), _negated=True),
                        fields=("business_id", "bot_id", "kind", "content_hash"),
                        name="source_is_taught_once_per_bot",
                        nulls_distinct=False,
                    ),
                ],
            },
        ),
        migrations.AddField(
            model_name="document",
            name="source",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="documents",
                to="knowledge.source",
                verbose_name="source",
            ),
        ),
        migrations.AddField(
            model_name="curatedanswer",
            name="source",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="answers",
                to="knowledge.source",
                verbose_name="source",
            ),
        ),
        migrations.CreateModel(
            name="Chunk",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("bot_id", models.BigIntegerField(blank=True, null=True, verbose_name="bot")),
                ("position", models.PositiveIntegerField(verbose_name="position")),
                ("heading", models.CharField(blank=True, max_length=1600, verbose_name="headings")),
                ("words", models.TextField(verbose_name="words")),
                ("tokens", models.PositiveIntegerField(default=0, verbose_name="tokens")),
                ("language", models.CharField(blank=True, max_length=16, verbose_name="language")),
                (
                    "configuration",
                    models.CharField(
                        default="simple", help_text="PostgreSQL's text search configuration.", max_length=16
                    ),
                ),
                ("curated", models.BooleanField(default=False, verbose_name="written for the bot")),
                ("content_hash", models.CharField(max_length=64)),
                (
                    "search_vector",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Func(
                            models.F("configuration"),
                            models.F("heading"),
                            models.F("words"),
                            function="knowledge_search_vector",
                        ),
                        output_field=django.contrib.postgres.search.SearchVectorField(),
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="chunks",
                        to="knowledge.document",
                        verbose_name="document",
                    ),
                ),
                (
                    "section",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="chunks",
                        to="knowledge.section",
                        verbose_name="section",
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="chunks",
                        to="knowledge.source",
                        verbose_name="source",
                    ),
                ),
            ],
            options={
                "ordering": ["document_id", "position"],
            },
        ),
        migrations.CreateModel(
            name="TestSet",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("bot_id", models.BigIntegerField(verbose_name="bot")),
                ("name", models.CharField(max_length=100, verbose_name="name")),
            ],
            options={
                "verbose_name": "test set",
                "ordering": ["name", "id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("business_id", "bot_id", "name"), name="test_set_is_named_once_per_bot"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TestRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting"),
                            ("running", "Running"),
                            ("passed", "Passed"),
                            ("failed", "Failed"),
                            ("error", "Could not be run"),
                        ],
                        default="queued",
                        max_length=7,
                        verbose_name="status",
                    ),
                ),
                ("passed", models.PositiveIntegerField(default=0, verbose_name="passed")),
                ("failed", models.PositiveIntegerField(default=0, verbose_name="failed")),
                ("results", models.JSONField(blank=True, default=list, verbose_name="results")),
                ("error", models.CharField(blank=True, max_length=500, verbose_name="what went wrong")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="started"),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="ended")),
                (
                    "model_config",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="knowledge.modelconfigversion",
                        verbose_name="settings",
                    ),
                ),
                (
                    "test_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="runs",
                        to="knowledge.testset",
                        verbose_name="test set",
                    ),
                ),
            ],
            options={
                "verbose_name": "test run",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="TestCase",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("question", models.CharField(max_length=500, verbose_name="question")),
                ("expected_url", models.CharField(blank=True, max_length=500, verbose_name="from address")),
                ("expected_phrase", models.CharField(blank=True, max_length=500, verbose_name="says")),
                ("expects_refusal", models.BooleanField(default=False, verbose_name="must not know")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                (
                    "expected_source",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="knowledge.source",
                        verbose_name="from source",
                    ),
                ),
                (
                    "test_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="cases",
                        to="knowledge.testset",
                        verbose_name="test set",
                    ),
                ),
            ],
            options={
                "verbose_name": "test question",
                "ordering": ["test_set_id", "id"],
            },
        ),
        migrations.CreateModel(
            name="TrainingJob",
            fields=[
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("bot_id", models.BigIntegerField(blank=True, null=True, verbose_name="bot")),
                (
                    "kind",
                    models.CharField(
                        choices=[("train", "Training"), ("refresh", "Refresh"), ("cleanup", "Removal")],
                        default="train",
                        max_length=7,
                        verbose_name="kind",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting"),
                            ("processing", "Running"),
                            ("completed", "Completed"),
                            ("partially_completed", "Partly completed"),
                            ("failed", "Failed"),
                            ("cleanup_completed", "Removed"),
                        ],
                        default="queued",
                        max_length=19,
                        verbose_name="status",
                    ),
                ),
                (
                    "stage",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("finding", "Finding pages"),
                            ("reading", "Reading"),
                            ("embedding", "Embedding"),
                            ("tidying", "Removing what is gone"),
                            ("done", "Done"),
                        ],
                        default="waiting",
                        max_length=9,
                        verbose_name="stage",
                    ),
                ),
                (
                    "source_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), default=list, editable=False, size=None, verbose_name="sources"
                    ),
                ),
                (
                    "finished_source_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), default=list, editable=False, size=None
                    ),
                ),
                ("failed_sources", models.PositiveIntegerField(default=0, editable=False, verbose_name="failed")),
                ("attempts", models.PositiveIntegerField(default=0, editable=False, verbose_name="attempts")),
                ("fence", models.PositiveBigIntegerField(default=0, editable=False)),
                ("error", models.CharField(blank=True, max_length=500, verbose_name="what went wrong")),
                (
                    "chunks_embedded",
                    models.PositiveIntegerField(default=0, editable=False, verbose_name="chunks embedded"),
                ),
                (
                    "requested_by",
                    models.CharField(blank=True, editable=False, max_length=255, verbose_name="asked for by"),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="queued"),
                ),
                (
                    "due_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now,
                        editable=False,
                        help_text="When it is handed to a worker again if none has taken it.",
                    ),
                ),
                (
                    "seen_at",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last sign of life"),
                ),
                ("started_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="started")),
                ("finished_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="ended")),
            ],
            options={
                "verbose_name": "training job",
                "ordering": ["-created_at", "id"],
                "indexes": [
                    models.Index(fields=["business_id", "-created_at"], name="training_of_a_business_by_time"),
                    models.Index(
                        condition=models.Q(("status__in", ("queued", "processing"))),
                        fields=["status", "seen_at"],
                        name="training_alive",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("status__in", ("queued", "processing")), models.Q(("kind", "cleanup"), _negated=True)
                        ),
                        fields=("business_id", "bot_id"),
                        name="training_runs_once_at_a_time_per_bot",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["train", "refresh", "cleanup"])), name="training_kind_is_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "status__in",
                                [
                                    "queued",
                                    "processing",
                                    "completed",
                                    "partially_completed",
                                    "failed",
                                    "cleanup_completed",
                                ],
                            )
                        ),
                        name="training_status_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("stage__in", ["waiting", "finding", "reading", "embedding", "tidying", "done"])
                        ),
                        name="training_stage_is_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="UnansweredQuestion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("bot_id", models.BigIntegerField(blank=True, null=True, verbose_name="bot")),
                ("conversation_id", models.UUIDField(blank=True, null=True, verbose_name="conversation")),
                ("message_id", models.BigIntegerField(blank=True, null=True, verbose_name="message")),
                ("question", models.TextField(verbose_name="question")),
                ("language", models.CharField(blank=True, max_length=16, verbose_name="language")),
                (
                    "reason",
                    models.CharField(
                        choices=[("no_evidence", "Nothing was found"), ("bad_rating", "The answer was rated badly")],
                        default="no_evidence",
                        max_length=11,
                        verbose_name="why",
                    ),
                ),
                (
                    "retest",
                    models.CharField(
                        blank=True,
                        choices=[("", "Not asked again"), ("answered", "Answered"), ("unanswered", "Still unanswered")],
                        max_length=10,
                        verbose_name="asked again",
                    ),
                ),
                ("retested_at", models.DateTimeField(blank=True, null=True, verbose_name="asked again at")),
                ("asked_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="asked")),
                (
                    "cluster",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="questions",
                        to="knowledge.questioncluster",
                        verbose_name="missing answer",
                    ),
                ),
                (
                    "retrieval_log",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="knowledge.retrievallog",
                        verbose_name="receipt",
                    ),
                ),
            ],
            options={
                "ordering": ["-asked_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="UploadedFile",
            fields=[
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=255, verbose_name="name")),
                ("storage_key", models.CharField(editable=False, max_length=255)),
                ("size_bytes", models.PositiveBigIntegerField(default=0, verbose_name="size")),
                ("sha256", models.CharField(blank=True, max_length=64, verbose_name="fingerprint")),
                ("content_type", models.CharField(blank=True, max_length=100, verbose_name="type")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Waiting for the upload"),
                            ("uploaded", "Uploaded"),
                            ("upload_failed", "Upload failed"),
                            ("processing", "Being read"),
                            ("processed", "Read"),
                            ("processing_failed", "Could not be read"),
                        ],
                        default="pending",
                        max_length=17,
                        verbose_name="status",
                    ),
                ),
                ("error", models.CharField(blank=True, max_length=500, verbose_name="what went wrong")),
                ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="upload until")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="announced"),
                ),
                (
                    "source",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="file",
                        to="knowledge.source",
                        verbose_name="source",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at", "id"],
            },
        ),
        migrations.CreateModel(
            name="Embedding",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("dimensions", models.PositiveIntegerField(verbose_name="dimensions")),
                ("vector", pgvector.django.halfvec.HalfVectorField(verbose_name="vector")),
                ("miner_id", models.BigIntegerField(blank=True, null=True, verbose_name="miner")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                (
                    "chunk",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="embeddings",
                        to="knowledge.chunk",
                        verbose_name="chunk",
                    ),
                ),
                (
                    "embedding_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="embeddings",
                        to="knowledge.embeddingversion",
                        verbose_name="version",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("business_id", "embedding_version", "chunk"),
                        name="embedding_is_one_per_chunk_and_version",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "dimensions",
                                models.Func(
                                    models.F("vector"), function="vector_dims", output_field=models.IntegerField()
                                ),
                            )
                        ),
                        name="embedding_has_the_size_it_says",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="questioncluster",
            index=models.Index(fields=["business_id", "status", "-size"], name="question_cluster_by_size"),
        ),
        migrations.AddConstraint(
            model_name="questioncluster",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["open", "drafted", "approved", "dismissed"])),
                name="question_cluster_status_is_known",
            ),
        ),
        migrations.AddIndex(
            model_name="retrievallog",
            index=models.Index(fields=["business_id", "-created_at"], name="receipt_of_a_business_by_time"),
        ),
        migrations.AddIndex(
            model_name="retrievallog",
            index=models.Index(fields=["business_id", "conversation_id"], name="receipt_of_a_conversation"),
        ),
        migrations.AddIndex(
            model_name="retrievallog",
            index=models.Index(fields=["business_id", "job_id"], name="receipt_of_a_job"),
        ),
        migrations.AddConstraint(
            model_name="section",
            constraint=models.UniqueConstraint(
                fields=("business_id", "document", "position"),
                deferrable=models.Deferrable["DEFERRED"],
                name="section_has_a_place_of_its_own",
            ),
        ),
        migrations.AddIndex(
            model_name="document",
            index=models.Index(fields=["business_id", "facts_at"], name="document_by_oldest_fact"),
        ),
        migrations.AddConstraint(
            model_name="document",
            constraint=models.UniqueConstraint(
                fields=("business_id", "source", "key"), name="document_is_once_in_its_source"
            ),
        ),
        migrations.AddConstraint(
            model_name="document",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["found", "stored", "trained", "skipped", "failed"])),
                name="document_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="curatedanswer",
            constraint=models.UniqueConstraint(
                fields=("business_id", "source", "question"), name="curated_answer_is_one_per_question"
            ),
        ),
        migrations.AddIndex(
            model_name="chunk",
            index=models.Index(fields=["business_id", "bot_id", "curated"], name="chunk_of_a_bot"),
        ),
        migrations.AddConstraint(
            model_name="chunk",
            constraint=models.UniqueConstraint(
                fields=("business_id", "document", "position"),
                deferrable=models.Deferrable["DEFERRED"],
                name="chunk_has_a_place_of_its_own",
            ),
        ),
        migrations.AddConstraint(
            model_name="chunk",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "configuration__in",
                        [
                            "simple",
                            "arabic",
                            "armenian",
                            "basque",
                            "catalan",
                            "danish",
                            "dutch",
                            "english",
                            "estonian",
                            "finnish",
                            "french",
                            "german",
                            "greek",
                            "hindi",
                            "hungarian",
                            "indonesian",
                            "irish",
                            "italian",
                            "lithuanian",
                            "nepali",
                            "norwegian",
                            "portuguese",
                            "romanian",
                            "russian",
                            "serbian",
                            "spanish",
                            "swedish",
                            "tamil",
                            "turkish",
                            "yiddish",
                        ],
                    )
                ),
                name="chunk_configuration_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="testrun",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["queued", "running", "passed", "failed", "error"])),
                name="test_run_status_is_known",
            ),
        ),
        migrations.AddIndex(
            model_name="unansweredquestion",
            index=models.Index(fields=["business_id", "-asked_at"], name="unanswered_by_time"),
        ),
        migrations.AddIndex(
            model_name="unansweredquestion",
            index=models.Index(fields=["business_id", "conversation_id"], name="unanswered_in_a_conversation"),
        ),
        migrations.AddConstraint(
            model_name="unansweredquestion",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason__in", ["no_evidence", "bad_rating"])), name="unanswered_reason_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="unansweredquestion",
            constraint=models.CheckConstraint(
                condition=models.Q(("retest__in", ["", "answered", "unanswered"])), name="unanswered_retest_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="uploadedfile",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["pending", "uploaded", "upload_failed", "processing", "processed", "processing_failed"],
                    )
                ),
                name="file_status_is_known",
            ),
        ),
        *[ForceRowSecurity(f"knowledge_{table}") for table in TABLES],
        *[UniquePair(f"knowledge_{table}") for table in PARENTS],
        *[
            TenantForeignKey(f"knowledge_{table}", column, f"knowledge_{parent}", on_delete=on_delete)
            for table, column, parent, on_delete in LINKS
        ],
        migrations.RunSQL(VECTOR_SIZE_SQL, NO_VECTOR_SIZE_SQL),
    ]
