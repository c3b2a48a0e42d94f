"""The gateway's data plane in OpenAPI, by hand: it is served beside Django; bodies are OpenAI's and Anthropic's."""

from typing import Any, Final

from moolai.openapi.answers import LIMITS

Part = dict[str, Any]
TEXT: Final[Part] = {"type": "string"}
MAYBE: Final[Part] = {"type": ["string", "null"]}
OPEN: Final[Part] = {"type": "object", "additionalProperties": True}
OPENAI: Final = "OpenAI's API reference"
ANTHROPIC: Final = "Anthropic's API reference"
OPENAI_ERROR: Final[Part] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": TEXT, "type": TEXT, "param": MAYBE, "code": MAYBE,
            },
        }
    },
}  # fmt: skip
ANTHROPIC_ERROR: Final[Part] = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"type": "string", "const": "error"},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": TEXT, "message": TEXT}},
    },
}
OWN_ERROR: Final[Part] = {"$ref": "#/components/schemas/Error"}
HEADERS: Final[Part] = {
    "X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"},
    **{name: {"$ref": f"#/components/headers/{name}"} for name in LIMITS},  # where a limit per minute holds
    "x-moolai-cost-usd": {"description": "What the call cost; a stream does not know it yet.", "schema": TEXT},
    "x-moolai-provider": {"description": "Who answered.", "schema": TEXT},
    "x-moolai-cached": {"description": "Whether the answer came from the cache.", "schema": TEXT},
}  # fmt: skip
ORGANIZATION: Final[Part] = {
    "name": "X-Organization-Id",
    "in": "header",
    "required": False,
    "description": "For which of the caller's organizations; `OpenAI-Organization` means the same.",
    "schema": TEXT,
}

_WISHES: Final = {
    "x-moolai-provider": "The only provider to ask, by its name.",
    "x-moolai-fallbacks": "The models to ask in place of an alias's own when the first fails, with commas.",
    "x-moolai-no-fallback": "`true`: nobody else is asked when the first fails.",
    "x-moolai-timeout": "How many seconds the call may take, at most as many as here is usual.",
    "x-moolai-retries": "How often a provider is asked again, at most as often as here is usual.",
    "x-moolai-stream-cost": "`true`: a stream tells its cost in a comment before its end mark.",
}
WISHES: Final[list[Part]] = [
    {"name": name, "in": "header", "required": False, "description": text, "schema": TEXT}
    for name, text in _WISHES.items()
]


def _call(
    operation_id: str,
    summary: str,
    *,
    error: Part = OPENAI_ERROR,
    fields: tuple[str, ...] = (),
    is_stream: bool = False,
) -> Part:
    """Return the description of one call; with `fields`, the body's required ones, it is a POST."""
    good: Part = {"application/json": {"schema": OPEN}}
    if is_stream:
        good["text/event-stream"] = {"schema": {"type": "string"}}
    parameters = [ORGANIZATION, *(WISHES if fields else [])]
    if operation_id.endswith("_retrieve"):
        parameters = [{"name": "id", "in": "path", "required": True, "schema": TEXT}, ORGANIZATION]
    found: Part = {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["Gateway"],
        "parameters": parameters,
        "responses": {
            "200": {"description": "The answer.", "headers": HEADERS, "content": good},
            "default": {"description": "A refusal.", "content": {"application/json": {"schema": error}}},
        },
    }
    if not fields:
        return {"get": found}
    body = {**OPEN, "required": list(fields), "properties": {name: {} for name in fields}}
    return {"post": found | {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}}


PATHS: Final[dict[str, Part]] = {
    "/v1/chat/completions": _call(
        "chat_completions", f"Chat with a model ({OPENAI})", fields=("model", "messages"), is_stream=True
    ),
    "/v1/completions": _call(
        "completions", f"Complete a text ({OPENAI})", fields=("model", "prompt"), is_stream=True
    ),
    "/v1/embeddings": _call("embeddings", f"Turn texts into vectors ({OPENAI})", fields=("model", "input")),
    "/v1/responses": _call("responses", f"Have a model respond ({OPENAI})", fields=("model", "input"), is_stream=True),
    "/v1/messages": _call(
        "messages_of_a_model",
        f"Have a model answer messages ({ANTHROPIC})",
        error=ANTHROPIC_ERROR,
        fields=("model", "messages", "max_tokens"),
        is_stream=True,
    ),
    "/v1/models": _call("models_list", "List the aliases, and the models that providers name"),
    "/v1/models/{id}": _call("models_retrieve", "Return one of them"),
    "/api/v1/llm/chat": _call(
        "llm_chat",
        "Chat with a model; the answer, its cost and its provider in the envelope",
        error=OWN_ERROR,
        fields=("model", "messages"),
    ),
    "/api/v1/llm/models": _call("llm_models", "List the aliases, and the models that providers name", error=OWN_ERROR),
    "/api/v1/llm/health": _call("llm_health", "Tell how the providers are that one may call", error=OWN_ERROR),
}  # fmt: skip
