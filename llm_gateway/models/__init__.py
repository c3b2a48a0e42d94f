"""Tables of the gateway: what was called and cost, what may be spent, and prices of one's own."""

from llm_gateway.models.budget import BudgetLease, BudgetWindow
from llm_gateway.models.call import Attempt, Call
from llm_gateway.models.journal_cursor import JournalCursor
from llm_gateway.models.price import Price
from llm_gateway.models.spending import Spending

__all__ = ["Attempt", "BudgetLease", "BudgetWindow", "Call", "JournalCursor", "Price", "Spending"]
