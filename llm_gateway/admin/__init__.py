"""The console's pages of the gateway: calls, playground, providers, models and prices, aliases, budgets, privacy."""

from llm_gateway.admin import aliases, budgets, cache, calls, guardrails, keys, policies, prices, providers

__all__ = ["aliases", "budgets", "cache", "calls", "guardrails", "keys", "policies", "prices", "providers"]
