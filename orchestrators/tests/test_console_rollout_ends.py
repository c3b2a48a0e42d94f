"""What the console says of rollouts that ended early, of the fleet they were for, and of versions that were refused."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from orchestrators import configuration, instances
from orchestrators.admin import config_badges
from orchestrators.configuration import progress, rollouts
from orchestrators.models import ConfigVersion, Instance, Rollout
from orchestrators.tests import rolling
from orchestrators.tests.rolling import NEW, again, begin, report, running
from orgs.models import Organization

pytestmark = pytest.mark.django_db
VERSIONS, ROLLOUTS = "/admin/orchestrators/configversion/", "/admin/orchestrators/rollout/"
WORST: dict[str, Any] = {"features": {"n": 3}}


@pytest.fixture
def home() -> Organization:
    return rolling.settle()


@pytest.fixture
def read(console: Client) -> Callable[[str], str]:

    def get(url: str) -> str:
        answer = console.get(url)
        assert answer.status_code == 200, url
        return answer.content.decode()

    return get


def link(name: str, row: Any) -> str:
    return reverse(f"admin:orchestrators_{name}_change", args=[row.pk])


def sequel(page: str) -> str:
    return page.split('id="sequel">')[1].split("</p>", maxsplit=1)[0]


def test_a_halted_plain_change_leads_to_the_version_that_took_the_fleet_back(
    home: Organization, read: Callable[[str], str]
) -> None:
    configuration.publish(home, NEW, acting_user=None)
    watch = Rollout.objects.get(status="running")
    report(running(2), "failed", "no such model")
    back = Rollout.objects.latest("pk")
    page = read(link("rollout", watch))
    assert "went back to the content of version 1 as" in sequel(page)
    assert f'href="{link("configversion", back.target)}">version 3</a>' in sequel(page)
    assert f'href="{link("rollout", back)}">rollout {back.pk}</a>' in sequel(page)
    assert "Goes back to" not in page
    assert 'class="mo-parts mo-parts-past"' in page
    report(running(1), "failed")
    assert "Version 3 stayed what the fleet had" in sequel(read(link("rollout", back)))


@pytest.mark.parametrize("how", ["cancel", "halt"])
def test_a_staged_rollout_that_ended_early_does_not_show_as_if_it_held(
    home: Organization, read: Callable[[str], str], how: str
) -> None:
    rollout = begin(home, 25)
    page = read(link("rollout", rollout))
    assert "Goes back to" in page
    assert "mo-parts-past" not in page
    assert 'id="sequel"' not in page
    report(running(2)[:4])
    if how == "cancel":
        rollouts.cancel(rollout, acting_user=None)
    else:
        report(running(2)[4:], "failed")
    page = read(link("rollout", rollout))
    assert sequel(page) == "Its 5 members went back to version 1."
    assert "When it ended:" in page
    assert 'class="mo-parts mo-parts-past"' in page
    assert 'class="mo-parts mo-parts-past"' in read(ROLLOUTS)


def test_a_staged_rollout_is_counted_against_the_whole_fleet(home: Organization, read: Callable[[str], str]) -> None:
    rollout = begin(home, 10)
    report(running(2)[:1])
    page = read(link("rollout", rollout))
    assert "Members: 1 applied, 1 waiting, 18 not reached" in page
    assert "<b>18</b> not reached" in page
    assert read(ROLLOUTS).count("1 of 20 applied") == 2  # the list, and what is on its way
    rollouts.cancel(rollout, acting_user=None)
    assert "1 of 20 applied" in read(ROLLOUTS)


def test_a_completed_rollout_has_nobody_left_to_reach(home: Organization) -> None:
    rollout = begin(home, 50)
    report(running(2))
    instances.create("late-1", organization=home, acting_user=None)
    report(running(2))
    row = again(rollout)
    assert row.status == "completed"
    assert config_badges.coming(row, progress.of(row)) == 0


def test_a_plain_change_that_a_newer_one_replaced_is_superseded(
    home: Organization, read: Callable[[str], str], django_assert_max_num_queries: Any
) -> None:
    Instance.objects.filter(orchestrator_id="orch-00").update(is_connected=False)
    configuration.publish(home, NEW, acting_user=None)
    report([row for row in running(2) if row.is_connected])
    older = Rollout.objects.get(status="running")
    configuration.publish(home, WORST, acting_user=None)
    older.refresh_from_db()
    assert (older.status, older.reason) == ("cancelled", "Superseded by version 3.")
    newer = Rollout.objects.get(status="running")
    with django_assert_max_num_queries(15):
        listed = read(ROLLOUTS)
    assert f'mo-badge-gray" data-rollout="{older.pk}"><i>○</i> superseded by version 3<' in listed
    page = read(link("rollout", older))
    assert f'href="{link("rollout", newer)}"' in sequel(page)
    assert "superseded by version 3" in page
    rollouts.cancel(newer, acting_user=None)
    assert f'data-rollout="{newer.pk}"><i>○</i> cancelled<' in read(ROLLOUTS)
    assert "Version 3 stayed what the fleet had" in sequel(read(link("rollout", newer)))


def test_a_stage_that_is_not_watched_longer_says_nothing_of_it(home: Organization, read: Callable[[str], str]) -> None:
    rollout = begin(home, 10)
    assert "watched for 0 s" not in read(link("rollout", rollout))
    Rollout.objects.filter(pk=rollout.pk).update(soak_seconds=60)
    assert "and is watched for 60 s" in read(link("rollout", rollout))


def test_versions_say_which_is_current_and_which_was_halted(home: Organization, read: Callable[[str], str]) -> None:
    configuration.publish(home, NEW, acting_user=None)
    report(running(2), "failed", "no such model")
    page = read(VERSIONS)
    cells = {number: page.split(f"Version {number} ")[1].split("</a>")[0] for number in (1, 2, 3)}
    assert [number for number, cell in cells.items() if "current" in cell] == [3]
    assert [number for number, cell in cells.items() if "halted" in cell] == [2]
    refused, good = ConfigVersion.objects.get(version=2), ConfigVersion.objects.get(version=1)
    assert "halted" in read(link("configversion", refused))
    question = "admin:orchestrators_configversion_rollback"
    assert "Version 2 was halted: 20 of 20 failed." in read(reverse(question, args=[refused.pk]))
    assert "was halted" not in read(reverse(question, args=[good.pk]))
