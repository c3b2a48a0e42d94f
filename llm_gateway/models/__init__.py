"""Tables of the gateway: providers, aliases, prices; what was called and cost; what may be spent, and what is kept."""

from llm_gateway.models.alias import Alias
from llm_gateway.models.budget import BudgetLease, BudgetWindow
from llm_gateway.models.caching import CacheRule
from llm_gateway.models.call import Attempt, Call
from llm_gateway.models.content import CallContent
from llm_gateway.models.guardrail import Guardrails
from llm_gateway.models.journal_cursor import JournalCursor
from llm_gateway.models.policy import GatewayPolicy
from llm_gateway.models.price import Price
from llm_gateway.models.prompt import Prompt, PromptContent
from llm_gateway.models.provider import Provider
from llm_gateway.models.refusal import Refusal
from llm_gateway.models.spending import Spending
from llm_gateway.models.workflow import WorkflowCall, WorkflowContent, WorkflowRun, WorkflowStep, WorkflowTemplate

__all__ = [
    "Alias", "Attempt", "BudgetLease", "BudgetWindow", "CacheRule", "Call", "CallContent", "GatewayPolicy",
    "Guardrails", "JournalCursor", "Price", "Prompt", "PromptContent", "Provider", "Refusal", "Spending",
    "WorkflowCall", "WorkflowContent", "WorkflowRun", "WorkflowStep", "WorkflowTemplate",
]  # fmt: skip
