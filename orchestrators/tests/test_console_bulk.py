"""The console's bulk actions, jobs and recommendations: through the rooms, audited, for superadmins only."""

from typing import Any

import pytest
from django.test import Client

from orchestrators import instances, jobs
from orchestrators.messages import inbox
from orchestrators.messages.inbox import Inbound
from orchestrators.models import ConfigVersion, Instance, Job, Message, OverrideVersion, Review
from orgs import organizations
from orgs.models import AuditEntry, User

pytestmark = pytest.mark.django_db
LIST, JOBS = "/admin/orchestrators/instance/", "/admin/orchestrators/job/"
RECOMMENDATIONS = "/admin/orchestrators/recommendation/"


@pytest.fixture
def console(settings: Any, tmp_path: Any) -> Client:
    """A superadmin's browser; o-0 … o-4 of acme, the even ones env=prod."""
    settings.INDEPENDENCE_ENV_FILE = tmp_path / "independence.env"
    settings.INDEPENDENCE_JSON_FILE = tmp_path / "independence.json"
    acme = organizations.create("acme", name="Acme", acting_user=None)
    for number in range(5):
        carried = {"env": "prod"} if number % 2 == 0 else {}
        instances.create(f"o-{number}", organization=acme, acting_user=None, labels=carried)
    return signed_in(User.objects.create_superuser("root"))


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return client


def pk_of(orchestrator_id: str) -> int:
    return int(Instance.objects.get(orchestrator_id=orchestrator_id).pk)


def receive(content: Any) -> int:
    inbox.store([Inbound("o-0", "acme", "r1", "recommendation", content, "h", 1)])
    return int(Message.objects.get(message_id="r1").pk)


def test_the_chosen_rows_are_sent_a_message_by_a_job(console: Client) -> None:
    chosen = {"action": "bulk_message", "_selected_action": [pk_of("o-1"), pk_of("o-2")]}
    asked = console.post(LIST, chosen).content.decode()
    assert "Send a message: 2 orchestrators" in asked
    assert "<code>o-1</code>" in asked
    done = console.post(LIST, chosen | {"apply": "yes", "message_type": "reload", "content": '{"a": 1}'})
    job = Job.objects.get()
    assert (done.status_code, done["Location"]) == (302, f"{JOBS}{job.pk}/change/")
    jobs.drain()
    assert sorted(Message.objects.values_list("orchestrator__orchestrator_id", flat=True)) == ["o-1", "o-2"]
    entry = AuditEntry.objects.get(action="bulk.message")
    assert (entry.actor, (entry.after or {})["orchestrators"]) == ("root", 2)


def test_all_rows_of_the_filter_are_reached_not_only_the_page(console: Client) -> None:
    wish = {"action": "bulk_independence", "select_across": "1", "_selected_action": [pk_of("o-0")], "apply": "yes"}
    console.post(f"{LIST}?labels=env%3Dprod", wish | {"state": "on"})
    jobs.drain()
    found = Instance.objects.filter(is_independent=True).order_by("pk")
    assert list(found.values_list("orchestrator_id", flat=True)) == ["o-0", "o-2", "o-4"]


def test_labels_are_set_for_many_and_mistakes_stand_beside_the_field(console: Client) -> None:
    wish = {"action": "bulk_labels", "_selected_action": [pk_of("o-0")], "apply": "yes"}
    for bad in ({"wanted": "Env=x"}, {"wanted": "", "removed": "A b"}, {"wanted": "", "removed": ""}):
        page = console.post(LIST, wish | bad)
        assert page.status_code == 200
        assert 'class="mo-error"' in page.content.decode()
    assert Job.objects.count() == 0
    console.post(LIST, wish | {"wanted": "tier=1, zone=a", "removed": "env"})
    jobs.drain()
    assert Instance.objects.get(orchestrator_id="o-0").labels == {"tier": "1", "zone": "a"}


def test_the_list_shows_labels_and_filters_by_them(console: Client) -> None:
    page = console.get(LIST).content.decode()
    assert page.count("mo-label-chip") == 3
    assert "?labels=env%3Dprod" in page
    page = console.get(f"{LIST}?labels=env%3Dprod").content.decode()
    assert "o-2" in page
    assert "o-1" not in page
    assert "o-2" not in console.get(f"{LIST}?labels=nonsense").content.decode()


