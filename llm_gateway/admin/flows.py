"""Pictures of aliases: which share of the calls goes to which target, and how each target has been (SVG)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from llm_gateway.admin import health, words
from llm_gateway.admin.health import Health, Key
from llm_gateway.models import Alias, Provider
from llm_gateway.plane import catalog, routing
from llm_gateway.plane.catalog import Catalog

ROW, BOX, GAP = 52, 40, 12
LEFT, PILL, RIGHT, WIDTH = 150, 262, 350, 640
SHOWN: Final = 36  # characters of a model in its box
NONE_LOST: Final[Mapping[str, str]] = {}
TONES: Final = {"red": "failing", "amber": "some errors", "green": "healthy", "gray": "no calls in the last hour"}


@dataclass(frozen=True, slots=True)
class Step:
    """One target of the picture: its place, its share or its turn, and how it has been."""

    model: str
    short: str
    share: str
    is_fallback: bool
    tone: str
    said: str
    middle: int
    top: int
    curve: str
    stroke: str
    is_lost: bool


def steps(
    row: Alias,
    found: Mapping[Key, Health],
    breakers: Mapping[str, Mapping[str, str]],
    lost: Mapping[str, str] = NONE_LOST,
) -> list[Step]:
    """Return the targets in their order; `breakers` are {provider's name: {model: state}}, `lost` {model: why}."""
    targets: list[dict[str, Any]] = row.targets
    whole = sum(float(target.get("weight") or 0) for target in targets)
    start = (len(targets) * ROW - GAP) / 2
    result, turn = [], 0
    for number, target in enumerate(targets):
        weight = float(target.get("weight") or 0)
        turn += not weight
        one, state = _health(row, target["model"], found), _state(target["model"], breakers)
        nowhere = lost.get(target["model"], "")
        tone = "red" if nowhere else {"open": "red", "half_open": "amber"}.get(state, one.tone)
        top = number * ROW
        middle = top + BOX // 2
        bend = (LEFT + PILL) / 2
        result.append(
            Step(
                target["model"],
                target["model"] if len(target["model"]) <= SHOWN else target["model"][: SHOWN - 1] + "…",
                f"{weight / whole * 100:.0f} %" if weight else _turn(turn, has_weights=whole > 0),
                not weight and (whole > 0 or turn > 1),
                tone,
                nowhere or _said(one, state, tone),
                middle,
                top,
                f"M{LEFT},{start:.1f} C{bend:.0f},{start:.1f} {bend:.0f},{middle} {PILL},{middle} H{RIGHT}",
                f"{1.5 + 6 * (weight / whole if whole else 0.2):.1f}",
                bool(nowhere),
            )
        )
    return result


def draw(
    row: Alias,
    found: Mapping[Key, Health],
    breakers: Mapping[str, Mapping[str, str]],
    lost: Mapping[str, str] = NONE_LOST,
) -> SafeString:
    """Draw an alias."""
    shown = steps(row, found, breakers, lost)
    height = len(shown) * ROW - GAP
    context = {"alias": row.alias, "steps": shown, "height": max(height, BOX), "middle": height / 2, "width": WIDTH}
    return render_to_string("admin/llm_gateway/alias/flow.html", context)


def lost_of(rows: Collection[Alias]) -> list[dict[str, str]]:
    """Return of each alias the targets that lead nowhere, and why; the catalog is read once."""
    snapshot = catalog.read_routes()
    return [
        {model: why for target in row.targets if (why := _why(snapshot, row, model := target["model"]))} for row in rows
    ]


def _why(snapshot: Catalog, row: Alias, model: str) -> str:
    """Return why a target leads nowhere, nothing where it leads somewhere: of everybody's alias, for somebody."""
    homes = [row.organization_id] if row.organization_id else ["", *snapshot.sources]
    reasons = []
    for home in homes:
        view = snapshot.view(home)
        try:
            routing.place(view, model)
        except routing.Unconfigured as error:
            reasons.append(f"leads nowhere: {error.variable} is not set")
        except routing.Unknown:
            is_alias = model in view.aliases
            reasons.append("leads nowhere: it is an alias" if is_alias else "leads nowhere: no provider has it")
        else:
            return ""
    return reasons[0]


def breakers_of(rows: Collection[Alias]) -> dict[str, dict[str, str]]:
    """Return {provider's name: {model: state}} of those whose breaker is not closed in this process: one query."""
    names = {target["model"].partition("/")[0] for row in rows for target in row.targets}
    known = Provider.objects.filter(name__in=names).values_list("name", "provider_id")
    keys = [*known, *((name, f"env:{name}") for name in names)]
    states: dict[str, dict[str, str]] = {}
    for name, key in keys:
        states.setdefault(name, {}).update(health.breakers(key))
    return states


def _health(row: Alias, model: str, found: Mapping[Key, Health]) -> Health:
    """Return how a target has been, in the alias's organization, else in all."""
    name, _, rest = model.partition("/")
    wanted = {(name, rest)} if rest else set()
    matching = (
        one
        for key, one in found.items()
        if (key[1:] in wanted or key[2] == model) and row.organization_id in (None, key[0])
    )
    return sum(matching, Health())


def _state(model: str, breakers: Mapping[str, Mapping[str, str]]) -> str:
    name, _, rest = model.partition("/")
    return breakers.get(name, {}).get(rest, "closed")


def _turn(turn: int, *, has_weights: bool) -> str:
    if not has_weights:
        return "first" if turn == 1 else f"then ({turn})"
    return "if these fail" if turn == 1 else f"then ({turn})"


def _said(one: Health, state: str, tone: str) -> str:
    if state != "closed":
        return "breaker open here" if state == "open" else "breaker: being tried"
    if not one.requests:
        return TONES["gray"]
    middle = f" · {words.ms(one.p50_ms)}" if one.p50_ms is not None else ""
    return f"{words.count(one.requests)} calls · {words.share(one.failed, one.requests)} failed{middle}"
