from django.db import migrations, models

import orchestrators.labels

INDEX = "CREATE INDEX instances_labels ON orchestrator_instances USING gin (labels jsonb_path_ops)"


def add_index(apps, schema_editor):
    """Index containment where the database can; SQLite looks at every row, a millisecond per thousand."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(INDEX)


def drop_index(apps, schema_editor):
    """Undo `add_index`."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX instances_labels")


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrators", "0004_seal_existing_rows"),
    ]

    operations = [
        migrations.AddField(
            model_name="instance",
            name="labels",
            field=models.JSONField(blank=True, default=dict, validators=[orchestrators.labels.validate]),
        ),
        migrations.RunPython(add_index, drop_index),
    ]
