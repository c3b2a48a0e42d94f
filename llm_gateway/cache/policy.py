"""Policy: which calls the cache may answer, and which answers it may keep."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llm_gateway.models.caching import DEFAULT_SECONDS, MAX_SECONDS
from llm_gateway.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_gateway.plane.catalog import Catalog
    from llm_gateway.plane.exchange import Exchange
    from llm_gateway.plane.routing import Target

ALL: Final = "*"
NEVER: Final = -1  # the epoch of those that may keep nothing
SWITCH: Final = b"x-moolai-cache"
TTL: Final = b"x-moolai-cache-ttl"


@dataclass(frozen=True, slots=True)
class Rule:
    """What an organization set; without that, calls have to ask for the cache."""

    is_enabled: bool = True
    models: frozenset[str] = frozenset()
    ttl_seconds: int = DEFAULT_SECONDS
    epoch: int = 0


NO_RULE: Final = Rule()


def allowed(catalog: "Catalog", organization_id: str) -> bool:
    """Whether anything of an organization's calls may be kept: not in privacy mode, not when it switched this off."""
    if not catalog.caching.get(organization_id, NO_RULE).is_enabled:
        return False
    return not catalog.policy(organization_id).is_private


def epochs(catalog: "Catalog") -> dict[str, int]:
    """Return the epochs of caches that were emptied before, NEVER for those that may keep nothing."""
    organizations = catalog.caching.keys() | catalog.policies.keys()
    found = {
        name: catalog.caching.get(name, NO_RULE).epoch if allowed(catalog, name) else NEVER for name in organizations
    }
    return {name: epoch for name, epoch in found.items() if epoch}


def wanted(exchange: "Exchange", rule: Rule, model: str, targets: "Sequence[Target]") -> bool:
    """Whether a call is to use the cache: its header says so, else the rule does. Raises Refused for another word."""
    said = exchange.headers.get(SWITCH)
    if said is None:
        return bool(rule.models) and _is_listed(rule.models, model, targets)
    word = said.strip().lower()
    if word not in (b"on", b"off"):
        raise Refused("x-moolai-cache", "The header x-moolai-cache is on or off.")
    return word == b"on"


def ttl_seconds(exchange: "Exchange", rule: Rule) -> int:
    """Return how old an answer may be, and how long a new one is kept; raises Refused for what is no such number."""
    said = exchange.header(TTL)
    if not said:
        return rule.ttl_seconds
    if not said.isascii() or not said.isdigit() or not 1 <= int(said[:9]) <= MAX_SECONDS or len(said) > 9:
        raise Refused(
            "x-moolai-cache-ttl", f"The header x-moolai-cache-ttl is a number of seconds, 1 to {MAX_SECONDS}."
        )
    return int(said)


def _is_listed(models: frozenset[str], model: str, targets: "Sequence[Target]") -> bool:
    """Whether a name was asked for that is listed, or all it leads to is."""
    if ALL in models or model in models:
        return True
    return all(not models.isdisjoint((one.model, f"{one.source.name}/{one.model}")) for one in targets)
