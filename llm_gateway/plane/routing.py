"""Routing: which providers a call for a model goes to, in which order. Pure but for the dice."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from llm_gateway import hosts
from llm_gateway.plane.breakers import Breakers
from llm_gateway.plane.catalog import Choice, Source, View

# Names that everybody knows, by the dialect of who made them.
FAMILIES: Final = (
    ("openai", re.compile(r"gpt-|chatgpt-|o[1-9](-|$)|text-embedding-(?!004$)|codex-|davinci-|babbage-")),
    ("anthropic", re.compile(r"claude-")),
    ("google", re.compile(r"gemini-|gemma-|text-embedding-004$")),
)
VARIABLES: Final = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GOOGLE_API_KEY",
    "azure": "AZURE_OPENAI_ENDPOINT",
    "ollama": "OLLAMA_BASE_URL",
    "vllm": "VLLM_BASE_URL",
    "echo": "LLM_ECHO_ENABLED=true",
}


MAX_PLACES: Final = 1_000  # that a view remembers


class Unknown(Exception):
    """Nobody here knows the model."""


class DeadEnds(Unknown):
    """None of an alias's targets leads anywhere; `models` are their names."""

    def __init__(self, models: tuple[str, ...]) -> None:
        super().__init__(models)
        self.models = models


class Unconfigured(Exception):
    """The model is known, and its provider is not set up; `variable` is what to set."""

    def __init__(self, variable: str) -> None:
        super().__init__(variable)
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Target:
    """One provider and the name it knows the model by."""

    source: Source
    model: str
    key: tuple[str, str] = field(init=False, compare=False)  # what its breaker is called

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.source.key, self.model))


def find(view: View, model: str, *, provider: str = "", roll: Callable[[], float] = random.random) -> list[Target]:
    """Return where a call for `model` may go, best first: an alias has several places, a model one.

    With a `provider` nobody else is asked. Raises Unknown (DeadEnds for an alias), and Unconfigured when nothing of
    what the name means is set up.
    """
    choices = view.aliases.get(model)
    if choices is None:
        return [place(view, model) if not provider else _at(view, model, provider)]
    found: list[Target] = []
    problem: Exception = DeadEnds(tuple(choice.model for choice in choices))
    for choice in shuffled(choices, roll=roll):
        try:
            found.append(place(view, choice.model))
        except Unconfigured as error:
            problem = error
        except Unknown:
            pass
    if not found:
        raise problem
    if provider:
        found = [target for target in found if target.source.name == provider]
    if not found:
        raise Unknown
    return list(dict.fromkeys(found))


def known(view: View, model: str) -> str:
    """Return a model's name where it leads somewhere or is an alias, "" where it may be any text."""
    try:
        find(view, model)
    except (Unknown, Unconfigured):
        return model if model in view.aliases else ""
    return model


def shuffled(choices: Sequence[Choice], *, roll: Callable[[], float]) -> list[Choice]:
    """Return the choices in the order of one call: those with weights drawn by them, then the others as they stand."""
    left = [choice for choice in choices if choice.weight is not None]
    order = []
    while left:
        point = roll() * sum(choice.weight or 0.0 for choice in left)
        for choice in left:
            point -= choice.weight or 0.0
            if point < 0:
                break
        left.remove(choice)
        order.append(choice)
    return order + [choice for choice in choices if choice.weight is None]


def healthy_first(targets: Sequence[Target], breakers: Breakers) -> list[Target]:
    """Return the targets whose breaker is closed first; the order is otherwise kept."""
    return sorted(targets, key=lambda target: breakers.state(target.key) != "closed")


def place(view: View, model: str) -> Target:
    """Return where a model that is no alias leads; raises Unknown and Unconfigured."""
    found = view.places.get(model)
    if found is None:
        found = _place(view, model)
        if len(view.places) < MAX_PLACES:
            view.places[model] = found
    return found


def _place(view: View, model: str) -> Target:
    prefix, _, rest = model.partition("/")
    if rest and prefix in view.by_name:
        source = view.by_name[prefix]
        if source.has(rest):
            return Target(source, rest)
        raise Unknown
    for source in view.sources:
        if model in source.models:
            return Target(source, model)
    if rest and prefix in VARIABLES:
        raise Unconfigured(VARIABLES[prefix])
    return _of_family(view, model)


def _at(view: View, model: str, provider: str) -> Target:
    """Return the place of a model at one provider, whether its name says the provider or not."""
    prefix, _, rest = model.partition("/")
    if rest and prefix in view.by_name:
        if prefix != provider:
            raise Unknown
        model = rest
    return place(view, f"{provider}/{model}")


def is_own_service(source: Source) -> bool:
    """Whether a provider is its dialect's own service: by its name, or by the host that the owner publishes."""
    if source.is_local or source.dialect not in dict(FAMILIES):
        return False
    if source.name == source.dialect:
        return True
    return hosts.place(source.dialect, source.base_url)[1] == hosts.place(source.dialect, "")[1]


def family(model: str) -> str:
    """Return the dialect of who made a model that everybody knows by its name, else nothing."""
    return next((dialect for dialect, pattern in FAMILIES if pattern.match(model)), "")


def _of_family(view: View, model: str) -> Target:
    dialect = family(model)
    for source in view.sources:
        if dialect and source.dialect == dialect and not source.models and is_own_service(source):
            return Target(source, model)
    if dialect:
        raise Unconfigured(VARIABLES[dialect])
    raise Unknown
