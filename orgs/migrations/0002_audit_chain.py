from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgs", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                ("organization_id", models.CharField(max_length=50, primary_key=True, serialize=False)),
                ("sequence", models.PositiveBigIntegerField(default=0)),
                ("hash", models.CharField(max_length=64)),
            ],
            options={"db_table": "audit_heads"},
        ),
        migrations.AddField(
            "auditentry",
            "sequence",
            models.PositiveBigIntegerField(default=0, help_text="Place in the organization's chain, from 1."),
            preserve_default=False,
        ),
        migrations.AddField(
            "auditentry", "previous_hash", models.CharField(default="", max_length=64), preserve_default=False
        ),
        migrations.AddField("auditentry", "hash", models.CharField(default="", max_length=64), preserve_default=False),
    ]
