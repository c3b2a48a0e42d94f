"""Numbers of the gateway as people read them: money, tokens, times; states of calls as badges; names as written."""

import re
from decimal import Decimal
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from llm_gateway.models import Call
from orgs.admin.base import badge

MICROS: Final = 1_000_000
CENT_MICROS: Final = 10_000
STATES: Final = {
    "running": ("blue", "◌", "Running"),
    "completed": ("green", "●", "Completed"),
    "failed": ("red", "✖", "Failed"),
    "cancelled": ("gray", "○", "Left by the client"),
    "lost": ("amber", "▲", "Lost with its process"),
}


def names(text: str) -> list[str]:
    """Read what was written one name a line; commas and spaces part names, too."""
    return list(dict.fromkeys(name for name in re.split(r"[\s,]+", text) if name))


def usd(micros: int | None) -> str:
    """Show micro-dollars as dollars: cents, and all six places of what is less than ten cents."""
    if micros is None:
        return "–"
    places = 6 if 0 < abs(micros) < 10 * CENT_MICROS else 2
    return f"${Decimal(micros) / MICROS:,.{places}f}"


def rate(text: Any) -> str:
    """Show dollars per million tokens, without zeros that say nothing."""
    if text in (None, ""):
        return "–"
    number = f"{Decimal(str(text)):,.6f}".rstrip("0")
    whole, _, part = number.partition(".")
    return f"${whole}.{part:0<2}"


def count(number: int) -> str:
    """Show a count with its thousands set apart."""
    return f"{number:,}".replace(",", "\u202f")


def ms(value: float | None) -> str:
    """Show a time: milliseconds, or seconds from the first one on."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def share(part: int, whole: int) -> str:
    """Show a part of a whole in percent."""
    return "–" if not whole else f"{part / whole * 100:.1f} %"


def state(row: Call) -> SafeString:
    """Show how a call ended, and below it what went wrong, and how many requests it took when it took several."""
    found = badge(*STATES.get(row.status, ("gray", "○", row.status)))
    notes = [row.error] if row.error else []
    notes += [f"{row.attempts} attempts"] if row.attempts > 1 else []
    if not notes:
        return found
    return format_html('<span class="mo-name">{}<small>{}</small></span>', found, " · ".join(notes))
