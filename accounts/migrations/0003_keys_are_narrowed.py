"""Secret keys may be narrowed to a part of the API."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_audit_entries_are_append_only"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=16),
                blank=True,
                default=list,
                help_text="What a secret key may be used for. None chosen: everything.",
                size=None,
                verbose_name="may",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind", "secret"), ("scopes", []), _connector="OR"),
                name="api_key_with_scopes_is_secret",
            ),
        ),
    ]
