from django.db import migrations


def seal_rows(apps, schema_editor):
    """Encrypt what the previous release kept in plain text; what is sealed already is left alone."""
    from orgs import sealed, vault

    instances = apps.get_model("orchestrators", "Instance")
    for row in instances.objects.order_by("pk").iterator(chunk_size=500):
        changed = []
        for name, column in sealed.columns(instances).items():
            value = getattr(row, name)
            values = value.values() if isinstance(value, dict) else [value] if value else []
            if values and not all(map(vault.is_sealed, values)):
                setattr(row, name, column.to_sealed(row, value))
                changed.append(name)
        if changed:
            row.save(update_fields=changed)


class Migration(migrations.Migration):
    dependencies = [("orchestrators", "0003_sealed_columns")]

    operations = [migrations.RunPython(seal_rows, migrations.RunPython.noop)]
