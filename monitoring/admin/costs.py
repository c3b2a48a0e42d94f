"""Costs in the console: what calls cost by the hour or the day, by whom and for what, the forecast, and the budgets."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from llm_gateway.admin import meters, words
from llm_gateway.models import Spending
from llm_gateway.money import spending
from llm_gateway.money.spending import Total
from monitoring import costs
from monitoring.costs import GROUPS, Wish
from monitoring.periods import Period
from orgs.admin.base import ReadOnlyAdmin
from orgs.models import ApiKey, Organization, SpendingLimit

RANGES: Final = {
    "24h": ("24 hours", timedelta(hours=24), "hour"),
    "7d": ("7 days", timedelta(days=7), "day"),
    "30d": ("30 days", timedelta(days=30), "day"),
    "90d": ("90 days", timedelta(days=90), "day"),
}
TITLES: Final = {"organization": "Organization", "model": "Model", "provider": "Provider", "api_key": "API key"}
STEPS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
DRAWN, SHOWN, METERS, OFFERED = 6, 50, 8, 200
OTHERS: Final = "others"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page was asked for."""

    span: str
    group: str
    organization: str

    @property
    def organizations(self) -> list[str] | None:
        """Return the chosen one, None for all."""
        return [self.organization] if self.organization else None


@admin.register(Spending)
class SpendingAdmin(ReadOnlyAdmin):
    """What calls cost."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the page instead of rows."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked, now = read(request), timezone.now()
        context = self.admin_site.each_context(request) | {"title": "Costs", **_page(asked, now=now)}
        return render(request, "admin/llm_gateway/costs/page.html", context)


def read(request: HttpRequest) -> Asked:
    """Return what is asked for; what is none of the choices is the first one."""
    span, group = request.GET.get("range", ""), request.GET.get("group", "")
    return Asked(
        span if span in RANGES else "7d",
        group if group in GROUPS else "model",
        request.GET.get("organization", "").strip()[:50],
    )


def _page(asked: Asked, *, now: datetime) -> dict[str, Any]:
    _, length, granularity = RANGES[asked.span]
    since = (now - length).replace(minute=0, second=0, microsecond=0)  # whole hours are summed already
    wish = Wish(asked.organizations, Period(since, now), asked.group, granularity)
    report = costs.report(wish, now=now, with_forecast=True)
    names = _names(asked, [line["dimension_value"] for line in report["cost_breakdown"]])
    return {
        "asked": asked,
        "ranges": [(key, title, _link(asked, range=key)) for key, (title, *_) in RANGES.items()],
        "groups": [(key, title, _link(asked, group=key)) for key, title in TITLES.items()],
        "group_title": TITLES[asked.group],
        "organizations": list(Organization.objects.order_by("pk").values_list("pk", "name")[:OFFERED]),
        "cards": _cards(report),
        "forecast": _forecast(report["forecast"]),
        "lines": _lines(asked, report, names),
        "more": max(0, len(report["cost_breakdown"]) - SHOWN),
        "chart": _chart(wish, report, names),
        "meters": _meters(asked, now=now),
        "is_empty": not report["request_count"] + report["failed_count"],
    }


def _link(asked: Asked, **changed: str) -> str:
    chosen = {"range": asked.span, "group": asked.group, "organization": asked.organization, **changed}
    return "?" + urlencode({name: value for name, value in chosen.items() if value})


def _micros(usd: float) -> int:
    return round(usd * words.MICROS)


def _names(asked: Asked, values: list[str]) -> dict[str, str]:
    """Return what the values are called; keys have names, what was called without one has none."""
    found = {value: value or "none" for value in values}
    if asked.group == "api_key":
        found |= {"": "people, without a key"}
        found |= dict(ApiKey.objects.filter(key_id__in=values[:SHOWN]).values_list("key_id", "name"))
    return found


def _cards(report: dict[str, Any]) -> list[dict[str, str]]:
    calls, failed = report["request_count"], report["failed_count"]
    each = words.usd(_micros(report["total_cost"] / calls)) if calls else "–"
    saved = f", {words.usd(_micros(report['saved_by_cache']))} saved by the cache" if report["saved_by_cache"] else ""
    return [
        {"title": "Spent", "value": words.usd(_micros(report["total_cost"])), "note": f"{each} a call{saved}"},
        {"title": "Calls", "value": words.count(calls + failed), "note": "billed and not"},
        {"title": "Failed", "value": words.share(failed, calls + failed), "note": f"{words.count(failed)} calls"},
        {"title": "Tokens", "value": words.count(report["token_count"]), "note": "in and out"},
    ]


def _forecast(found: dict[str, Any] | None) -> dict[str, str] | None:
    if found is None:
        return None
    numbers = {name: words.usd(_micros(found[name])) for name in ("end_of_period_cost", "low", "high")}
    return {**numbers, "method": found["method"]}


def _lines(asked: Asked, report: dict[str, Any], names: dict[str, str]) -> list[dict[str, Any]]:
    most = max((line["cost"] for line in report["cost_breakdown"]), default=0) or 1
    return [
        {
            "name": names[line["dimension_value"]],
            "url": _calls_of(asked, line["dimension_value"]),
            "cost": words.usd(_micros(line["cost"])),
            "bar": round(line["cost"] / most * 1000),
            "calls": words.count(line["request_count"] + line["failed_count"]),
            "failed": words.share(line["failed_count"], line["request_count"] + line["failed_count"]),
            "tokens": words.count(line["token_count"]),
            "each": words.usd(_micros(line["cost_per_request"] or 0)) if line["cost_per_request"] is not None else "–",
            "trend": line["trend"],
        }
        for line in report["cost_breakdown"][:SHOWN]
    ]


def _calls_of(asked: Asked, value: str) -> str:
    name = {"api_key": "key"}.get(asked.group, asked.group)
    chosen = {"organization": asked.organization, name: value}
    query = urlencode({key: text for key, text in chosen.items() if text})
    return f"{reverse('admin:llm_gateway_call_changelist')}?{query}"


def _chart(wish: Wish, report: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return what the charts draw: the start of each hour or day, and by it the cost of each of the largest."""
    step = STEPS[wish.granularity]
    first = wish.period.start_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first = first.replace(hour=0) if wish.granularity == "day" else first
    starts = [first + number * step for number in range(int((wish.period.end_at - first) / step) + 1)]
    found = spending.totals(
        organizations=wish.organizations, since=wish.period.start_at, until=wish.period.end_at,
        group_by=(GROUPS[wish.group_by],), granularity=wish.granularity,
    )  # fmt: skip
    largest = [line["dimension_value"] for line in report["cost_breakdown"][:DRAWN]]
    stacks = {value: [0.0] * len(starts) for value in [*largest, OTHERS]}
    whole = [Total()] * len(starts)
    places = {start: place for place, start in enumerate(starts)}
    for (start, value), total in found.items():
        place = places.get(start.astimezone(UTC))
        if place is not None:
            whole[place] += total
            stacks[value if value in stacks else OTHERS][place] += total.cost_usd_micros / words.MICROS
    has_others = any(stacks[OTHERS])
    drawn = [*largest, OTHERS] if has_others else largest
    return {
        "x": [int(start.timestamp()) for start in starts],
        "by": wish.granularity,
        "names": [names.get(value, value) for value in drawn],
        "cost": [[round(number, 6) for number in stacks[value]] for value in drawn],
        "tokens": [total.tokens for total in whole],
        "calls": [total.requests for total in whole],
        "failed": [total.failed for total in whole],
    }


def _meters(asked: Asked, *, now: datetime) -> list[dict[str, Any]]:
    """Return the budgets that are nearest to their end: of organizations, or everything in the chosen one."""
    rows = SpendingLimit.objects.filter(budget_usd_micros__isnull=False).select_related("organization", "key")
    rows = rows.filter(organization=asked.organization) if asked.organization else rows.filter(key=None, model="")
    chosen = list(rows.order_by("pk")[:OFFERED])
    found = meters.read(chosen, now=now)
    chosen.sort(key=lambda row: -found[row.pk].share)
    return [
        {
            "name": row.model or (row.key.name if row.key else row.organization.name),
            "url": reverse("admin:orgs_spendinglimit_change", args=[row.pk]),
            "meter": meters.show(found[row.pk]),
        }
        for row in chosen[:METERS]
    ]