def test_labels_are_edited_on_the_page_as_text(console: Client) -> None:
    path = f"{LIST}{pk_of('o-0')}/change/"
    assert 'value="env=prod"' in console.get(path).content.decode()
    columns = {
        "name": "o-0",
        "labels": "env=test, a=b",
        "features": "{}",
        "session_config": "{}",
        "monitoring_enabled": "on",
    }
    assert console.post(path, columns).status_code == 302
    assert Instance.objects.get(orchestrator_id="o-0").labels == {"env": "test", "a": "b"}
    assert "no label" in console.post(path, columns | {"labels": "env"}).content.decode()


def test_jobs_show_progress_and_can_be_cancelled_once(console: Client) -> None:
    assert "Nothing runs" in console.get(JOBS).content.decode()
    console.post(
        LIST, {"action": "bulk_independence", "_selected_action": [pk_of("o-0")], "apply": "yes", "state": "on"}
    )
    job = Job.objects.get()
    assert 'value="0"' in console.get(f"{JOBS}running/").content.decode()
    assert "Cancel the job" in console.get(f"{JOBS}{job.pk}/change/").content.decode()
    assert "0 of 1" in console.get(f"{JOBS}{job.pk}/progress/").content.decode()
    assert console.get(f"{JOBS}{job.pk}/cancel/").status_code == 405
    console.post(f"{JOBS}{job.pk}/cancel/")
    job.refresh_from_db()
    assert job.status == "cancelled"
    page = console.post(f"{JOBS}{job.pk}/cancel/", follow=True).content.decode()
    assert "cannot be cancelled" in page
    assert "Cancel the job" not in page
    assert console.get(f"{JOBS}999/progress/").status_code == 404


def test_a_recommendation_is_shown_with_what_it_would_change_and_is_read_by_that(console: Client) -> None:
    pk = receive({"text": "<b>bigger</b> cache", "config": {"features": {"cache": 2}}})
    assert "&lt;b&gt;bigger&lt;/b&gt; cache" in console.get(RECOMMENDATIONS).content.decode()
    page = console.get(f"{RECOMMENDATIONS}{pk}/change/").content.decode()
    assert "&quot;cache&quot;: 2" in page
    assert Review.objects.get().status == "read"
    assert "o-0" in console.get(f"{RECOMMENDATIONS}?state=read").content.decode()
    assert console.get(f"{RECOMMENDATIONS}{pk}/accept/decide/").status_code == 405
    console.post(f"{RECOMMENDATIONS}{pk}/accept/decide/", {"target": "orchestrator", "reason": "yes"})
    assert Instance.objects.get(orchestrator_id="o-0").features == {"cache": 2}
    page = console.post(f"{RECOMMENDATIONS}{pk}/dismiss/decide/", follow=True).content.decode()
    assert "was accepted already" in page
    assert "applied to the orchestrator o-0" in page


def test_a_suggestion_that_does_not_fit_is_refused_in_a_sentence(console: Client) -> None:
    pk = receive({"config": {"features": 5}})
    page = console.post(f"{RECOMMENDATIONS}{pk}/accept/decide/", {}, follow=True).content.decode()
    assert "features: must be an object" in page
    assert Review.objects.get().status == "read"


def test_an_accepted_recommendation_shows_what_it_changed_and_leads_to_the_version(console: Client) -> None:
    pk = receive({"title": "A bigger cache", "config": {"features": {"cache": 2}}})
    page = console.get(f"{RECOMMENDATIONS}{pk}/change/").content.decode()
    assert "What it would change" in page
    assert "o-0: A bigger cache" in page.partition("</title>")[0]
    console.post(f"{RECOMMENDATIONS}{pk}/accept/decide/", {"target": "orchestrator"})
    made = OverrideVersion.objects.get(source="recommendation")
    page = console.get(f"{RECOMMENDATIONS}{pk}/change/").content.decode()
    assert "What it changed" in page
    assert "<code>features.cache</code>" in page
    assert f'href="/admin/orchestrators/overrideversion/{made.pk}/change/">version {made.version}</a>' in page


