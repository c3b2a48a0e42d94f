"""The console's pages of the gateway: providers, calls, and the playground."""

from llm_gateway.admin import calls, providers

__all__ = ["calls", "providers"]
