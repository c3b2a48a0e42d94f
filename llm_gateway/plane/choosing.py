"""Choosing: whom one call may ask, best first: what its model means, what its key may call, what its headers wish."""

from typing import TYPE_CHECKING, Any

from llm_gateway.plane import refusals, routing, wishes
from llm_gateway.plane.refusals import Failed
from llm_gateway.plane.routing import Target
from llm_gateway.plane.wishes import Wishes
from llm_gateway.problems import Refused

if TYPE_CHECKING:
    from llm_gateway.plane.planes import Plane


def targets(plane: "Plane", standing: Any, model: str, wish: Wishes = wishes.NONE) -> list[Target]:
    """Return the targets; raises Failed (404, 503) where nobody is to be asked, and Refused for a wish.

    Of fallbacks that headers name, each is asked at its best place only, after the model's. Without any the first
    target alone is asked, also while its breaker is open.
    """
    found = _of(plane, standing, model, wish)
    if wish.fallbacks is not None:
        found = found[:1]
        for name in wish.fallbacks:
            found += _of(plane, standing, name, wish)[:1]
        return list(dict.fromkeys(found))
    return routing.healthy_first(found, plane.breakers) if len(found) > 1 else found


def _of(plane: "Plane", standing: Any, model: str, wish: Wishes) -> list[Target]:
    """Return the targets of one model that the caller may call."""
    view = plane.catalog.view(standing.organization_id)
    if wish.provider and wish.provider not in view.by_name:
        raise Refused(wishes.PROVIDER, "There is no provider of this name.")
    try:
        found = routing.find(view, model, provider=wish.provider)
    except routing.DeadEnds as error:
        raise Failed(refusals.dead_ends(model, error)) from None
    except routing.Unknown:
        raise Failed(refusals.unknown_model(model)) from None
    except routing.Unconfigured as error:
        raise Failed(refusals.unconfigured(model, error)) from None
    held = standing.held
    if held.models:
        found = [one for one in found if held.may_call(model, one.model, f"{one.source.name}/{one.model}")]
        if not found:
            raise Failed(refusals.unknown_model(model))
    return routing.healthy_first(found, plane.breakers) if wish.fallbacks else found
