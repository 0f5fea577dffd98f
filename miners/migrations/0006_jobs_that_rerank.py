"""Jobs that ask how well passages answer a question."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("miners", "0005_jobs_that_embed"),
    ]

    operations = [
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(
                choices=[
                    ("chat", "Chat"),
                    ("api", "Api"),
                    ("idle", "Idle"),
                    ("canary", "Canary"),
                    ("embed", "Embed"),
                    ("rerank", "Rerank"),
                ],
                max_length=10,
            ),
        ),
    ]
