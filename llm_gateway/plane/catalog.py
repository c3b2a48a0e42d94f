"""The catalog: every provider and alias in memory, read anew when a row changed. `read` runs in a thread."""

import logging
from collections import ChainMap, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, Max, Model

from llm_gateway import hosts
from llm_gateway.cache.policy import Rule
from llm_gateway.guardrails import counts, rules
from llm_gateway.guardrails.rules import Guards
from llm_gateway.models import Alias, CacheRule, GatewayPolicy, Guardrails, Price, Provider
from llm_gateway.money import prices
from llm_gateway.money.prices import UnitPrice
from orgs import sealed, vault
from orgs.models import AllowedNetwork

logger = logging.getLogger(__name__)
ECHO: Final = "echo"
NO_PRICES: Final[Mapping[str, UnitPrice]] = {}


@dataclass(frozen=True, slots=True)
class Source:
    """A provider as calls see it. `networks` are the private ones it may lie in; None: the environment names it."""

    key: str
    name: str
    dialect: str
    base_url: str
    api_key: str = field(repr=False)
    is_local: bool = False
    models: frozenset[str] = frozenset()
    networks: tuple[str, ...] | None = ()
    auth: str = "bearer"
    is_common: bool = True  # everybody's, or the environment's

    def has(self, model: str) -> bool:
        """Whether it may have the model: one that names none may have any."""
        return not self.models or model in self.models


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that an alias leads to, with its share of the calls (None: only when the others fail)."""

    model: str
    weight: float | None


@dataclass(frozen=True, slots=True)
class View:
    """What one organization may call: its own first, then everybody's, then the environment's."""

    sources: tuple[Source, ...]
    by_name: Mapping[str, Source]
    aliases: Mapping[str, tuple[Choice, ...]]
    places: dict[str, Any] = field(default_factory=dict, compare=False)  # what `routing.place` found, by model


@dataclass(frozen=True, slots=True)
class Policy:
    """What may stay of the content of an organization's calls: nothing, when it is private; else it may be kept."""

    is_private: bool = False
    keeps_content: bool = False


NO_POLICY: Final = Policy()


@dataclass(frozen=True, slots=True)
class Catalog:
    """A snapshot of all providers and aliases, by organization ("" for those of all)."""

    sources: Mapping[str, Sequence[Source]]
    aliases: Mapping[str, Mapping[str, tuple[Choice, ...]]]
    own_prices: Mapping[str, Mapping[str, UnitPrice]] = field(default_factory=dict)
    caching: Mapping[str, Rule] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    guards: Mapping[str, Guards] = field(default_factory=dict)
    _views: dict[str, View] = field(default_factory=dict)

    def policy(self, organization_id: str) -> Policy:
        """Return what may stay of the content of an organization's calls."""
        return self.policies.get(organization_id, NO_POLICY)

    def view(self, organization_id: str) -> View:
        """Return what an organization may call; put together once."""
        found = self._views.get(organization_id)
        if found is None:
            own = organization_id if organization_id in self.sources or organization_id in self.aliases else ""
            found = self._views.get(own) or self._put_together(own)
            self._views[own] = found
        return found

    def prices(self, organization_id: str) -> Mapping[str, UnitPrice]:
        """Return the prices that were entered, an organization's own before everybody's, by model."""
        common = self.own_prices.get("", NO_PRICES)
        own = self.own_prices.get(organization_id)
        return common if own is None else ChainMap(own, common)  # type: ignore[arg-type]

    def _put_together(self, organization_id: str) -> View:
        sources = [*self.sources.get(organization_id, ()), *(self.sources.get("", ()) if organization_id else ())]
        sources += environment()
        by_name: dict[str, Source] = {}
        for source in sources:
            by_name.setdefault(source.name, source)
        aliases = {**self.aliases.get("", {}), **self.aliases.get(organization_id, {})}
        return View(tuple(source for source in sources if by_name[source.name] is source), by_name, aliases)


EMPTY: Final = Catalog({}, {})
_LOOKED_AT: Final[tuple[tuple[type[Model], str], ...]] = (
    (Provider, "updated_at"), (Alias, "updated_at"), (Price, "updated_at"), (AllowedNetwork, "created_at"),
    (CacheRule, "updated_at"), (GatewayPolicy, "updated_at"), (Guardrails, "updated_at"),
)  # fmt: skip


BEARER: Final = Provider.Auth.BEARER.value
_AUTH: Final = {"azure": Provider.Auth.API_KEY.value}


