from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrators", "0008_recommendations"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False)), fields=["finished_at"], name="messages_finished"
            ),
        ),
    ]
