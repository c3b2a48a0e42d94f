"""Who sits at the console in these tests: Root, a superadmin. The models are loaded by the time a fixture runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.test import Client

    from orgs.models import Organization, User


@pytest.fixture
def root(db: None) -> User:
    from orgs.models import User
    from orgs.tests.desk import PASSWORD

    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def console(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


@pytest.fixture
def acme(db: None) -> Organization:
    from orgs import organizations
    from orgs.models import AuditEntry

    organization = organizations.create("acme", name="Acme", acting_user=None)
    AuditEntry.objects.all().delete()
    return organization
