"""Costs: what calls of models cost over a period, by whom and for what, and what the month will have cost (API §3).

The numbers are the ledger's. The forecast takes the days of the month that are left to cost what the last complete
days did on average; its interval is that of a sum of independent days, by their spread (80 %).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import sqrt
from statistics import mean, stdev
from typing import Any, Final

from llm_gateway.money import spending
from llm_gateway.money.spending import Total
from monitoring.overview import usd
from monitoring.periods import Period

GROUPS: Final = {"organization": "organization_id", "model": "model", "provider": "provider", "api_key": "key_id"}
DAY: Final = timedelta(days=1)
LEARNED_DAYS: Final = 28
LEAST_DAYS: Final = 3
Z_80: Final = 1.2816  # the normal distribution's 90th percentile: 80 % lie between it and its negative
METHOD: Final = "the month so far, and for each day left the mean of the last {days} complete days; 80 % interval"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for; `organizations` None means all."""

    organizations: Collection[str] | None
    period: Period
    group_by: str
    granularity: str


def report(wish: Wish, *, now: datetime, with_forecast: bool) -> dict[str, Any]:
    """Return total, breakdown and series of a period, and the forecast for the month that runs."""
    column = GROUPS[wish.group_by]
    length = wish.period.end_at - wish.period.start_at
    found = _totals(wish, wish.period, group_by=(column,))
    before = _totals(wish, Period(wish.period.start_at - length, wish.period.start_at), group_by=(column,))
    whole = sum(found.values(), Total())
    buckets = _totals(wish, wish.period, granularity=wish.granularity)
    return {
        "start_date": wish.period.start_at,
        "end_date": wish.period.end_at,
        "total_cost": usd(whole.cost_usd_micros),
        "saved_by_cache": usd(whole.saved_usd_micros),
        "currency": "USD",
        "request_count": whole.requests,
        "failed_count": whole.failed,
        "token_count": whole.tokens,
        "cost_breakdown": [
            _line(wish.group_by, key[0], total, before.get(key, Total()))
            for key, total in sorted(found.items(), key=lambda item: (-item[1].cost_usd_micros, item[0]))
        ],
        "series": [{"start": key[0], **_numbers(total)} for key, total in sorted(buckets.items())],
        "forecast": forecast(wish.organizations, now=now) if with_forecast else None,
    }


def forecast(organizations: Collection[str] | None, *, now: datetime) -> dict[str, Any] | None:
    """Return what the calendar month (UTC) will have cost, with its interval; None before there are three days."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    month = today.replace(day=1)
    left = (month + timedelta(days=32)).replace(day=1) - now
    days = _days(organizations, today)
    if len(days) < LEAST_DAYS:
        return None
    spent = spending.totals(organizations=organizations, since=month, until=now + timedelta(seconds=1))
    so_far = sum(total.cost_usd_micros for total in spent.values())
    rest = left / DAY
    middle = so_far + mean(days) * rest
    reach = Z_80 * stdev(days) * sqrt(rest)
    return {
        "end_of_period_cost": usd(round(middle)),
        "low": usd(round(max(so_far, middle - reach))),
        "high": usd(round(middle + reach)),
        "method": METHOD.format(days=len(days)),
    }


def _days(organizations: Collection[str] | None, today: datetime) -> list[int]:
    """Return what each of the last complete days cost, from the first day with a call on."""
    since = today - LEARNED_DAYS * DAY
    found = spending.totals(organizations=organizations, since=since, until=today, granularity="day")
    costs = {key[0].astimezone(UTC): total.cost_usd_micros for key, total in found.items()}
    first = min(costs, default=today)
    return [costs.get(first + number * DAY, 0) for number in range((today - first).days)]


def _totals(wish: Wish, period: Period, *, group_by: tuple[str, ...] = (), granularity: str = "") -> Any:
    return spending.totals(
        organizations=wish.organizations,
        since=period.start_at,
        until=period.end_at,
        group_by=group_by,
        granularity=granularity,
    )


def _numbers(total: Total) -> dict[str, Any]:
    return {
        "cost": usd(total.cost_usd_micros),
        "token_count": total.tokens,
        "request_count": total.requests,
        "failed_count": total.failed,
    }


def _line(dimension: str, value: str, total: Total, before: Total) -> dict[str, Any]:
    """Return one line of the breakdown; `trend` is the change in percent against the period before, None from 0."""
    earlier = before.cost_usd_micros
    return {
        "dimension": dimension,
        "dimension_value": value,
        **_numbers(total),
        "cost_per_request": usd(round(total.cost_usd_micros / total.requests)) if total.requests else None,
        "trend": round((total.cost_usd_micros - earlier) / earlier * 100, 2) if earlier else None,
    }
