"""Asking: a prompt with its agent's settings as the body of a chat completion. Nothing in it is a template."""

import json
from collections.abc import Mapping
from typing import Any, Final

from llm_gateway.models import Alias
from llm_gateway.plane import catalog, routing
from moolai.errors import Conflict, InvalidInput, NotFound
from orchestrators.models import Agent
from orgs.models import Organization

Document = dict[str, Any]
DEFAULT_ALIAS: Final = "default"
# What a model takes of an agent's parameters; others are the agent's own, for whoever does its tasks.
PARAMETERS: Final = frozenset(
    {
        "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty",
        "frequency_penalty", "reasoning_effort", "response_format", "verbosity",
    }
)  # fmt: skip
LIMITS: Final = ("max_tokens", "max_completion_tokens")
ROLES: Final = ("system", "user", "assistant")


def document(organization: Organization, wish: Mapping[str, Any]) -> Document:
    """Return what is asked, whole: `prompt`, `context`, `model`, `agent_id`, `system`, `parameters`.

    `wish` is the body of `POST …/prompts`. What it says of the model and its parameters goes before what its agent
    says. Raises `not_found` for an unknown agent, `conflict` for an inactive one, and `invalid_field` where nobody
    names a model.
    """
    agent = _agent(organization, wish.get("agent_id", ""))
    parameters = {name: value for name, value in (agent.parameters if agent else {}).items() if name in PARAMETERS}
    own = {name: wish[name] for name in ("temperature", "max_tokens") if wish.get(name) is not None}
    if "max_tokens" in own:
        parameters = {name: value for name, value in parameters.items() if name not in LIMITS}
    return {
        "prompt": wish["prompt"],
        "context": wish.get("context"),
        "model": wish.get("model") or (agent.model if agent else "") or _default(organization),
        "agent_id": agent.agent_id if agent else "",
        "system": agent.system_prompt if agent else "",
        "parameters": parameters | own,
    }


def known(organization: Organization, model: str) -> str:
    """Return a model's name where it leads somewhere now, "" where it may be any text (blocking: reads the catalog)."""
    return routing.known(catalog.read_routes().view(organization.pk), model)


def _agent(organization: Organization, agent_id: str) -> Agent | None:
    if not agent_id:
        return None
    row = Agent.objects.filter(organization=organization, agent_id=agent_id).first()
    if row is None:
        raise NotFound(detail="There is no such agent here.")
    if row.status != Agent.Status.ACTIVE:
        raise Conflict(detail="The agent is inactive.")
    return row


def _default(organization: Organization) -> str:
    """Return the model of who names none: the alias `default`, else the provider that answers by itself."""
    rows = Alias.objects.filter(alias=DEFAULT_ALIAS)
    if (rows.filter(organization=organization) | rows.filter(organization=None)).exists():
        return DEFAULT_ALIAS
    if any(source.name == catalog.ECHO for source in catalog.environment()):
        return f"{catalog.ECHO}/{catalog.ECHO}"
    text = f"Name a model, or an agent that has one, or make an alias `{DEFAULT_ALIAS}`."
    raise InvalidInput(detail=text, fields={"model": text})


def body(asked: Document, *, is_stream: bool) -> Document:
    """Return the chat completion that asks for it."""
    system = [{"role": "system", "content": asked["system"]}] if asked["system"] else []
    messages = [*system, *_context(asked["context"]), {"role": "user", "content": asked["prompt"]}]
    stream = {"stream": True, "stream_options": {"include_usage": True}} if is_stream else {}
    return {**asked["parameters"], "model": asked["model"], "messages": messages, **stream}


def _context(context: Any) -> list[Document]:
    """Return what was said before: turns as they are, anything else as one message before the prompt."""
    if context in (None, "", [], {}):
        return []
    if isinstance(context, list) and all(map(_is_turn, context)):
        return [{"role": turn["role"], "content": turn["content"]} for turn in context]
    text = context if isinstance(context, str) else json.dumps(context, ensure_ascii=False)
    return [{"role": "user", "content": f"Context:\n{text}"}]


def _is_turn(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and value["role"] in ROLES
        and isinstance(value["content"], str)
    )
