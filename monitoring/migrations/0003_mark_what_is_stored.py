"""Samples that were stored before there were roll-ups are marked, so that the next run computes them."""

from collections import defaultdict
from typing import Any

from django.db import migrations
from django.db.models.functions import Now, TruncHour


def mark(apps: Any, schema_editor: Any) -> None:
    """Write one mark for each hour that has samples."""
    alias = schema_editor.connection.alias
    samples = apps.get_model("monitoring", "SystemMetric").objects.using(alias)
    hours = samples.annotate(hour=TruncHour("timestamp")).order_by()
    touched = defaultdict(list)
    for start, *source in hours.values_list("hour", "organization_id", "orchestrator_id").distinct():
        touched[start].append(source)
    marks = apps.get_model("monitoring", "MetricMark")
    marks.objects.using(alias).bulk_create(
        marks(resolution="hourly", start_at=start, due_at=Now(), sources=sources) for start, sources in touched.items()
    )


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0002_rollups_and_collections")]

    operations = [migrations.RunPython(mark, migrations.RunPython.noop, hints={"model_name": "metricmark"})]
