"""Limits: what organizations, keys and models may spend, and how fast they may call, as the gateway keeps it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from orgs.models import SpendingLimit

ORGANIZATION: Final = "org"
KEY: Final = "key"
MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds for one subject: an organization, a key, or a model in an organization; None is no limit."""

    subject: str
    budget_usd_micros: int | None = None
    window: str = "month"
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_parallel: int | None = None

    @property
    def limits_anything(self) -> bool:
        """Whether there is anything to keep to."""
        found = (self.budget_usd_micros, self.requests_per_minute, self.tokens_per_minute, self.max_parallel)
        return any(value is not None for value in found)


@dataclass(frozen=True, slots=True)
class Scopes:
    """Whose a call is, and the limits that hold for it; the same object may be used for many calls."""

    organization_id: str
    key_id: str = ""
    model: str = ""
    limits: tuple[Limit, ...] = ()
    scope_key: str = ""  # the key whose limits count, where the caller's own succeeded it


@dataclass(frozen=True, slots=True)
class Held:
    """What holds for a caller; kept in memory for a few seconds.

    `models` are the only ones the key may call (empty: all there are), `by_model` the organization's limits of models.
    """

    organization_id: str
    key_id: str
    scope_key: str
    models: frozenset[str]
    own: tuple[Limit, ...]
    by_model: Mapping[str, Limit]
    _scopes: dict[str, Scopes] = field(default_factory=dict, compare=False, repr=False)

    def may_call(self, *names: str) -> bool:
        """Whether the caller may use a model that goes by any of these names."""
        return not self.models or not self.models.isdisjoint(names)

    def scopes(self, model: str) -> Scopes:
        """Return whose a call of `model` (as `provider/model`, or a bare name) is and what holds for it."""
        found = self._scopes.get(model)
        if found is None:
            found = self._scopes[model] = self._scopes_of(model)
        return found

    def _scopes_of(self, model: str) -> Scopes:
        names = (model, model.partition("/")[2]) if "/" in model else (model,)
        more = next((self.by_model[name] for name in names if name in self.by_model), None)
        limits = self.own if more is None else (*self.own, more)
        return Scopes(self.organization_id, self.key_id, model, limits, self.scope_key)


def subject(kind: str, organization_id: str, name: str = "") -> str:
    """Return how rows name what a limit is for: `org:acme`, `key:key_1`, `model:acme/gpt-4o`."""
    if kind == MODEL:
        return f"{kind}:{organization_id}/{name}"
    return f"{kind}:{name if kind == KEY else organization_id}"


def load(organization_id: str, *, key_id: str = "") -> Held:
    """Read what holds for a caller now: one query."""
    return load_many([(organization_id, key_id)])[organization_id, key_id]


def load_many(callers: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Held]:
    """Read what holds for several (organization, key), "" for callers without a key: one query."""
    wanted = set(callers)
    rows: dict[str, list[SpendingLimit]] = {}
    found = SpendingLimit.objects.filter(organization__in={organization for organization, _ in wanted})
    for row in found.select_related("key").order_by("pk"):
        rows.setdefault(row.organization_id, []).append(row)
    return {(at, key): _held(rows.get(at, []), at, key) for at, key in wanted}


def _held(rows: Iterable[SpendingLimit], organization_id: str, key_id: str) -> Held:
    own: list[Limit] = []
    models: list[str] = []
    scope_key = key_id
    by_model: dict[str, Limit] = {}
    for row in rows:
        if row.model:
            by_model[row.model] = _limit(row, subject(MODEL, organization_id, row.model))
        elif row.key is None:
            own.append(_limit(row, subject(ORGANIZATION, organization_id)))
        elif row.key.key_id == key_id:
            scope_key, models = row.counted_as or key_id, row.allowed_models
            own.append(_limit(row, subject(KEY, organization_id, scope_key)))
    kept = tuple(limit for limit in own if limit.limits_anything)
    by_model = {name: limit for name, limit in by_model.items() if limit.limits_anything}
    return Held(organization_id, key_id, scope_key, frozenset(models), kept, by_model)


def _limit(row: SpendingLimit, name: str) -> Limit:
    return Limit(
        name,
        row.budget_usd_micros,
        row.budget_window,
        row.requests_per_minute,
        row.tokens_per_minute,
        row.max_parallel,
    )
