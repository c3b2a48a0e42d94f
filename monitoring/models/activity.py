"""What people do with the product, as clients report it."""

from django.db import models


class Activity(models.Model):
    """One thing that somebody did (API §5, `activity/track`)."""

    class Kind(models.TextChoices):
        """The published words."""

        API_CALL = "api_call"
        WORKFLOW = "workflow"
        FEATURE = "feature"
        SESSION = "session"

    activity_id = models.CharField(max_length=40, unique=True)
    organization_id = models.CharField(max_length=50)
    user_id = models.CharField(max_length=200)
    activity_type = models.CharField(max_length=20, choices=Kind)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "user_activities"
        verbose_name, verbose_name_plural = "activity", "activities"
        indexes = [
            models.Index(fields=["organization_id", "created_at"], name="activities_by_organization"),
            models.Index(fields=["created_at"], name="activities_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.activity_type} of {self.user_id}"
