"""The operators' commands of this app: what they print, refuse and leave behind."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class

from orgs import keys, organizations
from orgs.models import ApiKey, AuditEntry, Organization

COMMANDS = sorted(path.stem for path in (Path(__file__).parents[1] / "management" / "commands").glob("[a-z]*.py"))


def run(*arguments: str) -> tuple[str, str]:
    """Run a command; return what it wrote to standard output and to standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def acme() -> Organization:
    return organizations.create("acme", name="Acme", acting_user=None)


@pytest.mark.django_db
def test_an_organization_is_made_and_the_next_step_named() -> None:
    out, _ = run("create_organization", "acme", "--name", "Acme Robotics")
    assert Organization.objects.get(pk="acme").name == "Acme Robotics"
    assert "create_api_key --organization acme" in out
    assert AuditEntry.objects.get().actor == "command create_organization"


@pytest.mark.django_db
def test_an_organization_is_not_made_twice(acme: Organization) -> None:
    with pytest.raises(CommandError, match="exists already"):
        run("create_organization", "acme")


@pytest.mark.django_db
def test_an_unusable_organization_id_is_refused_with_the_rule() -> None:
    with pytest.raises(CommandError, match="organization_id: Use up to 50 letters"):
        run("create_organization", "no spaces")


@pytest.mark.django_db
def test_a_key_prints_its_secret_alone_on_standard_output(acme: Organization) -> None:
    out, err = run("create_api_key", "--organization", "acme", "--scope", "orchestrator")
    assert keys.is_well_formed(out.removesuffix("\n"))
    assert out.count("\n") == 1
    assert out.strip() not in err
    row = ApiKey.objects.get()
    assert (row.scopes, row.role, row.orchestrator_id, row.expires_at) == (["orchestrator"], "", "", None)
    assert row.secret_hash == keys.digest(out.strip())
    assert AuditEntry.objects.get(action="api_key.create").actor == "command create_api_key"


@pytest.mark.django_db
def test_a_key_takes_role_name_binding_and_end(acme: Organization) -> None:
    run(
        "create_api_key",
        "--organization",
        "acme",
        "--role",
        "viewer",
        "--name",
        "grafana",
        "--expires-at",
        "2030-01-02",
    )
    run("create_api_key", "--organization", "acme", "--scope", "orchestrator", "--orchestrator", "orch-001")
    reader, bound = ApiKey.objects.order_by("pk")
    assert (reader.name, reader.role, reader.expires_at) == ("grafana", "viewer", datetime(2030, 1, 2, tzinfo=UTC))
    assert (bound.name, bound.orchestrator_id) == ("orchestrator orch-001", "orch-001")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--organization", "nowhere", "--role", "viewer"], "create_organization"),
        (["--organization", "acme"], "--role --scope"),
        (["--organization", "acme", "--role", "viewer", "--scope", "orchestrator"], "not allowed with"),
        (["--organization", "acme", "--role", "superadmin"], "invalid choice"),
        (
            ["--organization", "acme", "--role", "viewer", "--expires-at", "tomorrow"],
            "ISO 8601, for example 2027-01-31",
        ),
        (["--organization", "acme", "--role", "viewer", "--expires-at", "2020-01-01"], "This time has passed already"),
        (["--role", "viewer"], "--organization"),
    ],
)
def test_a_wrong_call_makes_no_key_and_says_why(acme: Organization, arguments: list[str], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        run("create_api_key", *arguments)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    command = load_command_class("orgs", name)
    parser = command.create_parser("manage.py", name)
    assert len(command.help) > 20
    own = [action for action in parser._actions if action.dest not in command_line_of_django()]
    assert own
    assert all(action.help for action in own), [action.dest for action in own if not action.help]
    assert command.help[:20] in " ".join(parser.format_help().split())


def command_line_of_django() -> set[str]:
    return {
        "help", "version", "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks",
    }  # fmt: skip
