"""Roll-ups get their summaries, those that are there too; samples and alerts an index by time alone."""

from typing import Any, Final

from django.db import migrations, models

FILL: Final = {
    "postgresql": "SELECT jsonb_object_agg(key, value - 4) FROM jsonb_each(columns)",
    "sqlite": "SELECT json_group_object(key, json_remove(value, '$[4]')) FROM json_each(columns)",
}


def fill(apps: Any, schema_editor: Any) -> None:
    """Copy the columns of each roll-up without their histograms."""
    summaries = FILL[schema_editor.connection.vendor]
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"UPDATE metric_rollups SET summaries = coalesce(({summaries}), '{{}}')")  # noqa: S608


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0006_channels")]

    operations = [
        migrations.AddField("metricrollup", "summaries", models.JSONField(default=dict)),
        migrations.RunPython(fill, migrations.RunPython.noop, hints={"model_name": "metricrollup"}),
        migrations.AddIndex("alert", models.Index(fields=["-started_at", "-id"], name="alerts_by_time")),
        migrations.AddIndex("systemmetric", models.Index(fields=["-timestamp", "-id"], name="metrics_by_time")),
    ]
