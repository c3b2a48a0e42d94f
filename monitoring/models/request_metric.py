"""Calls of our own API by the minute, hour and day; each web process writes rows of its own (metrics/requests.py)."""

from django.db import models


class RequestMetric(models.Model):
    """What one process answered in one minute, hour or day: a route, a method, a class of statuses, an organization.

    Each call is in a row of each span; of hours and days also in the sum over all routes of its organization (`route`
    and `method` are ALL), and in that over all organizations. Rows of two of these are never added up (call_spans.py).
    """

    node = models.CharField(max_length=100)
    minute_at = models.DateTimeField(help_text="The beginning of the minute, hour or day.")
    span_seconds = models.PositiveIntegerField(default=60, help_text="60, 3600 or 86400.")
    route = models.CharField(max_length=120)
    method = models.CharField(max_length=7)
    status_class = models.CharField(max_length=3, help_text="2xx to 5xx.")
    organization_id = models.CharField(max_length=50, blank=True, help_text="Empty: nobody's, or a superadmin's own.")
    count = models.PositiveBigIntegerField()
    unauthenticated = models.PositiveBigIntegerField(default=0, help_text="Those of them answered 401.")
    rate_limited = models.PositiveBigIntegerField(default=0, help_text="Those of them answered 429.")
    sum_ms = models.FloatField()
    max_ms = models.FloatField()
    buckets = models.JSONField(default=dict, help_text="Histogram of milliseconds (monitoring/metrics/histogram.py).")

    class Meta:
        db_table = "request_metrics"
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id", "span_seconds", "minute_at", "route", "method", "status_class", "node"],
                name="one_request_metric_per_span",
            )
        ]
        indexes = [
            models.Index(fields=["span_seconds", "minute_at"], name="request_metrics_by_span"),
            models.Index(
                fields=["organization_id", "span_seconds", "minute_at"],
                condition=models.Q(route="*"),
                name="request_metrics_sums",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.route} {self.status_class} at {self.minute_at:%H:%M}"
