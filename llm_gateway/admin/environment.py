"""Providers that the environment names, and echo, as the console's list shows them above its rows; what lists share."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from llm_gateway.admin import health
from llm_gateway.admin.health import Health, Key
from llm_gateway.models import Provider
from llm_gateway.plane import catalog
from llm_gateway.plane.catalog import Source

DIALECTS: Final = {"openai": "green", "anthropic": "amber", "google": "blue", "echo": "gray"}
SHORTEST_KEY: Final = 12  # of a shorter one the last four characters say too much


@dataclass(frozen=True, slots=True)
class Found:
    """How the last hour went, and `rows`: whose enabled providers have which name (organization, None: everybody's)."""

    recent: dict[Key, Health]
    rows: set[tuple[str | None, str]]

    def of_row(self, row: Provider) -> Health:
        """Return how one went: everybody's answers those organizations that have none of its name."""
        return self._of(row.name, row.organization_id or "")

    def of_environment(self, source: Source) -> Health:
        """Return how one of the environment went: it answers where no row has its name."""
        return Health() if (None, source.name) in self.rows else self._of(source.name, "")

    def models(self, name: str) -> list[str]:
        """Return the models that were asked of providers of a name, the most wanted first."""
        asked: Counter[str] = Counter()
        for (_, provider, model), one in self.recent.items():
            asked[model] += one.requests if provider == name else 0
        return [model for model, number in asked.most_common() if number]

    def _of(self, name: str, organization_id: str) -> Health:
        asked = [key[:2] for key in self.recent if key[1] == name]
        if organization_id:
            return health.total(self.recent, [key for key in asked if key[0] == organization_id])
        return health.total(self.recent, [key for key in asked if key not in self.rows])


def line(source: Source, found: Found) -> dict[str, Any]:
    """Return a provider of the environment as the list shows it."""
    return {
        "name": source.name,
        "dialect": dialect(source.dialect),
        "address": source.base_url or "in the process itself",
        "key": key(f"***{source.api_key[-4:]}" if len(source.api_key) >= SHORTEST_KEY else source.api_key and "***"),
        "is_echo": source.dialect == catalog.ECHO,
        "is_local": source.is_local,
        "hour": health.show(found.of_environment(source), failing=health.breakers(source.key)),
        "model": next(iter(found.models(source.name)), ""),
    }


def dialect(word: str) -> SafeString:
    """Show what a provider speaks as a badge."""
    return format_html('<span class="mo-badge mo-badge-{}">{}</span>', DIALECTS.get(word, "gray"), word)


def key(shown: str) -> SafeString:
    """Show a masked key: its last four characters."""
    return format_html("<code>{}</code>", shown.replace("***", "····")) if shown else SafeString("none")
