"""The console's pages of the gateway: calls, playground, providers, models, prices, aliases, budgets, what is kept."""

from llm_gateway.admin import aliases, budgets, cache, calls, guardrails, keys, policies, prices, providers

__all__ = ["aliases", "budgets", "cache", "calls", "guardrails", "keys", "policies", "prices", "providers"]
