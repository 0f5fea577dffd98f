"""Jobs that ask for vectors."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("miners", "0004_attempts_carry_digests_and_remarks"),
    ]

    operations = [
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(
                choices=[("chat", "Chat"), ("api", "Api"), ("idle", "Idle"), ("canary", "Canary"), ("embed", "Embed")],
                max_length=10,
            ),
        ),
    ]
