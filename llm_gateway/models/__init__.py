"""Tables of the gateway: which providers there are, and what aliases mean."""

from llm_gateway.models.alias import Alias
from llm_gateway.models.provider import Provider

__all__ = ["Alias", "Provider"]
