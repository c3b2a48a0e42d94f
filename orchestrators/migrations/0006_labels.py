from django.db import migrations, models

import orchestrators.labels


class Migration(migrations.Migration):
    """No index on the labels: every flush of heartbeats would have to write it anew (measured; see docs/bulk.md)."""

    dependencies = [
        ("orchestrators", "0005_config_versions_of_today"),
    ]

    operations = [
        migrations.AddField(
            model_name="instance",
            name="labels",
            field=models.JSONField(blank=True, default=dict, validators=[orchestrators.labels.validate]),
        ),
    ]
