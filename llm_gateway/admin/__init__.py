"""The console's pages of the gateway: calls, the playground, providers, models and prices, aliases, and budgets."""

from llm_gateway.admin import aliases, budgets, cache, calls, guardrails, prices, providers

__all__ = ["aliases", "budgets", "cache", "calls", "guardrails", "prices", "providers"]
