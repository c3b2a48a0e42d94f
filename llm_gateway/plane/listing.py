"""Listing: which models a caller may name, and how their providers are; from memory, published models once a day."""

from typing import Any, Final
from urllib.parse import parse_qs

from django.utils import timezone

from llm_gateway.plane import choosing, refusals, routing
from llm_gateway.plane.callers import Standing
from llm_gateway.plane.catalog import Source, View
from llm_gateway.plane.exchange import Exchange
from llm_gateway.plane.planes import Plane
from llm_gateway.plane.refusals import Failed
from llm_gateway.surfaces.limits import MAX_MODEL_LENGTH
from moolai.errors import AppError

OPENAI: Final = "/v1/models"
CREATED: Final = 0  # nobody knows when a model was made
ALIAS_OWNER: Final = "moolai"
MAX_PAGE: Final = 1000
WORDS: Final = {"closed": "healthy", "half_open": "degraded", "open": "unhealthy"}


async def answer(exchange: Exchange, plane: Plane, standing: Standing) -> None:
    """Answer a read."""
    view = plane.catalog.view(standing.organization_id)
    path = exchange.path.rstrip("/")
    if path == OPENAI:
        await exchange.answer_json(200, {"object": "list", "data": await models(plane, view, standing)})
    elif path.startswith(f"{OPENAI}/"):
        await exchange.answer_json(200, one(plane, standing, path.removeprefix(f"{OPENAI}/")))
    elif path.endswith("/models"):
        await exchange.answer_json(200, _enveloped(_page(exchange, await models(plane, view, standing))))
    else:
        await exchange.answer_json(200, _enveloped(health(view, plane)))


async def models(plane: Plane, view: View, standing: Standing) -> list[dict[str, Any]]:
    """Return the aliases, then as `provider/model` what providers name.

    Of a dialect's own service that names nothing these are the models that are published of it.
    """
    found = dict.fromkeys(sorted(view.aliases), ALIAS_OWNER)
    for source in view.sources:
        known = sorted(source.models)
        if not known and routing.is_own_service(source):
            known = list(await plane.pricing.models(source.dialect))
        found |= {f"{source.name}/{model}": source.name for model in known}
    held = standing.held
    return [_model(name, owner) for name, owner in found.items() if held.may_call(name, name.partition("/")[2])]


def one(plane: Plane, standing: Standing, name: str) -> dict[str, Any]:
    """Return one model: whatever a call may name, by the same rules; raises Failed as the call would."""
    if not name or len(name) > MAX_MODEL_LENGTH or not name.isprintable():
        raise Failed(refusals.unknown_model(name))
    targets = choosing.targets(plane, standing, name)
    is_alias = name in plane.catalog.view(standing.organization_id).aliases
    return _model(name, ALIAS_OWNER if is_alias else targets[0].source.name)


def health(view: View, plane: Plane) -> dict[str, Any]:
    """Return the providers of an organization: a provider is as bad as the worst of its models that failed lately."""
    providers = [_provider(source, plane) for source in view.sources]
    states = {provider["status"] for provider in providers}
    status = (
        "unhealthy" if states == {"unhealthy"} or not states else "degraded" if states != {"healthy"} else "healthy"
    )
    return {"status": status, "providers": providers}


def _provider(source: Source, plane: Plane) -> dict[str, Any]:
    failing = plane.breakers.states(source.key)
    worst = "open" if "open" in failing.values() else "half_open" if failing else "closed"
    return {
        "name": source.name,
        "dialect": source.dialect,
        "is_local": source.is_local,
        "status": WORDS[worst],
        "failing_models": sorted(failing),
    }


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner}


def _page(exchange: Exchange, items: list[Any]) -> dict[str, Any]:
    query = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1"))
    number, size = _number(query, "page", 1), min(MAX_PAGE, _number(query, "page_size", 100))
    pages = -(-len(items) // size)
    return {
        "items": items[(number - 1) * size : number * size],
        "page": number,
        "page_size": size,
        "total_items": len(items),
        "total_pages": pages,
        "has_next": number < pages,
        "has_prev": number > 1 and pages > 0,
    }


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [str(default)])[0]
    if not text.isascii() or not text.isdigit() or not text.strip("0") or len(text) > 9:
        raise AppError("invalid_parameter", f"{name} must be a whole number from 1.")
    return int(text)


def _enveloped(data: Any) -> dict[str, Any]:
    return {"success": True, "data": data, "timestamp": timezone.now().isoformat().replace("+00:00", "Z")}
