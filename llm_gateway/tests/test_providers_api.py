"""Providers and aliases over REST: keys go in and never come out, are bound to their host, and reach no inside."""

from typing import Any

import pytest

from llm_gateway.models import Alias, Provider
from orgs import networks, sealed
from orgs.models import AuditEntry, Organization
from orgs.tests import cast as casts
from orgs.tests.cast import Cast

pytestmark = [pytest.mark.once, pytest.mark.django_db]
OWN = "/api/v1/orchestrators/org-001/providers"
ALIASES = "/api/v1/orchestrators/org-001/aliases"
KEY = "sk-proj-0123456789abcdef-WXYZ"
PUBLIC = "https://93.184.215.14/v1"
# RELIABILITY R22: what nobody may have the gateway call
INSIDE = [
    "http://169.254.169.254/latest", "http://2130706433/", "http://[::ffff:127.0.0.1]/", "http://a@127.0.0.1/",
    "file:///etc/passwd", "gopher://127.0.0.1/", "http://100.64.0.1/", "http://[64:ff9b::a9fe:a9fe]/",
    "http://127.0.0.1:11434/v1", "http://localhost/v1", "http://10.0.0.5/v1", "https://93.184.215.14:8443/v1",
]  # fmt: skip


@pytest.fixture
def cast(settings: Any) -> Cast:
    return casts.make(settings)


def made(cast: Cast, **fields: Any) -> dict[str, Any]:
    """Make a provider and return it."""
    body = {"name": "ours", "dialect": "openai", "base_url": PUBLIC, "api_key": KEY, **fields}
    status, answer = told(cast.alice.call("post", OWN, body))
    assert status == 201, answer
    return dict(answer["data"])


def told(answer: Any) -> tuple[int, Any]:
    """Return status and JSON."""
    return answer.status_code, answer.json() if answer.content else None


def test_a_key_is_sealed_masked_and_in_no_audit_row(cast: Cast) -> None:
    provider = made(cast, models=["small"], priority=3)
    assert provider["api_key"] == "***WXYZ"
    row = Provider.objects.get(provider_id=provider["provider_id"])
    assert KEY not in row.api_key
    assert sealed.read(row, "api_key") == KEY
    assert KEY not in str(list(AuditEntry.objects.values_list("before", "after")))
    assert KEY not in cast.alice.get(OWN).content.decode() + cast.alice.get(f"{OWN}/{row.provider_id}").content.decode()


def test_another_host_clears_the_key_unless_it_is_entered_again(cast: Cast) -> None:
    path = f"{OWN}/{made(cast)['provider_id']}"
    assert (
        told(cast.alice.call("patch", path, {"base_url": "https://93.184.215.14/v2"}))[1]["data"]["api_key"]
        == "***WXYZ"
    )
    assert told(cast.alice.call("patch", path, {"base_url": "https://93.184.215.15/v1"}))[1]["data"]["api_key"] == ""
    moved = told(cast.alice.call("patch", path, {"base_url": PUBLIC, "api_key": "sk-another-key-0123"}))
    assert moved[1]["data"]["api_key"] == "***0123"
    sent_back = told(cast.alice.call("put", path, {"base_url": PUBLIC, "api_key": "***0123", "priority": 1}))
    assert (sent_back[0], sent_back[1]["data"]["api_key"]) == (200, "***0123")
    stolen = told(cast.alice.call("patch", path, {"base_url": "https://93.184.215.99/v1", "api_key": "***0123"}))
    assert stolen[0] == 400
    assert told(cast.alice.call("patch", path, {"dialect": "anthropic", "base_url": ""}))[1]["data"]["api_key"] == ""


@pytest.mark.parametrize("url", INSIDE)
def test_what_lies_inside_is_refused_at_save(cast: Cast, url: str) -> None:
    body = {"name": "inside", "dialect": "openai", "base_url": url}
    status, answer = told(cast.alice.call("post", OWN, body))
    assert (status, answer["error"]) == (400, "destination_not_allowed")
    path = f"{OWN}/{made(cast)['provider_id']}"
    assert told(cast.alice.call("patch", path, {"base_url": url}))[1]["error"] == "destination_not_allowed"


def test_an_allowed_network_may_be_entered_and_is_checked_again_when_it_is_called(cast: Cast) -> None:
    allowed = networks.allow(Organization.objects.get(pk="org-001"), "10.0.0.0/8", acting_user=None)
    provider = made(cast, base_url="http://10.0.0.5:11434/v1", models=["llama3"])
    networks.refuse(allowed, acting_user=None)
    status, answer = told(cast.alice.call("post", f"{OWN}/{provider['provider_id']}/test", {}))
    assert (status, answer["data"]["is_working"]) == (200, False)
    assert answer["data"]["error"] == "The provider's address cannot be called."


