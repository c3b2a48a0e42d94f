import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("orchestrators", "0006_labels"),
    ]

    operations = [
        migrations.CreateModel(
            name="Job",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("job_id", models.CharField(max_length=40, unique=True)),
                ("kind", models.CharField(max_length=50)),
                (
                    "organization_id",
                    models.CharField(blank=True, help_text="Whose rows; empty: of every organization.", max_length=50),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        max_length=20,
                    ),
                ),
                ("total", models.PositiveIntegerField(default=0)),
                ("done", models.PositiveIntegerField(default=0)),
                ("failed", models.PositiveIntegerField(default=0)),
                (
                    "errors",
                    models.JSONField(
                        blank=True, default=list, help_text="The first problems, as {orchestrator_id, error}."
                    ),
                ),
                ("result", models.JSONField(blank=True, null=True)),
                ("request", models.JSONField(default=dict, help_text="What was asked, as readers may see it.")),
                (
                    "targets",
                    models.JSONField(help_text="Keys of the rows where they were chosen one by one.", null=True),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("actor", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("position", models.BigIntegerField(default=0)),
                ("last", models.BigIntegerField(default=0)),
                ("holder", models.CharField(blank=True, max_length=150)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                (
                    "attempts",
                    models.PositiveSmallIntegerField(default=0, help_text="Attempts since it last got on."),
                ),
            ],
            options={
                "db_table": "jobs",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("status__in", ["queued", "running"])),
                        fields=["lease_until", "id"],
                        name="jobs_open",
                    ),
                    models.Index(fields=["organization_id", "-id"], name="jobs_by_organization"),
                    models.Index(
                        condition=models.Q(("finished_at__isnull", False)), fields=["finished_at"], name="jobs_finished"
                    ),
                ],
            },
        ),
    ]
