from django.db import migrations, models

POSTGRES = """
CREATE OR REPLACE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$;
CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE ON audit_log
FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only();
"""
SQLITE = [
    "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log "
    "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
    "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log "
    "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
]


def refuse_changes(apps, schema_editor):
    """Make the database itself refuse to edit or delete audit rows."""
    statements = [POSTGRES] if schema_editor.connection.vendor == "postgresql" else SQLITE
    for statement in statements:
        schema_editor.execute(statement)


def allow_changes(apps, schema_editor):
    """Undo it."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP TRIGGER audit_log_no_change ON audit_log")
        schema_editor.execute("DROP FUNCTION audit_log_is_append_only")
    else:
        schema_editor.execute("DROP TRIGGER audit_log_no_update")
        schema_editor.execute("DROP TRIGGER audit_log_no_delete")


class Migration(migrations.Migration):
    dependencies = [("orgs", "0003_chain_existing_rows")]

    operations = [
        migrations.AddConstraint(
            "auditentry",
            models.UniqueConstraint(fields=["organization_id", "sequence"], name="audit_one_place"),
        ),
        migrations.RunPython(refuse_changes, allow_changes),
    ]