def test_only_a_superadmin_says_that_a_provider_costs_nothing(cast: Cast) -> None:
    body = {"name": "free", "dialect": "openai", "base_url": PUBLIC, "is_local": True}
    assert told(cast.alice.call("post", OWN, body))[0] == 403
    made_by_root = told(cast.root.call("post", OWN, body))
    assert (made_by_root[0], made_by_root[1]["data"]["is_local"]) == (201, True)
    path = f"{OWN}/{made_by_root[1]['data']['provider_id']}"
    assert told(cast.alice.call("patch", path, {"priority": 2}))[1]["data"]["is_local"] is True
    elsewhere = told(cast.alice.call("patch", path, {"base_url": "https://93.184.215.77/v1"}))
    assert elsewhere[1]["data"]["is_local"] is False


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": "Has Spaces"}, "name"),
        ({"name": "echo"}, "name"),
        ({"dialect": "klingon"}, "dialect"),
        ({"api_key": "two words"}, "api_key"),
        ({"api_key": "line\nbreak"}, "api_key"),
        ({"models": ["a b"]}, "models"),
        ({"base_url": f"{PUBLIC}?key=1"}, "base_url"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_cannot_be_meant_is_refused(cast: Cast, fields: dict[str, Any], name: str) -> None:
    status, answer = told(cast.alice.call("post", OWN, {"name": "x", "dialect": "openai", **fields}))
    assert status == 400
    assert name in answer["fields"]


def test_a_name_is_taken_once_per_organization_and_once_for_all(cast: Cast) -> None:
    made(cast)
    assert told(cast.alice.call("post", OWN, {"name": "ours", "dialect": "openai"}))[0] == 409
    for status in (201, 409):
        assert told(cast.root.call("post", "/api/v1/llm/providers", {"name": "ours", "dialect": "google"}))[0] == status


def test_a_provider_that_answers_by_itself_passes_its_test(cast: Cast) -> None:
    provider = told(cast.alice.call("post", OWN, {"name": "self", "dialect": "echo"}))[1]["data"]
    answer = told(cast.alice.call("post", f"{OWN}/{provider['provider_id']}/test", {}))[1]["data"]
    assert (answer["is_working"], answer["model"], answer["error"]) == (True, "echo", "")
    assert AuditEntry.objects.filter(action="provider.test").count() == 1


def test_aliases_are_made_changed_and_deleted(cast: Cast) -> None:
    targets = [{"model": "openai/gpt-4o", "weight": 3}, {"model": "ours/small"}]
    alias = told(cast.alice.call("post", ALIASES, {"alias": "fast", "targets": targets}))[1]["data"]
    assert alias["targets"] == targets
    path = f"{ALIASES}/{alias['alias_id']}"
    assert told(cast.alice.call("post", ALIASES, {"alias": "fast", "targets": targets}))[0] == 409
    assert told(cast.alice.call("patch", path, {"targets": [{"model": "x"}]}))[1]["data"]["targets"] == [{"model": "x"}]
    assert cast.alice.call("delete", path).status_code == 204
    assert not Alias.objects.exists()
    actions = AuditEntry.objects.filter(action__startswith="alias.").order_by("id").values_list("action", flat=True)
    assert list(actions) == ["alias.create", "alias.update", "alias.delete"]


@pytest.mark.parametrize(
    "targets",
    [[], [{}], [{"model": ""}], [{"model": "a b"}], [{"model": "x", "weight": 0}], [{"model": "x", "base_url": "y"}],
     [{"model": "fast"}], [{"model": "x"}] * 17, "x"],
)  # fmt: skip
def test_targets_that_cannot_be_meant_are_refused(cast: Cast, targets: Any) -> None:
    assert told(cast.alice.call("post", ALIASES, {"alias": "fast", "targets": targets}))[0] == 400


def test_an_alias_leads_to_no_alias_whichever_is_made_first(cast: Cast) -> None:
    """A provider may come later; an alias would never be asked."""
    root = "/api/v1/llm/aliases"
    made_first = told(cast.alice.call("post", ALIASES, {"alias": "fast", "targets": [{"model": "later/small"}]}))
    assert made_first[0] == 201
    assert told(cast.root.call("post", root, {"alias": "all", "targets": [{"model": "fast"}]}))[0] == 201
    for name in ("fast", "all"):
        body = {"alias": "slow", "targets": [{"model": "x"}, {"model": name}]}
        status, answer = told(cast.alice.call("post", ALIASES, body))
        assert (status, answer["error"], list(answer["fields"])) == (400, "invalid_field", ["targets.1"])
    assert told(cast.alice.call("post", ALIASES, {"alias": "slow", "targets": [{"model": "gpt-4o"}]}))[0] == 201
    status, answer = told(cast.alice.call("post", ALIASES, {"alias": "gpt-4o", "targets": [{"model": "azure/x"}]}))
    assert (status, answer["fields"]) == (400, {"alias": "The alias slow leads to a model of this name."})
    path = f"{ALIASES}/{made_first[1]['data']['alias_id']}"
    assert told(cast.alice.call("patch", path, {"alias": "gpt-4o"}))[0] == 400
    assert told(cast.alice.call("patch", path, {"targets": [{"model": "slow"}]}))[0] == 400
    assert told(cast.alice.call("patch", path, {"targets": [{"model": "x"}]}))[0] == 200
