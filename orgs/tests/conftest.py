"""The cast of these tests: Acme, without what its making left in the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from orgs.models import Organization


@pytest.fixture
def acme(acme: Organization) -> Organization:
    from orgs.models import AuditEntry

    AuditEntry.objects.all().delete()
    return acme
