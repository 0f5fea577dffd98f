"""Staff can pause a miner, and its owner can say which kinds of jobs it takes."""

import django.contrib.postgres.fields
from django.db import migrations, models

import miners.models


class Migration(migrations.Migration):
    dependencies = [
        ("miners", "0002_first_canaries"),
    ]

    operations = [
        migrations.AddField(
            model_name="miner",
            name="lanes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.SmallIntegerField(choices=[(0, "chat"), (1, "api"), (2, "idle")]),
                db_default=[0, 1, 2],
                default=miners.models.all_lanes,
                help_text="The kinds of jobs that its owner lets it take.",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="miner",
            name="pause_requested",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Finish customers' answers, hand idle jobs back, take nothing until told to go on.",
            ),
        ),
    ]
