"""Names: what may be one, and how it is stored (R26)."""

import unicodedata
from typing import Any

import pytest

from moolai.errors import InvalidInput
from orgs import keys, names, organizations
from orgs.models import Organization, User

GOOD = ["A", "Ä", "Acme Robotics GmbH & Co.", "<b>", "=1+1", "日本", "مرحبا", "👩‍💻", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a\u00a0b", "e\u0301"]
BAD = {
    "": "visible", "   ": "visible", "\u00a0\u3000": "visible", "\u200b": "visible", "\u0301": "visible",
    "a\r\nb": "Character 2 (U+000D)", "a\n": "Character 2 (U+000A)", "\ta": "Character 1 (U+0009)",
    "\x00": "U+0000", "a\x7f": "U+007F", "\x1b[31mred": "U+001B", "a\x85b": "U+0085", "a\u2028b": "U+2028",
    "user\u202egpj.exe": "Character 5 (U+202E)", "\u2066x": "U+2066", "a\u200fb": "U+200F", "\ud800": "U+D800",
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_these_are_names(text: str) -> None:
    assert names.require(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", BAD)
def test_these_are_not_and_the_reason_is_said(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        names.require(text)
    assert BAD[text] in refused.value.fields["name"]


@pytest.mark.django_db
def test_two_ways_to_write_a_name_are_stored_as_one() -> None:
    organization = organizations.create("acme", name="Cafe\u0301", acting_user=None)
    key, _ = keys.create(organization, name="Cafe\u0301", acting_user=None, role="viewer")
    person = User.objects.create_user("ann", first_name="Ame\u0301lie")
    for row in (organization, key, person):
        row.refresh_from_db()
    assert (organization.name, key.name, person.first_name) == ("Café", "Café", "Amélie")
    assert Organization.objects.filter(name="Cafe\u0301").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["   ", "a\nb", "x\u202ey", "x" * 10_000])
def test_no_room_takes_another(text: str) -> None:
    organization = organizations.create("acme", name="Acme", acting_user=None)
    calls: list[Any] = [lambda: organizations.update(organization, acting_user=None, name=text)]
    if len(text) < 200:
        calls.append(lambda: keys.create(organization, name=text, acting_user=None, role="viewer"))
    for call in calls:
        with pytest.raises(InvalidInput) as refused:
            call()
        assert list(refused.value.fields) == ["name"]
