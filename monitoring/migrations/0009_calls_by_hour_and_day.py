"""Calls of our own API get rows of hours and days, and sums of them, beside minutes; those that are there too."""

from typing import Any, Final

from django.db import migrations, models

SERIES: Final = "node, route, method, status_class, organization_id"
KINDS: Final = (  # rows of their own, sums over all routes, sums over all routes and organizations
    SERIES,
    "node, '*' AS route, '*' AS method, status_class, organization_id",
    "node, '*' AS route, '*' AS method, status_class, '*' AS organization_id",
)
START: Final = {
    "postgresql": {3600: "date_trunc('hour', minute_at, 'UTC')", 86_400: "date_trunc('day', minute_at, 'UTC')"},
    "sqlite": {
        3600: "strftime('%Y-%m-%d %H:00:00', minute_at)",
        86_400: "strftime('%Y-%m-%d 00:00:00', minute_at)",
    },
}
HISTOGRAM: Final = {
    "postgresql": ("jsonb_each_text(buckets)", "jsonb_object_agg(key, number)"),
    "sqlite": ("json_each(buckets)", "json_group_object(key, number)"),
}


def fill(apps: Any, schema_editor: Any) -> None:
    """Sum up the minutes of each hour, and the hours of each day; rows keep their nodes."""
    vendor = schema_editor.connection.vendor
    with schema_editor.connection.cursor() as cursor:
        for span, finer in ((3600, 60), (86_400, 3600)):
            for kind in KINDS:
                cursor.execute(_statement(vendor, span, finer, kind))


def empty(apps: Any, schema_editor: Any) -> None:
    """Leave minutes alone."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("DELETE FROM request_metrics WHERE span_seconds > 60")


def _statement(vendor: str, span: int, finer: int, kind: str) -> str:
    each, whole = HISTOGRAM[vendor]
    start = f"{START[vendor][span]} AS start_at"
    rows = f"FROM request_metrics WHERE span_seconds = {finer} AND route <> '*' GROUP BY 1, 2, 3, 4, 5, 6"
    counts = "count, unauthenticated, rate_limited, sum_ms, max_ms"
    sums = "sum(count), sum(unauthenticated), sum(rate_limited), sum(sum_ms), max(max_ms)"
    return f"""
        WITH summed({SERIES}, start_at, {counts}) AS (SELECT {kind}, {start}, {sums} {rows}),
        counted AS (
            SELECT {kind}, {start}, key, sum(CAST(value AS bigint)) AS number FROM request_metrics, {each}
            WHERE span_seconds = {finer} AND route <> '*' GROUP BY 1, 2, 3, 4, 5, 6, 7
        ),
        histograms AS (SELECT {SERIES}, start_at, {whole} AS buckets FROM counted GROUP BY {SERIES}, start_at)
        INSERT INTO request_metrics ({SERIES}, span_seconds, minute_at, {counts}, buckets)
        SELECT {SERIES}, {span}, start_at, {counts}, coalesce(buckets, '{{}}')
        FROM summed LEFT JOIN histograms USING ({SERIES}, start_at)
    """  # noqa: S608 — our own names


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0008_exports")]

    operations = [
        migrations.AddField(
            "requestmetric",
            "span_seconds",
            models.PositiveIntegerField(default=60, help_text="60, 3600 or 86400."),
        ),
        migrations.AlterField(
            "requestmetric",
            "minute_at",
            models.DateTimeField(help_text="The beginning of the minute, hour or day."),
        ),
        migrations.RemoveConstraint("requestmetric", "one_request_metric_per_minute"),
        migrations.RemoveIndex("requestmetric", "request_metrics_by_time"),
        migrations.RunPython(fill, empty, hints={"model_name": "requestmetric"}),
        migrations.AddConstraint(
            "requestmetric",
            models.UniqueConstraint(
                fields=["organization_id", "span_seconds", "minute_at", "route", "method", "status_class", "node"],
                name="one_request_metric_per_span",
            ),
        ),
        migrations.AddIndex(
            "requestmetric", models.Index(fields=["span_seconds", "minute_at"], name="request_metrics_by_span")
        ),
        migrations.AddIndex(
            "requestmetric",
            models.Index(
                fields=["organization_id", "span_seconds", "minute_at"],
                condition=models.Q(route="*"),
                name="request_metrics_sums",
            ),
        ),
    ]
