"""The console's pages of the gateway: calls, prompts, playground, providers, prices, aliases, budgets, what is kept."""

from llm_gateway.admin import (
    aliases,
    budgets,
    cache,
    calls,
    guardrails,
    keys,
    policies,
    prices,
    prompts,
    providers,
    refusals,
    workflow_runs,
    workflow_templates,
)

__all__ = [
    "aliases", "budgets", "cache", "calls", "guardrails", "keys", "policies", "prices", "prompts", "providers",
    "refusals", "workflow_runs", "workflow_templates",
]  # fmt: skip
