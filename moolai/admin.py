"""The beat's periodic tasks, to look at; they are declared in the settings."""

from django.contrib import admin
from django.contrib.admin import display
from django.utils.safestring import SafeString
from django_celery_beat import models as beat

from orgs.admin.base import ReadOnlyAdmin, ago

for model in (beat.PeriodicTask, beat.IntervalSchedule, beat.CrontabSchedule, beat.SolarSchedule, beat.ClockedSchedule):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(beat.PeriodicTask)
class PeriodicTaskAdmin(ReadOnlyAdmin):
    """What the beat starts, and when it did last."""

    list_display = ["name", "task", "schedule_", "enabled", "total_run_count", "last_run"]
    list_select_related = ["interval", "crontab", "solar", "clocked"]
    search_fields = ["name", "task"]
    ordering = ["name"]
    fields = [
        "name",
        "task",
        "schedule_",
        "enabled",
        "total_run_count",
        "last_run",
        "args",
        "kwargs",
        "queue",
        "expire_seconds",
    ]
    readonly_fields = fields

    @display(description="Schedule")
    def schedule_(self, row: beat.PeriodicTask) -> str:
        """Show how often it runs."""
        return str(row.interval or row.crontab or row.solar or row.clocked or "–")

    @display(description="Last run", ordering="last_run_at")
    def last_run(self, row: beat.PeriodicTask) -> SafeString:
        """Show when it ran last."""
        return ago(row.last_run_at)