def test_what_changes_a_whole_organization_is_asked_for_first(console: Client) -> None:
    pk = receive({"config": {"llm": {"model": "b"}}})
    asked = console.post(f"{RECOMMENDATIONS}{pk}/accept/decide/", {"reason": "measured"})
    count = Instance.objects.filter(organization="acme").count()
    assert f"Change all {count}<" in asked.content.decode()
    assert ConfigVersion.objects.count() == 0
    sent = {"target": "organization", "reason": "measured", "confirmed": "yes"}
    page = console.post(f"{RECOMMENDATIONS}{pk}/accept/decide/", sent, follow=True).content.decode()
    made = ConfigVersion.objects.get()
    assert f'href="/admin/orchestrators/configversion/{made.pk}/change/">version 1</a>' in page
    assert Review.objects.get().reason == "measured"


def test_a_suggestion_that_cannot_be_accepted_says_so_before(console: Client) -> None:
    pk = receive({"config": {"features": 7}})
    page = console.get(f"{RECOMMENDATIONS}{pk}/change/").content.decode()
    assert "It cannot be accepted for this orchestrator: features" in page
    assert "It cannot be accepted for this organization: features" in page
    assert 'style="color:#fff" disabled>Accept</button>' in page


def test_nobody_else_sees_these_pages(console: Client) -> None:
    pk = receive({"text": "x"})
    console.post(
        LIST, {"action": "bulk_independence", "_selected_action": [pk_of("o-0")], "apply": "yes", "state": "on"}
    )
    job = Job.objects.get()
    stranger = signed_in(User.objects.create_user("staff", is_staff=True))
    for path in (
        JOBS, f"{JOBS}running/", f"{JOBS}{job.pk}/progress/", f"{JOBS}{job.pk}/change/", RECOMMENDATIONS,
        f"{RECOMMENDATIONS}{pk}/change/",
    ):  # fmt: skip
        assert stranger.get(path).status_code in (302, 403, 404), path
    for path in (f"{JOBS}{job.pk}/cancel/", f"{RECOMMENDATIONS}{pk}/accept/decide/"):
        assert stranger.post(path).status_code in (302, 403, 404), path
    job.refresh_from_db()
    assert job.status == "queued"
    assert not Review.objects.exists()


# --- what they have of their own --------------------------------------------------------------------------------------


def test_configuration_is_merged_for_the_chosen_and_mistakes_stand_beside_the_patch(console: Client) -> None:
    wish = {"action": "bulk_configuration", "_selected_action": [pk_of("o-0"), pk_of("o-1")]}
    asked = console.post(LIST, wish).content.decode()
    assert "Change their own configuration: 2 orchestrators" in asked
    wish |= {"apply": "yes", "how": "patch"}
    for bad, words in (
        ("{", "This is not JSON"), ("", "must be an object with any of features"), ('{"llm": {}}', "llm is unknown"),
        ('{"features": 1}', "features must be an object, or null"),
    ):  # fmt: skip
        page = console.post(LIST, wish | {"patch": bad})
        assert page.status_code == 200
        errors = page.context["form"].errors
        assert list(errors) == ["patch"]
        assert words in errors["patch"][0]
        assert 'class="mo-error"' in page.content.decode()
    assert Job.objects.count() == 0
    done = console.post(LIST, wish | {"patch": '{"features": {"beta": true}}', "comment": "try it"})
    assert done["Location"] == f"{JOBS}{Job.objects.get().pk}/change/"
    jobs.drain()
    found = {row.orchestrator_id: row.features for row in Instance.objects.all()}
    assert [found[f"o-{n}"] for n in range(3)] == [{"beta": True}, {"beta": True}, {}]
    console.post(LIST, wish | {"how": "clear", "patch": ""})
    jobs.drain()
    assert not Instance.objects.exclude(features={}).exists()


def test_whom_a_bulk_change_does_not_fit_is_named_on_the_jobs_page(console: Client) -> None:
    acme = organizations.lock("acme")
    acme.settings = {"config_schema": {"properties": {"features": {"maxProperties": 0}}}}
    acme.save()
    wish = {"action": "bulk_configuration", "_selected_action": [pk_of("o-0")], "apply": "yes", "how": "patch"}
    done = console.post(LIST, wish | {"patch": '{"features": {"beta": true}}'})
    jobs.drain()
    page = console.get(done["Location"]).content.decode()
    assert "o-0" in page
    assert "features: " in page
