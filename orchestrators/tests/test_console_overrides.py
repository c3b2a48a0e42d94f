"""What an orchestrator has of its own, in the console: checked beside its fields, its versions, the way back."""

from typing import Any

import pytest
from django.test import Client

from orchestrators import instances
from orchestrators.models import Instance, OverrideVersion
from orgs import organizations
from orgs.models import User

pytestmark = [pytest.mark.once, pytest.mark.django_db]
LIST, VERSIONS = "/admin/orchestrators/instance/", "/admin/orchestrators/overrideversion/"
SCHEMA = {"properties": {"features": {"properties": {"mode": {"enum": ["fast", "safe"]}}}, "llm": False}}


@pytest.fixture
def console() -> Client:
    """A superadmin's browser, and o-1 of acme, which has a schema; its own part has two versions."""
    acme = organizations.create("acme", name="Acme", acting_user=None, settings={"config_schema": SCHEMA})
    row = instances.create("o-1", organization=acme, acting_user=None, features={"mode": "fast"})
    instances.update(row, acting_user=None, features={"mode": "safe"})
    client = Client()
    client.force_login(User.objects.create_superuser("root"), "django.contrib.auth.backends.ModelBackend")
    return client


def one() -> Instance:
    return Instance.objects.get()


def page() -> str:
    return f"{LIST}{one().pk}/change/"


def columns(**changes: Any) -> dict[str, Any]:
    usual = {"name": "o-1", "features": '{"mode": "safe"}', "session_config": "{}", "monitoring_enabled": "on"}
    return {**usual, **changes}


def errors(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    return dict(answer.context["adminform"].form.errors)


def test_what_does_not_fit_stands_beside_its_field_and_the_text_is_kept(console: Client) -> None:
    answer = console.post(page(), columns(features='{"mode": "slow"}'))
    assert errors(answer) == {"features": ["features.mode: 'slow' is not one of ['fast', 'safe']"]}
    assert "&quot;slow&quot;" in answer.content.decode()
    assert one().features == {"mode": "safe"}
    add = {"orchestrator_id": "o-2", "organization": "acme", **columns(features='{"mode": "slow"}')}
    assert list(errors(console.post(f"{LIST}add/", add))) == ["features"]
    assert Instance.objects.count() == 1


def test_what_did_not_fit_before_does_not_keep_other_columns_from_changing(console: Client) -> None:
    Instance.objects.update(features={"mode": "ancient"})
    assert console.post(page(), columns(name="Other", features='{"mode": "ancient"}')).status_code == 302
    assert one().name == "Other"


def test_what_somebody_else_wrote_meanwhile_is_not_covered(console: Client) -> None:
    seen = console.get(page()).context["adminform"].form["seen"].value()
    assert seen == 2
    instances.update(one(), acting_user=None, features={"mode": "fast", "theirs": 1})
    answer = console.post(page(), columns(seen=seen, features='{"mode": "fast"}'))
    assert "version 3" in errors(answer)["features"][0]
    assert one().features == {"mode": "fast", "theirs": 1}
    assert console.post(page(), columns(seen=3, features='{"mode": "fast"}')).status_code == 302


def test_the_page_leads_to_its_versions(console: Client) -> None:
    text = console.get(page()).content.decode()
    assert f'href="{VERSIONS}?q=o-1"' in text
    assert "version 2, edit" in text
    listed = console.get(f"{VERSIONS}?q=o-1").content.decode()
    assert "Version 1" in listed
    assert "Version 2" in listed


def test_a_version_shows_its_difference_and_goes_back_after_a_question(console: Client) -> None:
    first, second = OverrideVersion.objects.order_by("version")
    text = console.get(f"{VERSIONS}{second.pk}/change/").content.decode()
    assert "features.mode" in text
    assert "Roll back to this" not in text
    assert "Roll back to this" in console.get(f"{VERSIONS}{first.pk}/change/").content.decode()
    asked = console.get(f"{VERSIONS}{first.pk}/rollback/").content.decode()
    assert "Now it has version 2" in asked
    assert one().features == {"mode": "safe"}
    done = console.post(f"{VERSIONS}{first.pk}/rollback/")
    assert done["Location"] == page()
    assert one().features == {"mode": "fast"}
    newest = OverrideVersion.objects.latest("version")
    assert (newest.version, newest.source, newest.author) == (3, "rollback", "root")
    assert console.get(f"{VERSIONS}999/rollback/").status_code == 404


def test_a_way_back_that_does_not_fit_any_more_is_refused_with_its_place(console: Client) -> None:
    acme = organizations.lock("acme")
    acme.settings = {"config_schema": {"properties": {"features": {"properties": {"mode": {"const": "safe"}}}}}}
    acme.save()
    first = OverrideVersion.objects.get(version=1)
    told = console.post(f"{VERSIONS}{first.pk}/rollback/", follow=True).content.decode()
    assert "features.mode" in told
    assert one().features == {"mode": "safe"}


def test_of_a_deleted_orchestrator_nothing_is_rolled_back(console: Client) -> None:
    first = OverrideVersion.objects.get(version=1)
    instances.delete(one(), acting_user=None)
    assert "Roll back to this" not in console.get(f"{VERSIONS}{first.pk}/change/").content.decode()
    console.post(f"{VERSIONS}{first.pk}/rollback/")
    assert one().features == {"mode": "safe"}
