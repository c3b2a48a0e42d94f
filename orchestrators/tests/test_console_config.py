"""The console's pages of configuration: the editor, versions with differences, rollouts; and what they refuse."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from orchestrators import configuration, instances
from orchestrators.admin.json_lines import line_of, lines
from orchestrators.configuration import progress, rollouts, statuses
from orchestrators.models import ConfigVersion, Instance, Rollout
from orgs import organizations
from orgs.models import AuditEntry, Organization, User

pytestmark = pytest.mark.django_db
EDITOR = "/admin/orgs/organization/acme/configuration/"
VERSIONS, ROLLOUTS = "/admin/orchestrators/configversion/", "/admin/orchestrators/rollout/"


@pytest.fixture
def acme() -> Organization:
    row = organizations.create("acme", name="Acme", acting_user=None, settings={})
    for number in range(4):
        instances.create(f"acme-{number}", organization=row, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True, node="n")
    return row


def fresh(acme: Organization) -> Organization:
    return Organization.objects.get(pk=acme.pk)


def publish(acme: Organization, document: dict[str, Any], comment: str = "") -> ConfigVersion:
    return configuration.publish(acme, document, acting_user=None, comment=comment)


def begin(acme: Organization, document: dict[str, Any], wanted: Any = None) -> Rollout:
    return rollouts.start(acme, document, wanted=wanted or [{"percent": 50}], acting_user=None)


def report(rollout: Rollout, status: str, *, number: int, error: str = "") -> None:
    rows = Instance.objects.filter(config_rollout=rollout, config_status="pending").order_by("pk")[:number]
    reports = [
        configuration.Report(row.pk, row.orchestrator_id, row.organization_id, row.config_hash, status, error)
        for row in rows
    ]
    statuses.store(reports)


def edit(console: Client, document: Any, **more: Any) -> Any:
    text = document if isinstance(document, str) else json.dumps(document)
    return console.post(EDITOR, {"document": text, "seen": "0", "how": "now", "comment": "", **more})


def text_of(console: Client, url: str) -> str:
    answer = console.get(url)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def said(answer: Any) -> str:
    return str(answer.content.decode().replace("&quot;", '"').replace("&#x27;", "'"))


# --- the editor -----------------------------------------------------------------------------------------------------


def test_the_organization_leads_to_an_editor_with_the_current_document(console: Client, acme: Organization) -> None:
    page = text_of(console, "/admin/orgs/organization/acme/change/")
    assert EDITOR in page
    assert "Nobody has published a configuration yet" in page
    publish(acme, {"llm": {"model": "m-7"}}, comment="the first")
    assert "Version 1: the first" in text_of(console, "/admin/orgs/organization/acme/change/")
    answer = console.get(EDITOR)
    assert json.loads(answer.context["form"]["document"].value()) == {"llm": {"model": "m-7"}}
    assert answer.context["form"]["seen"].value() == 1


def test_what_is_published_is_written_by_the_room_with_one_audit_row(console: Client, acme: Organization) -> None:
    AuditEntry.objects.all().delete()
    answer = edit(console, {"llm": {"model": "m"}}, comment="why not")
    row = ConfigVersion.objects.get()
    assert (row.version, row.document, row.comment, row.author) == (1, {"llm": {"model": "m"}}, "why not", "root")
    assert AuditEntry.objects.get().action == "config.publish"
    assert answer["Location"] == f"{ROLLOUTS}{Rollout.objects.get().pk}/change/"


def test_the_same_content_again_is_no_new_version(console: Client, acme: Organization) -> None:
    publish(acme, {"a": 1})
    AuditEntry.objects.all().delete()
    answer = console.post(EDITOR, {"document": '{"a":1}', "seen": "1", "how": "now"}, follow=True)
    assert "Nothing changed: version 1 has this content." in said(answer)
    assert (ConfigVersion.objects.count(), AuditEntry.objects.count()) == (1, 0)


def test_problems_are_named_with_path_and_line_and_the_text_is_kept(console: Client, acme: Organization) -> None:
    text = '{\n  "llm": {"model": "kept"},\n  "features": 7,\n  "privacy_mode": "yes"\n}'
    answer = edit(console, text)
    found = {row["path"]: row["line"] for row in answer.context["form"].problems}
    assert found == {"features": 3, "privacy_mode": 4}
    page = said(answer)
    assert all(
        words in page for words in ("2 problems", "<code>features</code>", "line 4", "kept", "must be an object")
    )
    assert not ConfigVersion.objects.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,}', "This is not JSON"),
        ('{\n"a": \n', "line 3"),
        ("[1]", "The configuration must be an object."),
        ("", "This is not JSON"),
        ('{"a": NaN}', "This is no finite number."),
        ('{"a": %s}' % ("[" * 40 + "]" * 40), "Nest at most 32 levels."),
        ("[" * 100_000, "nests too deep"),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_used_is_refused(console: Client, acme: Organization, text: str, words: str) -> None:
    assert words in said(edit(console, text))
    assert not ConfigVersion.objects.exists()


def test_an_organizations_own_schema_is_checked(console: Client) -> None:
    schema = {"properties": {"mode": {"enum": ["a", "b"]}}}
    organizations.create("acme", name="Acme", acting_user=None, settings={"config_schema": schema})
    answer = edit(console, '{\n"mode": "c"\n}')
    assert [(row["path"], row["line"]) for row in answer.context["form"].problems] == [("mode", 2)]


@pytest.mark.parametrize("how", ["now", "stages"])
def test_what_somebody_else_wrote_meanwhile_is_not_covered(console: Client, acme: Organization, how: str) -> None:
    publish(acme, {"a": 1})
    newer = publish(fresh(acme), {"a": 2})
    rollouts.cancel(Rollout.objects.get(status="running"), acting_user=None)
    AuditEntry.objects.all().delete()
    answer = edit(console, {"a": "mine"}, seen="1", how=how, stages="10")
    page = said(answer)
    assert "changed while you were writing" in page
    assert f"{VERSIONS}{newer.pk}/change/" in page
    assert "mine" in page
    assert 'name="seen" value="1"' in page
    assert fresh(acme).settings["config"] == {"a": 2}
    assert (AuditEntry.objects.count(), ConfigVersion.objects.count()) == (0, 2)


def test_a_rollout_begins_with_its_stages_and_limits(console: Client, acme: Organization) -> None:
    instances.create("canary-1", organization=acme, acting_user=None, labels={"env": "canary"})
    AuditEntry.objects.all().delete()
    answer = edit(
        console, {"a": 1}, how="stages", stages="env=canary\n10, 50%", soak_seconds="60", max_failed_percent="0",
        stage_timeout_seconds="",
    )  # fmt: skip
    row = Rollout.objects.get()
    assert row.stages == [{"labels": {"env": "canary"}}, {"percent": 10}, {"percent": 50}, {"percent": 100}]
    assert (row.soak_seconds, row.max_failed_percent, row.stage_timeout_seconds) == (60, 0, 300)
    assert (row.is_staged, answer["Location"]) == (True, f"{ROLLOUTS}{row.pk}/change/")
    assert AuditEntry.objects.get().action == "rollout.start"


def test_a_staged_rollout_from_the_console_ends_the_watch_over_a_plain_change(
    console: Client, acme: Organization
) -> None:
    instances.create("orch-1", organization=acme, acting_user=None)
    publish(acme, {"a": 1})
    edit(console, {"a": 2}, seen="1", how="stages", stages="10")
    rows = Rollout.objects.order_by("pk").values_list("is_staged", "status", "reason")
    assert list(rows) == [(False, "cancelled", "Superseded by version 2."), (True, "running", "")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"stages": ""}, "Name the first stage"),
        ({"stages": "half"}, "'half' is no stage"),
        ({"stages": "50, 10"}, "larger than the one before"),
        ({"stages": "nan"}, "percent is a number"),
        ({"stages": "1000"}, "at most 100"),
        ({"stages": "=x"}, "no label name"),
        ({"stages": "10", "max_failed_percent": "101"}, "less than or equal to 100"),
        ({"stages": "10", "how": "later"}, "Select a valid choice"),
        ({"stages": "10", "seen": "x"}, "Enter a whole number"),
    ],
)
def test_a_rollout_that_cannot_be_is_refused_beside_the_field(
    console: Client, acme: Organization, changed: dict[str, str], words: str
) -> None:
    assert words in said(edit(console, {"a": 1}, **{"how": "stages", **changed}))
    assert not Rollout.objects.exists()


def test_nothing_is_published_while_a_staged_rollout_is_on_its_way(console: Client, acme: Organization) -> None:
    row = begin(acme, {"a": 1})
    answer = edit(console, {"a": 2})
    assert f"Rollout {row.pk} brings version 1" in said(answer)
    assert ConfigVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [("a", 2), ("a.b[1]", 4), ("a.b[1].c", 5), ("z", 8), ("a.b[9]", 3), ("nowhere", 1), ("", 1)],
)
def test_a_place_is_found_in_its_line(path: str, line: int) -> None:
    text = '{\n"a": {\n"b": ["}",\n{\n"c": "x,y:\\"{"}\n]\n},\n"z": [[], {}]}'
    assert line_of(path, lines(text)) == line


# --- versions -------------------------------------------------------------------------------------------------------


def test_the_list_and_the_page_show_who_changed_what(console: Client, acme: Organization) -> None:
    publish(acme, {"a": 1, "gone": True, "same": 1})
    row = publish(fresh(acme), {"a": 2, "new": "<b>", "same": 1}, comment="second")
    listed = text_of(console, VERSIONS)
    assert all(words in listed for words in ("Version 2", "second", "edit", "system", EDITOR))
    answer = console.get(f"{VERSIONS}{row.pk}/change/")
    found = {change["path"]: change["kind"] for change in answer.context["changes"]}
    assert found == {"a": "changed", "gone": "removed", "new": "added"}
    page = answer.content.decode()
    assert "&lt;b&gt;" in page
    assert "<b>&quot;" not in page
    assert "current" in page
    assert f"{row.pk}/rollback/" not in page


def test_going_back_asks_first_and_publishes_the_old_content(console: Client, acme: Organization) -> None:
    first = publish(acme, {"a": 1})
    publish(fresh(acme), {"a": 2})
    AuditEntry.objects.all().delete()
    url = reverse("admin:orchestrators_configversion_rollback", args=[first.pk])
    assert "back to version 1?" in text_of(console, url)
    assert ConfigVersion.objects.count() == 2
    console.post(url)
    assert fresh(acme).settings["config"] == {"a": 1}
    newest = ConfigVersion.objects.latest("version")
    assert (newest.version, newest.source, AuditEntry.objects.get().action) == (3, "rollback", "config.rollback")


def test_going_back_to_a_halted_version_is_done_only_after_its_page_has_said_so(
    console: Client, acme: Organization
) -> None:
    halted = publish(acme, {"a": 1})
    Rollout.objects.update(status=Rollout.Status.HALTED, reason="2 of 2 failed.", finished_at=timezone.now())
    publish(fresh(acme), {"a": 2})
    url = reverse("admin:orchestrators_configversion_rollback", args=[halted.pk])
    asked = text_of(console, url)
    assert "2 of 2 failed." in asked
    assert 'name="force"' in asked
    assert "halted" in said(console.post(url, follow=True))
    assert fresh(acme).settings["config"] == {"a": 2}
    console.post(url, {"force": "1"})
    assert fresh(acme).settings["config"] == {"a": 1}


def test_going_back_is_refused_during_a_staged_rollout(console: Client, acme: Organization) -> None:
    first = publish(acme, {"a": 1})
    rollouts.cancel(Rollout.objects.get(), acting_user=None)
    row = begin(fresh(acme), {"a": 2})
    url = reverse("admin:orchestrators_configversion_rollback", args=[first.pk])
    assert f"Rollout {row.pk} brings version 2" in said(console.post(url, follow=True))
    assert ConfigVersion.objects.count() == 2


@pytest.mark.parametrize("url", [VERSIONS, ROLLOUTS])
def test_empty_lists_say_what_to_do(console: Client, url: str) -> None:
    assert "/admin/orgs/organization/" in text_of(console, url).split('class="mo-empty"')[-1]


# --- rollouts -------------------------------------------------------------------------------------------------------


def test_the_page_counts_each_stage_while_it_runs(console: Client, acme: Organization) -> None:
    row = begin(acme, {"a": 1})
    report(row, "applied", number=1)
    answer = console.get(f"{ROLLOUTS}{row.pk}/change/")
    first, last = answer.context["steps"]
    assert (first["state"], last["state"], last["adds"]) == ("running", "coming", 2)
    assert "Stage 1: 1 applied, 1 waiting" in first["bar"]
    assert "data-unfinished" in answer.content.decode()
    assert "Stage" in text_of(console, ROLLOUTS)
    assert "1 of 4 applied" in text_of(console, ROLLOUTS)


def test_the_piece_says_when_there_is_no_more_to_come(console: Client, acme: Organization) -> None:
    row = begin(acme, {"a": 1})
    url = reverse("admin:orchestrators_rollout_progress", args=[row.pk])
    assert "data-unfinished" in text_of(console, url)
    report(row, "applied", number=4)
    report(row, "applied", number=4)
    page = text_of(console, url)
    assert "data-unfinished" not in page
    assert "completed" in page
    assert "steer-pause" not in page


def test_a_halt_shows_its_reason_and_who_failed(console: Client, acme: Organization) -> None:
    row = begin(acme, {"a": 1})
    report(row, "failed", number=1, error="unknown model <x>")
    page = text_of(console, f"{ROLLOUTS}{row.pk}/change/")
    assert all(words in page for words in ("halted", "1 of 2 failed.", "unknown model &lt;x&gt;", "stopped here"))
    failed = Instance.objects.get(orchestrator_id=Rollout.objects.get().failures[0]["orchestrator_id"])
    assert reverse("admin:orchestrators_instance_change", args=[failed.pk]) in page


def test_the_buttons_pause_resume_and_cancel_with_one_audit_row_each(console: Client, acme: Organization) -> None:
    row = begin(acme, {"a": 1})
    url = reverse("admin:orchestrators_rollout_steer", args=[row.pk])
    for verdict, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        AuditEntry.objects.all().delete()
        console.post(url, {"verdict": verdict, "reason": "lunch"})
        assert Rollout.objects.get().status == status
        assert AuditEntry.objects.get().action == f"rollout.{verdict}"
    assert "This rollout is cancelled." in said(console.post(url, {"verdict": "pause"}, follow=True))
    assert console.post(url, {"verdict": "explode"}).status_code == 400


def test_the_list_begins_with_what_is_on_its_way(console: Client, acme: Organization) -> None:
    url = reverse("admin:orchestrators_rollout_running")
    assert "Nothing is on its way." in text_of(console, url)
    row = begin(acme, {"a": 1})
    assert "Version 1 to acme" in text_of(console, url)
    assert "data-unfinished" in text_of(console, ROLLOUTS)
    rollouts.cancel(row, acting_user=None)
    assert "data-unfinished" not in text_of(console, url)


def test_cancelling_asks_first(console: Client, acme: Organization) -> None:
    row = begin(acme, {"a": 1})
    page = text_of(console, reverse("admin:orchestrators_rollout_steer", args=[row.pk]))
    assert "The 2 orchestrators that got version 1 go back" in page
    assert Rollout.objects.get().status == "running"


def test_the_counts_of_the_stages_are_those_of_the_whole(acme: Organization) -> None:
    row = begin(acme, {"a": 1}, wanted=[{"percent": 25}, {"percent": 75}])
    report(row, "applied", number=1)
    row = Rollout.objects.get()
    Instance.objects.filter(config_rollout=row, config_status="pending").update(is_connected=False)
    whole, each = progress.of(row), progress.by_stage(row)
    assert [counts.members for counts in each] == [1, 2, 1]
    assert (whole.members, whole.applied, whole.offline) == (3, 1, 2)
    assert (each[0].applied, each[1].offline) == (1, 2)


# --- the orchestrator's page, and who sees nothing ------------------------------------------------------------------


def test_the_orchestrators_page_leads_to_the_configuration(console: Client, acme: Organization) -> None:
    row = begin(acme, {"a": 1}, wanted=[{"percent": 100}])
    report(row, "failed", number=1, error="no such model")
    instance = Instance.objects.get(config_reported_at__isnull=False)
    page = text_of(console, reverse("admin:orchestrators_instance_change", args=[instance.pk]))
    assert EDITOR in page
    assert f"{ROLLOUTS}{row.pk}/change/" in page


@pytest.mark.parametrize("who", ["nobody", "staff"])
def test_only_superadmins_see_any_of_it(client: Client, acme: Organization, who: str) -> None:
    version = publish(acme, {"a": "secret-word"})
    rollout = Rollout.objects.get()
    if who == "staff":
        client.force_login(User.objects.create_user("sam", is_staff=True))
    urls = [
        EDITOR, VERSIONS, ROLLOUTS, f"{VERSIONS}{version.pk}/change/", f"{VERSIONS}{version.pk}/rollback/",
        f"{ROLLOUTS}{rollout.pk}/change/", f"{ROLLOUTS}{rollout.pk}/progress/", f"{ROLLOUTS}{rollout.pk}/steer/",
        f"{ROLLOUTS}running/",
    ]  # fmt: skip
    before = AuditEntry.objects.count()
    for url in urls:
        for answer in (client.get(url), client.post(url, {"verdict": "cancel", "document": "{}", "seen": "1"})):
            assert answer.status_code in (302, 403, 404), url
            assert b"secret-word" not in answer.content
    assert AuditEntry.objects.count() == before
    assert Rollout.objects.get().status == "running"


def test_what_is_not_there_is_not_found(console: Client) -> None:
    for url in (EDITOR, f"{VERSIONS}9/rollback/", f"{ROLLOUTS}9/progress/", f"{ROLLOUTS}9/steer/"):
        assert console.get(url).status_code == 404, url
