"""Postings for full-text search under row security; what an answer came to, and who let a change through."""

import django.db.models.expressions
from django.db import migrations, models

from mia.lib.migrations import ForceRowSecurity


class Migration(migrations.Migration):
    dependencies = [
        ("knowledge", "0001_sources_chunks_and_answers"),
    ]

    operations = [
        migrations.CreateModel(
            name="Posting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("business_id", models.BigIntegerField(editable=False, verbose_name="business")),
                ("segment", models.BigIntegerField(help_text="The lowest chunk in it.")),
                ("term", models.CharField(max_length=255)),
                ("size", models.PositiveIntegerField()),
                ("chunk_ids", models.BinaryField(help_text="Big-endian 64-bit integers, ascending.")),
                (
                    "impacts",
                    models.BinaryField(
                        help_text="Big-endian 16-bit integers: ten-thousandths of the BM25 weight before IDF."
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AddField(
            model_name="embedding",
            name="bot_id",
            field=models.BigIntegerField(blank=True, help_text="As its chunk has it.", null=True, verbose_name="bot"),
        ),
        migrations.AddField(
            model_name="modelconfigversion",
            name="only_with_evidence",
            field=models.BooleanField(
                default=True,
                help_text="Ask no model where nothing was found that supports an answer.",
                verbose_name="no evidence, no answer",
            ),
        ),
        migrations.AddField(
            model_name="modelconfigversion",
            name="refusal_texts",
            field=models.JSONField(blank=True, default=dict, verbose_name="in other languages"),
        ),
        migrations.AddField(
            model_name="questioncluster",
            name="draft_job_id",
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="retrievallog",
            name="kind",
            field=models.CharField(
                choices=[("chat", "Visitor"), ("playground", "Playground"), ("test", "Test set")],
                default="chat",
                max_length=10,
                verbose_name="asked by",
            ),
        ),
        migrations.AddField(
            model_name="retrievallog",
            name="outcome",
            field=models.CharField(
                choices=[
                    ("answered", "Answered"),
                    ("curated", "Answered in the business's words"),
                    ("refused", "Not known"),
                ],
                default="answered",
                max_length=10,
                verbose_name="outcome",
            ),
        ),
        migrations.AddField(
            model_name="testrun",
            name="overridden_by_label",
            field=models.CharField(
                blank=True, editable=False, max_length=255, verbose_name="published in spite of it by"
            ),
        ),
        migrations.AddField(
            model_name="testrun",
            name="override_reason",
            field=models.CharField(blank=True, editable=False, max_length=500, verbose_name="because"),
        ),
        migrations.AlterField(
            model_name="modelconfigversion",
            name="refusal_text",
            field=models.CharField(
                blank=True,
                help_text="Said in place of an answer, with the offer of a person. Empty: our words, in the visitor's language.",
                max_length=1000,
                verbose_name="when it does not know",
            ),
        ),
        migrations.AddConstraint(
            model_name="retrievallog",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["chat", "playground", "test"])), name="receipt_kind_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="retrievallog",
            constraint=models.CheckConstraint(
                condition=models.Q(("outcome__in", ["answered", "curated", "refused"])), name="receipt_outcome_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="posting",
            constraint=models.UniqueConstraint(
                fields=("business_id", "term", "segment"), name="posting_is_one_per_term_and_segment"
            ),
        ),
        migrations.AddConstraint(
            model_name="posting",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "size",
                        django.db.models.expressions.CombinedExpression(
                            models.Func(
                                models.F("chunk_ids"), function="octet_length", output_field=models.IntegerField()
                            ),
                            "/",
                            models.Value(8),
                        ),
                    )
                ),
                name="posting_lists_as_many_chunks_as_it_says",
            ),
        ),
        ForceRowSecurity("knowledge_posting"),
        # Compressed they are hardly smaller, and every search would have to expand them.
        migrations.RunSQL(
            "ALTER TABLE knowledge_posting ALTER COLUMN chunk_ids SET STORAGE EXTERNAL, "
            "ALTER COLUMN impacts SET STORAGE EXTERNAL",
            migrations.RunSQL.noop,
        ),
    ]
