"""Names in the document: paths as people write them, operation ids that stay, and the tag of an area."""

import re
from collections.abc import Mapping
from typing import Final

from orgs.operations import Operation, Shape

PREFIX: Final = "/api/v1/"
OWN: Final = "/api/v1/orchestrators/{organization_id}"
# The word a path is about → its tag; any other word is its own tag.
TAGS: Final[Mapping[str, str]] = {
    "auth": "Signing in",
    "api-keys": "API keys",
    "overview": "Analytics",
    "costs": "Analytics",
    "performance": "Analytics",
    "insights": "Analytics",
    "query": "Analytics",
    "export": "Analytics",
    "analytics": "Analytics",
    "system": "Monitoring",
    "stream": "Monitoring",
    "metrics": "Monitoring",
    "llm": "Gateway",
    "providers": "Gateway",
    "aliases": "Gateway",
    "prices": "Gateway",
    "schema": "This document",
}
VERBS: Final = {"GET": "retrieve", "POST": "create", "PUT": "update", "PATCH": "partial_update", "DELETE": "destroy"}


def written(path: str) -> str:
    """Return the path with its last identifier called `{id}` (`{org}` for an organization's metrics)."""
    match = re.search(r"\{(\w+_id|pk)\}(?!.*\{)", path)
    if match is None or match[1] == "job_id" or path[: match.end()] == OWN:
        return path
    name = "org" if path[: match.start()].endswith("/organization/") else "id"
    return f"{path[: match.start()]}{{{name}}}{path[match.end() :]}"


def operation_id(path: str, method: str, operation: Operation) -> str:
    """Return the name a generated client gives the call, such as `orchestrators_list` or `api_keys_rotate`."""
    words = [word.replace("-", "_") for word in _words(path)]
    if path.startswith(OWN):
        words.insert(0, "organization")
    return "_".join([*words, *_verb(path, method, operation)])


def tag(path: str) -> str:
    """Return the area a path belongs to."""
    word = next((word for word in _words(path) if word not in ("controller", "internal")), "api")
    return TAGS.get(word, word.replace("-", " ").capitalize())


def _words(path: str) -> list[str]:
    """Return what a path is about: no identifiers, no version, and no area where the rest says enough."""
    rest = path.removeprefix(OWN).removeprefix(PREFIX).removeprefix("/api/").removeprefix("/v1/")
    words = [word for word in rest.split("/") if word and not word.startswith("{")]
    has_area = words[:1] in (["controller"], ["internal"]) and words[1:] != ["health"]
    return words[1:] if has_area else words


def _verb(path: str, method: str, operation: Operation) -> list[str]:
    """Return the verb, unless the path ends in one (login, rotate, register, deregister …)."""
    if operation.shape is Shape.PAGE:
        return ["list"]
    is_action = method == "POST" and operation.status not in (201, 202)
    is_action |= method == "DELETE" and operation.status != 204
    return [] if is_action and not path.endswith("}") else [VERBS[method]]
