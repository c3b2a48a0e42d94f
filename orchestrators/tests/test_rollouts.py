"""Rollouts: stages, thresholds, pause and resume, the way back. Reports are stored as the desk stores them."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from moolai.errors import AppError, InvalidInput
from orchestrators import configuration, instances, tenants
from orchestrators.admin.config_forms import StagesField
from orchestrators.configuration import progress, rollouts, stages
from orchestrators.models import ConfigVersion, Instance, Rollout
from orchestrators.tests import rolling
from orchestrators.tests.rolling import NEW, OLD, again, begin, fleet, later, released, report, running
from orgs import organizations
from orgs.models import AuditEntry, Event, Organization
from orgs.tests import cast as casting
from orgs.tests.cast import Cast

URL = "/api/v1/orchestrators/org-001/config"


@pytest.fixture
def home(db: None) -> Organization:
    """An organization at version 1, with twenty connected orchestrators that have applied it."""
    return rolling.settle()


# --- stages ----------------------------------------------------------------------------------------------------------


def test_a_staged_rollout_goes_stage_by_stage_and_is_released_at_the_end(home: Organization) -> None:
    rollout = begin(home, 10, 50)
    assert (len(running(2)), released(home)) == (2, OLD)
    first = {row.pk for row in running(2)}
    report(running(2), "applying")
    assert again(rollout).stage == 0
    report(running(2))
    assert (again(rollout).stage, len(running(2))) == (1, 10)
    assert first <= {row.pk for row in running(2)}
    report(running(2))
    assert (again(rollout).stage, len(running(2)), released(home)) == (2, 20, OLD)
    versions_before = {row.pk: row.config_version for row in fleet()}
    report(running(2))
    done = again(rollout)
    assert (done.status, done.reason, released(home)) == ("completed", "", NEW)
    assert done.target.released_at is not None
    assert progress.of(done).as_dict() | {"members": 20, "applied": 20} == progress.of(done).as_dict()
    assert {row.pk: row.config_version for row in fleet()} == versions_before, "the end sends nobody anything"
    assert {row.config_base_id for row in fleet()} == {None}
    kinds = list(Event.objects.filter(kind__startswith="rollout.").order_by("id").values_list("kind", flat=True))
    assert kinds[2:] == ["rollout.started", "rollout.advanced", "rollout.advanced", "rollout.completed"]


def test_a_share_is_rounded_up_and_always_the_same(home: Organization) -> None:
    rows = fleet()
    tenth = [row.pk for row in stages.members(rows, [{"percent": 1}])]
    assert len(tenth) == 1
    assert tenth == [row.pk for row in stages.members(list(reversed(rows)), [{"percent": 5}])]
    assert len(stages.members(rows, [{"percent": 51}])) == 11


@pytest.mark.parametrize(
    "wanted",
    [[], "x", [{}], [{"percent": 0}], [{"percent": 101}], [{"percent": True}], [{"percent": 50}, {"percent": 50}],
     [{"labels": {}}], [{"labels": {"a": 1}}], [{"percent": 1, "labels": {"a": "b"}}],
     [{"percent": n + 1} for n in range(21)]],
)  # fmt: skip
def test_stages_that_make_no_sense_are_refused(wanted: Any) -> None:
    with pytest.raises(InvalidInput):
        stages.read(wanted)


def test_all_stages_that_make_no_sense_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refusal:
        stages.read([{"percent": 120}, {"percent": 10}, {"labels": {}}, {"percent": 5}])
    assert sorted(refusal.value.fields) == ["stages[0]", "stages[2]", "stages[3]"]
    with pytest.raises(ValidationError) as told:
        StagesField().clean("env=canary, fifty, 120\nhalf, 10, third")
    assert [text.partition(" is no")[0] for text in told.value.messages] == ["'fifty'", "'120'", "'half'", "'third'"]


def test_everybody_is_the_last_stage() -> None:
    assert stages.read([{"percent": 10}]) == [{"percent": 10}, {"percent": 100}]
    assert stages.read([{"percent": 100}]) == [{"percent": 100}]
    assert stages.read([{"percent": 10}, {"labels": {"env": "eu"}}])[-1] == {"percent": 100}


def test_labels_choose_their_orchestrators() -> None:
    rows = [Instance(pk=number, orchestrator_id=f"o{number}") for number in range(3)]
    rows[1].__dict__["labels"] = {"env": "canary", "zone": "eu"}
    assert stages.members(rows, [{"labels": {"env": "canary"}}]) == [rows[1]]
    assert stages.members(rows, [{"labels": {"env": "canary", "zone": "us"}}]) == []


# --- failing ---------------------------------------------------------------------------------------------------------


def test_a_broken_version_halts_in_its_first_stage_and_is_taken_back(home: Organization) -> None:
    before = {row.pk: row.config_version for row in fleet()}
    rollout = begin(home, 25)
    members = running(2)
    report(members[:1], "failed", "no such feature")
    halted = again(rollout)
    assert (halted.status, halted.reason) == ("halted", "1 of 5 failed.")
    assert halted.failures == [{"orchestrator_id": members[0].orchestrator_id, "error": "no such feature"}]
    assert (progress.of(halted).failed, progress.of(halted).waiting) == (1, 4)
    assert (running(2), released(home)) == ([], OLD)
    touched = {row.pk for row in fleet() if row.config_version != before[row.pk]}
    assert touched == {row.pk for row in members}
    assert all(row.config_version == before[row.pk] + 2 for row in fleet(pk__in=touched)), "never an older number"
    assert AuditEntry.objects.filter(action="rollout.halt", actor="system").count() == 1


def test_going_back_to_what_was_halted_has_to_be_forced(home: Organization) -> None:
    rollout = begin(home, 25)
    report(running(2)[:1], "failed", "no such feature")
    when = again(rollout).finished_at
    assert when is not None
    told = f"Version 2 was halted on {when:%Y-%m-%d %H:%M} UTC: 1 of 5 failed. To publish it anyway, force it."
    with pytest.raises(AppError) as refusal:
        configuration.rollback(home, 2, acting_user=None)
    assert (refusal.value.code, refusal.value.detail) == ("conflict", told)
    with pytest.raises(CommandError, match=r"Version 2 was halted on .*force it"):
        call_command("config", "rollback", "org-001", "2")
    assert released(home) == OLD
    call_command("config", "rollback", "org-001", "2", "--force")
    assert released(home) == NEW


def test_going_back_over_http_to_what_was_halted_takes_force(home: Organization, settings: Any) -> None:
    begin(home, 25)
    report(running(2)[:1], "failed", "no such feature")
    settings.DEV_BEARER_TOKEN = casting.TOKEN
    root = casting.Person({"Authorization": f"Bearer {casting.TOKEN}"})
    refused = root.call("POST", f"{URL}/rollback", {"version": 2})
    assert (refused.status_code, refused.json()["error"]) == (409, "conflict")
    assert "1 of 5 failed" in refused.json()["detail"]
    assert root.call("POST", f"{URL}/rollback", {"version": 2, "force": True}).status_code == 200


def test_as_many_as_the_threshold_may_fail(home: Organization) -> None:
    rollout = begin(home, 50, max_failed_percent=20)
    members = running(2)
    report(members[:2], "failed")
    report(members[2:])
    assert (again(rollout).status, again(rollout).stage) == ("running", 1)


def test_an_absolute_threshold_halts_below_the_percentage(home: Organization) -> None:
    rollout = begin(home, 50, max_failed_percent=100, max_failed=1)
    members = running(2)
    report(members[:1], "failed")
    assert again(rollout).status == "running"
    report(members[1:2], "failed")
    assert (again(rollout).status, running(2)) == ("halted", [])


def test_offline_members_do_not_thin_out_failures(home: Organization) -> None:
    rollout = begin(home, 100)
    Instance.objects.exclude(orchestrator_id="orch-00").update(is_connected=False)
    report(fleet(orchestrator_id="orch-00"), "failed")
    assert (again(rollout).status, again(rollout).reason) == ("halted", "1 of 1 failed.")


def test_a_plain_change_that_the_fleet_refuses_is_taken_back_as_a_new_version(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    assert len(running(2)) == 20
    report(running(2)[:3], "failed", "bad")
    assert released(home) == OLD
    assert len(running(1)) == 20
    newest = ConfigVersion.objects.latest("version")
    assert (newest.version, newest.source, newest.document) == (3, "automatic rollback", OLD)
    assert newest.comment == "Version 2: 3 of 20 failed."
    assert {row.config_version for row in fleet()} == {4}
    watch = Rollout.objects.get(status="running")
    assert (watch.target, watch.may_roll_back) == (newest, False)


def test_a_rollback_that_fails_too_is_not_rolled_back_again(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    report(running(2), "failed")
    report(running(1), "failed")
    assert ConfigVersion.objects.count() == 3
    assert not Rollout.objects.filter(status__in=Rollout.ACTIVE).exists()
    assert released(home) == OLD


def test_the_first_version_of_all_is_taken_back_to_nothing(db: None) -> None:
    home = organizations.create("org-001", name="Acme", acting_user=None)
    instances.create("orch-00", organization=home, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True)
    configuration.publish(home, NEW, acting_user=None)
    report(fleet(), "failed")
    assert released(home) == {}
    assert Instance.objects.get().config_document()["features"] == {}


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_silence_halts_a_staged_rollout_at_its_time_out(home: Organization) -> None:
    rollout = begin(home, 25, stage_timeout_seconds=60)
    report(running(2)[:3])
    later(59)
    assert again(rollout).status == "running"
    later(61)
    assert (again(rollout).status, again(rollout).reason) == (
        "halted",
        "2 of 5 failed, 2 of them without an answer.",
    )


def test_silence_ends_the_watch_over_a_plain_change(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    report(running(2)[:19])
    later(301)
    watch = Rollout.objects.latest("pk")
    assert (watch.status, watch.reason, released(home)) == ("completed", "Of 20: 1 did not answer.", NEW)


def test_offline_members_hold_a_stage_until_its_time_out_and_get_it_later(home: Organization) -> None:
    rollout = begin(home, 25, stage_timeout_seconds=60)
    members = running(2)
    Instance.objects.filter(pk=members[0].pk).update(is_connected=False)
    report(members[1:])
    assert (again(rollout).stage, progress.of(again(rollout)).offline) == (0, 1)
    later(61)
    assert again(rollout).stage == 1
    assert Instance.objects.select_related("organization", "config_base").get(pk=members[0].pk) in running(2)


def test_older_clients_count_as_sent(home: Organization) -> None:
    Instance.objects.update(is_acknowledging=False)
    rollout = begin(home, 25)
    assert (again(rollout).status, progress.of(again(rollout)).sent) == ("completed", 20)


def test_a_stage_is_watched_for_its_soak(home: Organization) -> None:
    rollout = begin(home, 25, soak_seconds=30)
    report(running(2))
    assert (again(rollout).stage, again(rollout).settled_at is not None) == (0, True)
    later(29)
    assert again(rollout).stage == 0
    report(running(2)[:1], "failed")
    assert again(rollout).status == "halted", "a failure within the soak counts"


def test_who_has_to_apply_it_again_while_it_is_watched_does_not_halt_it(home: Organization) -> None:
    rollout = begin(home, 25, soak_seconds=900, stage_timeout_seconds=300)
    report(running(2))
    Instance.objects.filter(pk__in=[row.pk for row in running(2)]).update(config_status="pending")  # came back
    later(600)
    assert again(rollout).status == "running"


def test_a_late_applying_does_not_take_back_that_it_was_applied(home: Organization) -> None:
    report(fleet(), "applying")
    assert {row.config_status for row in fleet()} == {"applied"}


def test_a_stage_for_a_label_that_nobody_carries_is_refused(home: Organization) -> None:
    with pytest.raises(InvalidInput) as refused:
        rollouts.start(home, NEW, wanted=[{"labels": {"env": "cannary"}}], acting_user=None)
    assert refused.value.fields == {"stages[0]": "No orchestrator carries env=cannary."}
    assert running(2) == []


def test_the_sweep_finds_what_a_killed_process_left_behind(home: Organization) -> None:
    rollout = begin(home, 25)
    Instance.objects.filter(pk__in=[row.pk for row in running(2)]).update(config_status="applied")
    assert again(rollout).stage == 0
    later(0)
    assert (again(rollout).stage, len(running(2))) == (1, 20)


def test_an_empty_fleet_is_done_at_once(db: None) -> None:
    home = organizations.create("org-001", name="Acme", acting_user=None)
    assert begin(home, 10).status == "completed"
    assert released(home) == NEW


def test_newcomers_get_the_released_version_until_the_end(home: Organization) -> None:
    begin(home, 25)
    instances.create("orch-new", organization=home, acting_user=None)
    assert "orch-new" in {row.orchestrator_id for row in running(1)}
    for _ in range(2):
        Instance.objects.update(is_connected=True, is_acknowledging=True)
        report(running(2))
    assert "orch-new" in {row.orchestrator_id for row in running(2)}
    assert released(home) == NEW


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_paused_rollout_waits_and_a_resumed_one_goes_on(home: Organization) -> None:
    rollout = begin(home, 25)
    rollouts.pause(rollout, acting_user=None)
    report(running(2))
    later(1000)
    assert (again(rollout).status, again(rollout).stage, len(running(2))) == ("paused", 0, 5)
    with pytest.raises(AppError, match="is paused"):
        rollouts.pause(rollout, acting_user=None)
    assert rollouts.resume(rollout, acting_user=None).stage == 1
    assert len(running(2)) == 20


def test_silence_does_not_halt_a_paused_rollout(home: Organization) -> None:
    rollout = begin(home, 25)
    rollouts.pause(rollout, acting_user=None)
    later(1000)
    assert again(rollout).status == "paused"


def test_a_paused_rollout_is_still_taken_back_when_it_fails(home: Organization) -> None:
    rollout = begin(home, 25)
    rollouts.pause(rollout, acting_user=None)
    report(running(2), "failed")
    assert (again(rollout).status, running(2)) == ("halted", [])


def test_cancelling_takes_the_members_back(home: Organization) -> None:
    rollout = begin(home, 25)
    report(running(2)[:2])
    done = rollouts.cancel(rollout, acting_user=None, reason="changed our minds")
    assert (done.status, done.reason, running(2), released(home)) == ("cancelled", "changed our minds", [], OLD)
    assert progress.of(again(rollout)).applied == 2
    for change in (rollouts.pause, rollouts.resume, rollouts.cancel):
        with pytest.raises(AppError, match="is cancelled"):
            change(rollout, acting_user=None)


def test_nothing_else_changes_the_configuration_meanwhile(home: Organization) -> None:
    begin(home, 25)
    wanted = [{"percent": 10}]
    for change in (
        lambda: rollouts.start(home, NEW, wanted=wanted, acting_user=None),
        lambda: configuration.publish(home, {"llm": {}}, acting_user=None),
        lambda: configuration.rollback(home, 1, acting_user=None),
        lambda: tenants.update(home, acting_user=None, settings={"config": {"llm": {}}}),
    ):
        with pytest.raises(AppError, match="Rollout") as refusal:
            change()
        assert refusal.value.code == "conflict"
    assert (ConfigVersion.objects.count(), released(home)) == (2, OLD)
    tenants.update(home, acting_user=None, name="Another name")
    assert len(running(2)) == 5


def test_a_newer_plain_change_ends_the_watch_over_the_older_one(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    older = Rollout.objects.get(status="running")
    configuration.publish(home, {"features": {"n": 3}}, acting_user=None)
    assert (again(older).status, again(older).reason) == ("cancelled", "Superseded by version 3.")
    report(running(3))
    assert Rollout.objects.latest("pk").status == "completed"


def test_deleting_an_organization_takes_its_versions_and_rollouts_along(home: Organization) -> None:
    begin(home, 25)
    Instance.objects.update(is_connected=False)
    tenants.delete(home, acting_user=None)
    assert (ConfigVersion.objects.count(), Rollout.objects.count()) == (0, 0)


# --- the doors -------------------------------------------------------------------------------------------------------


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    found = casting.make(settings)
    home = Organization.objects.get(pk="org-001")
    for number in range(4):
        instances.create(f"orch-{number:02}", organization=home, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True)
    return found


def test_a_rollout_over_http(cast: Cast) -> None:
    body = {"config": NEW, "stages": [{"percent": 25}], "comment": "try it", "soak_seconds": 5}
    answer = cast.alice.call("POST", f"{URL}/rollouts", body)
    assert answer.status_code == 201, answer.content
    row = answer.json()["data"]
    assert (row["version"], row["previous_version"], row["stage"], row["status"]) == (1, None, 1, "running")
    assert row["stages"] == [{"percent": 25}, {"percent": 100}]
    assert row["progress"] == dict.fromkeys(("applied", "sent", "failed", "lost", "offline"), 0) | {
        "members": 1,
        "waiting": 1,
    }
    url = f"{URL}/rollouts/{row['id']}"
    assert cast.alice.call("POST", f"{URL}/rollouts", body).json()["error"] == "conflict"
    assert cast.alice.call("PUT", URL, {"config": {}}).status_code == 409
    assert cast.alice.call("POST", f"{url}/pause", {"reason": "lunch"}).json()["data"]["status"] == "paused"
    assert cast.alice.call("POST", f"{url}/pause", {}).status_code == 409
    assert cast.alice.call("POST", f"{url}/resume", {}).json()["data"]["status"] == "running"
    report(running(2), "failed", "no")
    halted = cast.vera.get(url).json()["data"]
    assert (halted["status"], halted["failures"][0]["error"], halted["progress"]["failed"]) == ("halted", "no", 1)
    assert cast.alice.call("POST", f"{url}/cancel", {}).status_code == 409
    page = cast.vera.get(f"{URL}/rollouts?status=halted").json()["data"]
    assert [item["id"] for item in page["items"]] == [row["id"]]
    assert cast.vera.get(f"{URL}?x=1").status_code == 400
    actions = AuditEntry.objects.filter(action__startswith="rollout.").order_by("sequence")
    assert list(actions.values_list("action", flat=True)) == [
        "rollout.start", "rollout.pause", "rollout.resume", "rollout.halt",
    ]  # fmt: skip


def test_an_older_version_can_be_rolled_out_in_stages(cast: Cast) -> None:
    home = Organization.objects.get(pk="org-001")
    configuration.publish(home, OLD, acting_user=None)
    report(fleet())
    configuration.publish(home, NEW, acting_user=None)
    report(fleet())
    answer = cast.alice.call("POST", f"{URL}/rollouts", {"version": 1, "stages": [{"percent": 50}]})
    assert answer.status_code == 201, answer.content
    assert (len(running(1)), len(running(2))) == (2, 2)
    assert ConfigVersion.objects.latest("version").source == "rollback"


@pytest.mark.parametrize(
    "body",
    [
        {"stages": [{"percent": 10}]},
        {"config": {}, "version": 1, "stages": [{"percent": 10}]},
        {"config": {}},
        {"config": {}, "stages": [{"percent": 200}]},
        {"config": {"llm": 1}, "stages": [{"percent": 10}]},
        {"config": {}, "stages": [{"percent": 10}], "max_failed_percent": 101},
        {"config": {}, "stages": [{"percent": 10}], "stage_timeout_seconds": 0},
        {"config": {}, "stages": [{"percent": 10}], "speed": 1},
    ],
)
def test_a_rollout_that_makes_no_sense_is_refused(cast: Cast, body: Any) -> None:
    answer = cast.alice.call("POST", f"{URL}/rollouts", body)
    assert answer.status_code == 400
    assert not Rollout.objects.exists()
