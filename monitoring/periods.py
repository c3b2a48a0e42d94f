"""Periods: `start_date` and `end_date` of the analytic calls (API §3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone
from rest_framework.request import Request

from moolai.errors import AppError
from orgs.operations import Parameter, is_day

DEFAULT_DAYS: Final = 30
PARAMETERS: Final = {
    "start_date": Parameter("From this moment on (a day: from its beginning); 30 days before the end.", "date-time"),
    "end_date": Parameter("Until before this moment (a day: to its end); now.", "date-time"),
}


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_at` on, until before `end_at`."""

    start_at: datetime
    end_at: datetime


def read(request: Request, query: Mapping[str, Any]) -> Period:
    """Return the period that the call's parameters name; raises `invalid_parameter` when it ends before it starts."""
    end_at = query["end_date"] or timezone.now()
    if is_day(request.query_params.get("end_date", "")):
        end_at += timedelta(days=1)
    start_at = query["start_date"] or end_at - timedelta(days=DEFAULT_DAYS)
    if start_at >= end_at:
        raise AppError("invalid_parameter", "start_date must lie before end_date.")
    return Period(start_at, end_at)
