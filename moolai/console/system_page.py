"""The console's page about the controller itself: its parts with their levels, and the charts of its host."""

from typing import Any, Final

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from monitoring.admin import machines
from monitoring.metrics import collecting, levels
from monitoring.models import SystemMetric
from moolai import dependencies
from moolai.dependencies import Dependency, Sign
from orchestrators.models import Instance
from orgs.admin.base import badge, is_superadmin, user
from orgs.models import Organization

Card = dict[str, Any]
TITLES: Final = {"cpu": "CPU", "memory": "Memory", "disk": "Disk", "network": "Network"}
UNITS: Final = {"percent": " %", "sockets": "", "ms": " ms"}
LIMITS: Final = (("warning", "warning_at"), ("critical", "critical_at"))
WORDS: Final = {
    "connected": ("green", "●", "Connected"),
    "embedded": ("green", "●", "Embedded"),
    "disconnected": ("critical", "✖", "Disconnected"),
    "running": ("green", "●", "Running"),
    "stale": ("red", "✖", "Not running"),
    "unknown": ("gray", "○", "Unknown"),
}


def view(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    _require(request)
    home = settings.DEFAULT_ORGANIZATION_ID
    context = admin.site.each_context(request) | {
        "title": "System",
        "home": home,
        "narrowed": home if Organization.objects.filter(pk=home).exists() else "",
        "interval": settings.METRICS_COLLECTION_INTERVAL,
        "kept_days": settings.METRICS_RETENTION_DAYS,
        **_cards(),
    }
    return render(request, "console/system.html", context)


def cards(request: HttpRequest) -> HttpResponse:
    """Answer the cards as a piece of the page."""
    _require(request)
    return render(request, "console/system_cards.html", _cards())


def collect(request: HttpRequest) -> HttpResponse:
    """Measure the host now (POST), and go back to the page."""
    _require(request)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        row = collecting.collect(settings.DEFAULT_ORGANIZATION_ID, collected_by=user(request).get_username()[:50])
    except DatabaseError:
        messages.error(request, "Nothing was measured: the database of measurements does not answer.")
    else:
        messages.success(request, f"Measured in {row.collection_duration_ms or 0:.0f} ms.")
    return HttpResponseRedirect(reverse("console_system"))


def _require(request: HttpRequest) -> None:
    if not is_superadmin(request):
        raise PermissionDenied


def _cards() -> dict[str, Any]:
    now = timezone.now()
    own = SystemMetric.objects.filter(organization_id=settings.DEFAULT_ORGANIZATION_ID, orchestrator_id="")
    rows = own.order_by("-timestamp")[:1]
    found, asked = levels.components(rows, now=now), dependencies.health(now=now)
    status = collecting.status(settings.DEFAULT_ORGANIZATION_ID, now=now)
    return {
        "cards": [
            *(_part(name, found[name]) for name in TITLES),
            _dependency("Database", asked.database),
            _dependency("Redis", asked.redis),
            _process("Worker", asked.celery.worker),
            _process("Beat", asked.celery.beat),
            _collection(status),
            _sessions(),
        ],
        "status": status,
    }


def _part(name: str, found: dict[str, Any]) -> Card:
    value, unit = found["value"], UNITS[found["unit"]]
    limits = [f"{word} from {found[key]:g}{unit}" for word, key in LIMITS if found[key] is not None]
    text = "–" if value is None else f"{value:.0f} sockets" if name == "network" else f"{value:.1f}{unit}"
    note = ", ".join(limits) if limits else "no limit"
    return {"title": TITLES[name], "badge": machines.level(found["level"]), "value": text, "note": note}


def _dependency(title: str, found: Dependency) -> Card:
    text = "–" if found.latency_ms is None else f"{found.latency_ms:.1f} ms"
    note = "time to answer" if found.latency_ms is not None else "inside the process" if found.is_well else "no answer"
    return {"title": title, "badge": badge(*WORDS[found.word]), "value": text, "note": note}


def _process(title: str, sign: Sign) -> Card:
    text = "never" if sign.age_seconds is None else f"{sign.age_seconds:.0f} s"
    note = "since its last sign of life" if sign.age_seconds is not None else "gave a sign of life"
    return {"title": title, "badge": badge(*WORDS[sign.word]), "value": text, "note": note}


def _sessions() -> Card:
    number = Instance.objects.present().filter(is_connected=True).count()
    words = badge("green", "●", "Open") if number else badge("gray", "○", "None")
    return {"title": "Sessions", "badge": words, "value": str(number), "note": "orchestrators connected now"}


def _collection(status: dict[str, Any]) -> Card:
    """Show how measuring goes: off, late, or on time with its lag."""
    schedule, lag = status["schedule"], status["lag_seconds"]
    every = f"every {schedule['interval_seconds']} s"
    if not schedule["enabled"]:
        return {"title": "Measuring", "badge": badge("gray", "○", "Off"), "value": "–", "note": "AUTO_COLLECT is off"}
    if lag is None:
        word = badge("amber", "◌", "Waiting")
        return {"title": "Measuring", "badge": word, "value": "–", "note": f"{every}, never run"}
    word = badge("red", "✖", "Late") if status["is_late"] else badge("green", "●", "On time")
    late = f"late by {lag:.1f} s" if lag else "no delay"
    failed = f", {status['failures']} failed so far" if status["failures"] else ""
    return {"title": "Measuring", "badge": word, "value": every, "note": f"{late}{failed}"}