def environment() -> list[Source]:
    """Return the providers that the environment names, and the one that answers by itself."""
    found = [
        Source(
            f"env:{name}",
            name,
            dialect,
            hosts.of(dialect, url),
            key,
            is_local,
            frozenset(),
            None,
            _AUTH.get(name, BEARER),
        )
        for name, (dialect, url, key, is_local) in settings.LLM_ENVIRONMENT.items()
        if url or (key and dialect in hosts.OWNERS and name in hosts.OWNERS)
    ]
    if settings.LLM_ECHO_ENABLED:
        found.append(Source("env:echo", ECHO, ECHO, "", "", True, frozenset({ECHO}), None))
    return found


def fingerprint() -> tuple[Any, ...]:
    """Return what differs whenever anything of the catalog did, or an allowed network: one small query each."""
    found: list[Any] = []
    for model, moment in _LOOKED_AT:
        rows = model._default_manager.aggregate(Count("pk"), Max("pk"), Max(moment))
        found += rows.values()
    return tuple(found)


def read() -> Catalog:
    """Read all of it; a key that cannot be opened leaves its provider out."""
    found = read_routes()
    more: dict[str, Any] = {"caching": _caching(), "policies": _policies(), "guards": _guards()}
    return Catalog(found.sources, found.aliases, _prices(), **more)


def read_routes() -> Catalog:
    """Read the providers and aliases alone: what says where a name leads."""
    networks: dict[str, list[str]] = defaultdict(list)
    for organization_id, cidr in AllowedNetwork.objects.values_list("organization_id", "cidr"):
        networks[organization_id].append(cidr)
    sources: dict[str, list[Source]] = defaultdict(list)
    for row in Provider.objects.filter(is_enabled=True).order_by("-priority", "name"):
        home = row.organization_id or ""
        if (source := of_row(row, networks=networks[home])) is not None:
            sources[home].append(source)
    aliases: dict[str, dict[str, tuple[Choice, ...]]] = defaultdict(dict)
    for alias in Alias.objects.all():
        choices = tuple(Choice(target["model"], target.get("weight")) for target in alias.targets)
        aliases[alias.organization_id or ""][alias.alias] = choices
    return Catalog(dict(sources), dict(aliases))


def _guards() -> dict[str, Guards]:
    """Return the guardrails of the organizations that have any; these count what they do."""
    found = {row.pk: rules.compiled(row.rules) for row in Guardrails.objects.all()}
    return {name: _counting(guards) for name, guards in found.items() if guards is not None}


def _counting(guards: Guards) -> Guards:
    request, answer = (replace(getattr(guards, side), side=side) for side in counts.SIDES)
    return Guards(request, answer, guards.stamp)


def _caching() -> dict[str, Rule]:
    """Return what organizations set of their caches."""
    return {
        row.pk: Rule(row.is_enabled, frozenset(row.model_names), row.ttl_seconds, row.epoch)
        for row in CacheRule.objects.all()
    }


def _policies() -> dict[str, Policy]:
    """Return the policies of those that have one, by organization."""
    return {row.pk: Policy(row.is_private, row.is_kept) for row in GatewayPolicy.objects.all()}


def _prices() -> dict[str, dict[str, UnitPrice]]:
    """Return the prices that were entered, by organization ("" for everybody's) and model."""
    found: dict[str, dict[str, UnitPrice]] = defaultdict(dict)
    for row in Price.objects.all():
        found[row.organization_id or ""][row.model] = prices.of(
            row.input_usd_per_million,
            row.output_usd_per_million,
            cached_input_usd=row.cached_input_usd_per_million,
            cache_write_usd=row.cache_write_usd_per_million,
            source="organization" if row.organization_id else "installation",
        )
    return dict(found)


def of_row(row: Provider, *, networks: Sequence[str]) -> Source | None:
    """Return a provider's row as calls see it, None where its key cannot be opened."""
    try:
        key = sealed.read(row, "api_key")
    except vault.Unreadable:
        logger.error("the key of the provider %s cannot be read", row.provider_id)
        return None
    return Source(
        row.provider_id,
        row.name,
        row.dialect,
        hosts.of(row.dialect, row.base_url),
        key,
        row.is_local or row.dialect == ECHO,
        frozenset(row.known_models),
        (*settings.OUTBOUND_ALLOWED_CIDRS, *networks),
        row.auth,
        is_common=row.organization_id is None,
    )
