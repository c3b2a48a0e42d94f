"""Models: which one a step asks where nobody names one."""

from typing import Final

from django.conf import settings

from llm_gateway.plane import catalog
from llm_gateway.plane.catalog import ECHO, Source

ALIAS: Final = "default"  # an alias of this name comes before all that is set up
EMBEDDING_ALIAS: Final = "embeddings"
CHAT: Final = {"openai": "gpt-4o-mini", "anthropic": "claude-3-5-haiku-latest", "google": "gemini-2.0-flash"}
EMBEDDINGS: Final = {"openai": "text-embedding-3-small", "google": "gemini-embedding-001"}


def default(organization_id: str, *, is_embedding: bool = False) -> str:
    """Return the model for an organization's steps, "" where none is set up (blocking).

    The installation's (`LLM_DEFAULT_MODEL`, `LLM_DEFAULT_EMBEDDING_MODEL`), an alias `default` or `embeddings`, else
    of the first provider: a model that it names, or one that its kind of provider has.
    """
    chosen = settings.LLM_DEFAULT_EMBEDDING_MODEL if is_embedding else settings.LLM_DEFAULT_MODEL
    if chosen:
        return str(chosen)
    view = catalog.read().view(organization_id)
    alias = EMBEDDING_ALIAS if is_embedding else ALIAS
    if alias in view.aliases:
        return alias
    sources = [source for source in view.sources if source.dialect != ECHO]
    return next((f"{source.name}/{model}" for source in sources if (model := _of(source, is_embedding))), "")


def _of(source: Source, is_embedding: bool) -> str:
    """Return a model of a provider, "" where it has none of the kind."""
    fitting = sorted(name for name in source.models if ("embed" in name) is is_embedding)
    if source.models or source.is_local:
        return fitting[0] if fitting else ""
    return (EMBEDDINGS if is_embedding else CHAT).get(source.dialect, "")
