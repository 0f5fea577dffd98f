"""An attempt says which model wrote its answer and what the platform did not believe; idle jobs can give way."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("miners", "0003_miners_pause_and_choose_lanes"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="model_digest",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of the model that wrote the accepted answer.",
                max_length=200,
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="remark",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="What the platform did not believe, and why.",
                max_length=300,
            ),
        ),
        migrations.AlterField(
            model_name="attempt",
            name="outcome",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "live"),
                    ("accepted", "Accepted"),
                    ("offer_expired", "offer expired"),
                    ("lease_expired", "lease expired"),
                    ("stalled", "Stalled"),
                    ("error", "engine error"),
                    ("refused", "Refused"),
                    ("gave_way", "gave way"),
                    ("cancelled", "Cancelled"),
                    ("deadline", "deadline passed"),
                ],
                default="",
                max_length=20,
            ),
        ),
    ]
