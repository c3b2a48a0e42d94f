from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrators", "0009_retention"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(fields=["created_at"], name="messages_by_time"),
        ),
    ]
