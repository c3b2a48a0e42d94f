"""Moments: days as people say them, read where nothing has to be guessed. Pure."""

import re
from datetime import UTC, date, datetime
from typing import Final

_ISO: Final = re.compile(r"\b(\d{4}-\d{2}-\d{2})\b")
_ORDINAL: Final = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b")
FORMS: Final = ("%d %B %Y", "%B %d %Y", "%d %b %Y", "%b %d %Y", "%Y/%m/%d", "%d.%m.%Y")


def day(text: str | None) -> str | None:
    """Return the day that a text names in full, as 2026-12-01; None for “Friday”, “1/2/26” and all that is unclear."""
    if not text:
        return None
    if found := _ISO.search(text):
        try:
            return date.fromisoformat(found[1]).isoformat()
        except ValueError:
            return None
    plain = _ORDINAL.sub(r"\1", text.replace(",", " ")).replace(" of ", " ")
    plain = re.sub(r"^(by|on|until|before|due)\s+", "", " ".join(plain.split()), flags=re.IGNORECASE)
    for form in FORMS:
        try:
            return datetime.strptime(plain, form).replace(tzinfo=UTC).date().isoformat()
        except ValueError:
            continue
    return None
