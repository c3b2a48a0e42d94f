"""Version 1 of every configuration that exists."""

from django.db import migrations
from django.utils import timezone


def write(apps, schema_editor):
    from orchestrators.configuration.documents import difference, digest

    now = timezone.now()
    versions = apps.get_model("orchestrators", "ConfigVersion").objects
    for organization in apps.get_model("orgs", "Organization").objects.order_by("pk").iterator():
        document = organization.settings.get("config") if isinstance(organization.settings, dict) else None
        if isinstance(document, dict) and document:
            versions.create(
                organization=organization,
                version=1,
                document=document,
                config_hash=digest(document),
                changes=difference({}, document),
                comment="What was there before versions were kept.",
                source="import",
                author="system",
                created_at=now,
                released_at=now,
            )


class Migration(migrations.Migration):
    dependencies = [("orchestrators", "0005_config_versions"), ("orgs", "0001_initial")]

    operations = [migrations.RunPython(write, migrations.RunPython.noop)]
