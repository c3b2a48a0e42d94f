"""Tables of the gateway: providers, aliases and prices; what was called and cost, and what may be spent."""

from llm_gateway.models.alias import Alias
from llm_gateway.models.budget import BudgetLease, BudgetWindow
from llm_gateway.models.caching import CacheRule
from llm_gateway.models.call import Attempt, Call
from llm_gateway.models.journal_cursor import JournalCursor
from llm_gateway.models.price import Price
from llm_gateway.models.provider import Provider
from llm_gateway.models.spending import Spending

__all__ = [
    "Alias", "Attempt", "BudgetLease", "BudgetWindow", "CacheRule", "Call", "JournalCursor", "Price", "Provider",
    "Spending",
]  # fmt: skip
