from django.db import migrations

import orgs.sealed


class Migration(migrations.Migration):
    """The columns stay what they are; from here on their values are sealed (0004 seals those that are there)."""

    dependencies = [("orchestrators", "0002_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField("instance", "internal_url", orgs.sealed.SealedURL(blank=True)),
                migrations.AlterField("instance", "database_url", orgs.sealed.SealedURL(blank=True)),
                migrations.AlterField("instance", "redis_url", orgs.sealed.SealedURL(blank=True)),
                migrations.AlterField(
                    "instance", "environment_variables", orgs.sealed.SealedValues(blank=True, default=dict)
                ),
            ]
        )
    ]
