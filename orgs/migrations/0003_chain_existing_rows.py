from django.db import migrations


def chain_rows(apps, schema_editor):
    """Give the rows of the previous release their place and hash, in the order they were written."""
    from orgs.chain import GENESIS, digest

    entries, heads = apps.get_model("orgs", "AuditEntry"), apps.get_model("orgs", "AuditHead")
    newest = {}
    for entry in entries.objects.order_by("id").iterator():
        sequence, previous = newest.get(entry.organization_id, (0, GENESIS))
        entry.sequence, entry.previous_hash = sequence + 1, previous
        entry.hash = digest(entry)
        entry.save(update_fields=["sequence", "previous_hash", "hash"])
        newest[entry.organization_id] = (entry.sequence, entry.hash)
    for organization_id, (sequence, entry_hash) in newest.items():
        heads.objects.create(organization_id=organization_id, sequence=sequence, hash=entry_hash)


class Migration(migrations.Migration):
    dependencies = [("orgs", "0002_audit_chain")]

    operations = [migrations.RunPython(chain_rows, migrations.RunPython.noop)]
