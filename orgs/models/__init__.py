"""Tables of the organizations' room: who exists, who may do what, what happened."""

from orgs.models.allowed_network import AllowedNetwork
from orgs.models.api_key import ApiKey
from orgs.models.audit import AuditEntry, AuditHead
from orgs.models.counter import Counter
from orgs.models.event import Event
from orgs.models.idempotency import IdempotencyKey
from orgs.models.lease import Lease
from orgs.models.organization import Organization
from orgs.models.refresh_token import RefreshToken
from orgs.models.spending_limit import SpendingLimit
from orgs.models.user import Membership, Role, User

__all__ = [
    "AllowedNetwork",
    "ApiKey",
    "AuditEntry",
    "AuditHead",
    "Counter",
    "Event",
    "IdempotencyKey",
    "Lease",
    "Membership",
    "Organization",
    "RefreshToken",
    "Role",
    "SpendingLimit",
    "User",
]
