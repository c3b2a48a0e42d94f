import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("orchestrators", "0007_jobs"),
    ]

    operations = [
        migrations.CreateModel(
            name="Review",
            fields=[
                (
                    "message",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="review",
                        serialize=False,
                        to="orchestrators.message",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("read", "Read"), ("accepted", "Accepted"), ("dismissed", "Dismissed")], max_length=20
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                (
                    "applied",
                    models.JSONField(
                        help_text="{target, target_id}: whose configuration it became part of.", null=True
                    ),
                ),
                (
                    "reviewed_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("actor", models.CharField(max_length=200)),
                ("reviewed_at", models.DateTimeField()),
            ],
            options={"db_table": "recommendation_reviews"},
        ),
        migrations.CreateModel(
            name="Recommendation",
            fields=[],
            options={"ordering": ["-id"], "proxy": True, "indexes": [], "constraints": []},
            bases=("orchestrators.message",),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("direction", "inbound"), ("message_type", "recommendation")),
                fields=["-id"],
                name="messages_recommended",
            ),
        ),
    ]
