"""Sources that were changed while they were trained are trained once more."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("knowledge", "0002_postings_and_outcomes")]

    operations = [
        migrations.AddField(
            model_name="source",
            name="changed_in_training",
            field=models.BooleanField(
                default=False,
                editable=False,
                help_text="It was changed while it was trained, and has to be trained once more.",
            ),
        ),
    ]
