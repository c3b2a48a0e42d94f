"""`manage.py config` and `manage.py rollout`: what they print, refuse and leave behind."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from orchestrators import instances
from orchestrators.models import ConfigVersion, Instance, Rollout
from orgs import organizations
from orgs.models import AuditEntry, Organization


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.fixture
def home(db: None) -> Organization:
    home = organizations.create("acme", name="Acme", acting_user=None)
    for number in range(4):
        instances.create(f"orch-{number}", organization=home, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True)
    return home


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def put(content: Any) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return put


def test_config_sets_shows_lists_compares_and_goes_back(home: Organization, write: Any) -> None:
    assert run("config", "set", "acme", write({"features": {"n": 1}}), "--comment", "first").startswith(
        "acme is at version 1 (sha256:"
    )
    run("config", "set", "acme", write({"features": {"n": 2}, "llm": {}}))
    assert json.loads(run("config", "show", "acme")) == {"features": {"n": 2}, "llm": {}}
    assert json.loads(run("config", "show", "acme", "--version", "1")) == {"features": {"n": 1}}
    assert run("config", "diff", "acme", "1", "2").splitlines() == ["- features.n: 1", "+ features.n: 2", "+ llm: {}"]
    run("config", "rollback", "acme", "1")
    lines = run("config", "versions", "acme").splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert "command config  rollback: features.n, llm  Back to version 1." in lines[0]
    assert (
        list(AuditEntry.objects.filter(action__startswith="config.").values_list("actor", flat=True))
        == ["command config"] * 3
    )


@pytest.mark.parametrize("content", ["{", '{"features": 1}', "[]"])
def test_config_refuses_what_cannot_be_used(home: Organization, write: Any, content: str) -> None:
    for action in ("set", "check"):
        with pytest.raises(CommandError):
            run("config", action, "acme", write(content))
    assert not ConfigVersion.objects.exists()


def test_what_is_not_there_is_named(home: Organization, write: Any) -> None:
    for arguments, words in (
        (("config", "show", "nobody"), "no organization nobody"),
        (("config", "rollback", "acme", "7"), "no version 7"),
        (("config", "set", "acme", "/nowhere.json"), "nowhere.json"),
        (("rollout", "show", "99"), "no rollout 99"),
        (("rollout", "start", "acme", write({}), "--percent", "x"), "10,50"),
        (("rollout", "start", "acme", write({}), "--label", "x"), "NAME=VALUE"),
    ):
        with pytest.raises(CommandError, match=words):
            run(*arguments)


def test_rollout_starts_shows_pauses_resumes_and_cancels(home: Organization, write: Any) -> None:
    canary = Instance.objects.filter(organization=home).order_by("pk")[:1]
    Instance.objects.filter(pk__in=canary.values("pk")).update(labels={"env": "canary"})
    text = run("rollout", "start", "acme", write({"features": {"n": 1}}), "--percent", "25,50", "--label", "env=canary")
    assert "running   stage 1/4 (env=canary)" in text
    assert "0/1, 1 waiting" in text
    pk = str(Rollout.objects.get().pk)
    assert "paused" in run("rollout", "pause", pk, "--reason", "lunch")
    with pytest.raises(CommandError, match="is paused"):
        run("rollout", "pause", pk)
    assert "running" in run("rollout", "resume", pk)
    assert "cancelled" in run("rollout", "cancel", pk)
    assert "Cancelled by command rollout." in run("rollout", "list", "acme")
    with pytest.raises(CommandError, match="is cancelled"):
        run("rollout", "show", pk, "--watch")


def test_a_rollout_from_the_command_ends_the_watch_over_a_plain_change(home: Organization, write: Any) -> None:
    run("config", "set", "acme", write({"features": {"n": 1}}))
    assert "running" in run("rollout", "start", "acme", write({"features": {"n": 2}}), "--percent", "50")
    assert list(Rollout.objects.order_by("pk").values_list("status", flat=True)) == ["cancelled", "running"]


def test_a_finished_rollout_is_watched_to_its_end(db: None, write: Any) -> None:
    organizations.create("acme", name="Acme", acting_user=None)
    text = run("rollout", "start", "acme", write({"llm": {}}), "--watch")
    assert "completed" in text
    assert "0/0" in text
