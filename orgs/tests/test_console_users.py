"""The console's users and memberships: one form makes somebody, one submitted change leaves one audit row."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from moolai.errors import Conflict
from orgs import accounts, tokens, users
from orgs.models import AuditEntry, Membership, Organization, RefreshToken, User
from orgs.tests.desk import PASSWORD, forget, one_audit_row, said, told

pytestmark = pytest.mark.django_db
ADD = "/admin/orgs/user/add/"
NEW = {"username": "bob", "email": "bob@example.com", "password1": PASSWORD, "password2": PASSWORD}


@pytest.fixture
def bob(acme: Organization) -> User:
    member = users.create(acme, username="bob", role="viewer", acting_user=None, password=PASSWORD)
    forget()
    return member.user


def page_of(row: User | Membership, *, door: str = "change") -> str:
    return reverse(f"admin:orgs_{row._meta.model_name}_{door}", args=[row.pk])


def form_of(row: User, **changed: Any) -> dict[str, Any]:
    form = {"first_name": row.first_name, "last_name": row.last_name, "email": row.email}
    form |= {name: "on" for name in ("is_active", "is_superuser") if getattr(row, name)}
    return {name: value for name, value in {**form, **changed}.items() if value is not None}


def open_sign_ins() -> int:
    return RefreshToken.objects.filter(revoked_at=None).count()


# --- making somebody ------------------------------------------------------------------------------------------------


def test_one_form_makes_a_user_with_password_and_first_role(console: Client, acme: Organization) -> None:
    assert console.post(ADD, {**NEW, "organization": "acme", "role": "operator"}).status_code == 302
    bob = User.objects.get(username="bob")
    assert bob.check_password(PASSWORD)
    assert list(bob.memberships.values_list("organization_id", "role")) == [("acme", "operator")]
    row = one_audit_row()
    assert (row.action, row.organization_id, row.target_id, row.before) == ("user.create", "acme", "bob", None)
    assert row.after == {"email": "bob@example.com", "role": "operator", "is_active": True}
    assert PASSWORD not in f"{list(AuditEntry.objects.values())}"
    login = {"username": "bob", "password": PASSWORD}
    answer = Client().post("/api/v1/internal/auth/login", login, content_type="application/json")
    assert answer.status_code == 200


def test_one_form_makes_a_superadmin_who_opens_the_console(console: Client) -> None:
    assert console.post(ADD, {**NEW, "is_superuser": "on"}).status_code == 302
    row = one_audit_row()
    assert (row.action, row.organization_id, row.after) == (
        "user.create", "", {"email": "bob@example.com", "is_superuser": True, "is_active": True},
    )  # fmt: skip
    other = Client()
    assert other.post("/admin/login/", {"username": "bob", "password": PASSWORD}).status_code == 302
    assert other.get("/admin/").status_code == 200


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "Choose an organization, or make the user a superadmin."),
        ({"organization": "nobody", "role": "viewer"}, "valid choice"),
        ({"organization": "acme", "role": "owner"}, "valid choice"),
        ({"organization": "acme", "role": "viewer", "is_superuser": "on"}, "leave the organization empty"),
        ({"organization": "acme", "role": "viewer", "username": "ROOT"}, "already exists"),
        ({"organization": "acme", "role": "viewer", "password2": "something else"}, "didn’t match"),
        ({"organization": "acme", "role": "viewer", "password1": "bob", "password2": "bob"}, "too short"),
        ({"organization": "acme", "role": "viewer", "email": "nobody"}, "valid email"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_makes_nobody(
    console: Client, acme: Organization, changed: dict[str, str], words: str
) -> None:
    page = console.post(ADD, {**NEW, **changed})
    assert page.status_code == 200
    assert words in page.content.decode()
    assert PASSWORD not in page.content.decode()
    assert User.objects.count() == 1
    assert not AuditEntry.objects.exists()


# --- changing somebody ----------------------------------------------------------------------------------------------


def test_a_change_leaves_one_row_with_the_changed_fields_only(console: Client, bob: User) -> None:
    assert console.post(page_of(bob), form_of(bob, email="new@example.com")).status_code == 302
    row = one_audit_row()
    assert (row.action, row.organization_id, row.target_id) == ("user.update", "acme", "bob")
    assert (row.before, row.after) == ({"email": ""}, {"email": "new@example.com"})
    assert told() == [("acme", "bob")]


def test_saving_nothing_new_leaves_nothing(console: Client, bob: User) -> None:
    assert console.post(page_of(bob), form_of(bob)).status_code == 302
    assert not AuditEntry.objects.exists()
    assert told() == []


def test_a_user_name_stays_for_good(console: Client, bob: User) -> None:
    assert console.post(page_of(bob), form_of(bob, username="eve")).status_code == 302
    bob.refresh_from_db()
    assert bob.username == "bob"


def test_closing_an_account_ends_its_sign_ins_and_tells_the_sockets(console: Client, bob: User) -> None:
    tokens.sign_in(bob, now=timezone.now())
    assert console.post(page_of(bob), form_of(bob, is_active=None)).status_code == 302
    assert one_audit_row().after == {"is_active": False}
    assert open_sign_ins() == 0
    assert told() == [("acme", "bob")]


def test_an_account_of_several_organizations_is_audited_once_and_told_to_each(console: Client, bob: User) -> None:
    from orgs import organizations

    globex = organizations.create("globex", name="Globex", acting_user=None)
    users.add(bob, organization=globex, role="admin", acting_user=None)
    forget()
    console.post(page_of(bob), form_of(bob, is_active=None))
    assert one_audit_row().organization_id == ""
    assert told() == [("acme", "bob"), ("globex", "bob")]


def test_the_console_opens_to_whoever_is_made_superadmin_and_closes_again(console: Client, bob: User) -> None:
    other = Client()
    console.post(page_of(bob), form_of(bob, is_superuser="on"))
    assert other.post("/admin/login/", {"username": "bob", "password": PASSWORD}).status_code == 302
    assert other.get("/admin/").status_code == 200
    bob.refresh_from_db()
    assert bob.is_staff
    console.post(page_of(bob), form_of(bob, is_superuser=None))
    assert other.get("/admin/").status_code != 200
    bob.refresh_from_db()
    assert not bob.is_staff


@pytest.mark.parametrize("name", ["is_active", "is_superuser"])
def test_the_last_active_superadmin_stays_one(console: Client, root: User, name: str) -> None:
    User.objects.create_superuser("closed", password=PASSWORD, is_active=False)
    answer = console.post(page_of(root), form_of(root, **{name: None}))
    assert answer.status_code == 200
    assert "root is the last active superadmin" in answer.content.decode()
    root.refresh_from_db()
    assert (root.is_active, root.is_superuser) == (True, True)
    assert not AuditEntry.objects.exists()


def test_the_last_active_superadmin_is_not_deleted(console: Client, root: User) -> None:
    answer = console.post(page_of(root, door="delete"), {"post": "yes"})
    assert (answer.status_code, answer["Location"]) == (302, page_of(root))
    assert "root is the last active superadmin" in said(answer)
    assert User.objects.filter(pk=root.pk).exists()
    assert not AuditEntry.objects.exists()


def test_one_of_two_superadmins_may_go(console: Client, root: User) -> None:
    other = User.objects.create_superuser("other", password=PASSWORD)
    assert console.post(page_of(other), form_of(other, is_superuser=None)).status_code == 302
    assert one_audit_row().after == {"is_superuser": False}


def test_the_room_itself_keeps_the_last_superadmin(root: User) -> None:
    with pytest.raises(Conflict, match="last active superadmin"):
        accounts.update(root, acting_user=None, is_active=False)
    with pytest.raises(Conflict, match="last active superadmin"):
        accounts.delete(root, acting_user=None)
    assert not AuditEntry.objects.exists()


def test_deleting_somebody_leaves_one_row_with_the_roles_that_went(console: Client, bob: User) -> None:
    asked = console.get(page_of(bob, door="delete")).content.decode()
    assert "Delete bob?" in asked
    assert console.post(page_of(bob, door="delete"), {"post": "yes"}).status_code == 302
    row = one_audit_row()
    assert (row.action, row.organization_id, row.target_id) == ("user.delete", "acme", "bob")
    assert row.before is not None
    assert row.before["roles"] == {"acme": "viewer"}
    assert bob.password not in str(row.before)
    assert told() == [("acme", "bob")]


def test_a_new_password_leaves_one_row_without_it_and_ends_the_sign_ins(console: Client, bob: User) -> None:
    tokens.sign_in(bob, now=timezone.now())
    new = "another battery staple"
    url = reverse("admin:auth_user_password_change", args=[bob.pk])
    assert "Single Sign-On" not in console.get(url).content.decode()
    assert console.post(url, {"password1": new, "password2": new}).status_code == 302
    bob.refresh_from_db()
    assert bob.check_password(new)
    row = one_audit_row()
    assert (row.action, row.target_id, row.before, row.after) == ("user.password", "bob", None, None)
    assert open_sign_ins() == 0
    assert told() == [("acme", "bob")]


def test_a_bad_password_changes_nothing(console: Client, bob: User) -> None:
    url = reverse("admin:auth_user_password_change", args=[bob.pk])
    assert "too short" in console.post(url, {"password1": "x", "password2": "x"}).content.decode()
    assert not AuditEntry.objects.exists()


def test_ones_own_new_password_is_audited_and_ends_the_api_sign_ins(console: Client, root: User) -> None:
    new = "a new password 123"
    tokens.sign_in(root, now=timezone.now())
    form = {"old_password": "wrong", "new_password1": new, "new_password2": new}
    assert console.post("/admin/password_change/", form).status_code == 200
    assert not AuditEntry.objects.exists()
    assert console.post("/admin/password_change/", {**form, "old_password": PASSWORD}).status_code == 302
    assert one_audit_row().action == "user.password"
    assert open_sign_ins() == 0
    assert console.get("/admin/").status_code == 200


def test_the_pages_of_a_user_show_no_hash_and_no_word_of_other_sign_ins(console: Client, bob: User) -> None:
    for url in (ADD, page_of(bob)):
        text = console.get(url).content.decode()
        for word in ("LDAP", "Single Sign-On", "argon2", "md5", "algorithm", "is_staff"):
            assert word not in text, word
    assert f"{reverse('admin:orgs_membership_add')}?user={bob.pk}" in text


def test_the_list_narrows_to_an_organization(console: Client, bob: User) -> None:
    url = "/admin/orgs/user/?memberships__organization__organization_id__exact="
    assert page_of(bob) in console.get(f"{url}acme").content.decode()
    assert page_of(bob) not in console.get(f"{url}globex").content.decode()


# --- memberships ----------------------------------------------------------------------------------------------------


def test_a_role_is_added_changed_and_taken_away_with_one_row_each(
    console: Client, acme: Organization, bob: User
) -> None:
    Membership.objects.all().delete()
    form = {"user": bob.pk, "organization": "acme", "role": "operator"}
    assert console.post(reverse("admin:orgs_membership_add"), form).status_code == 302
    row = one_audit_row()
    assert (row.action, row.organization_id, row.target_id) == ("user.add", "acme", "bob")
    assert (row.before, row.after) == (None, {"role": "operator"})
    member = Membership.objects.get()
    for url, change, action in (
        (page_of(member), {"role": "viewer"}, "user.update"),
        (page_of(member, door="delete"), {"post": "yes"}, "user.delete"),
    ):
        assert told() == [("acme", "bob")]
        forget()
        assert console.post(url, change).status_code == 302
        row = one_audit_row()
        assert (row.action, row.organization_id, row.target_id) == (action, "acme", "bob")
    assert row.before == {"role": "viewer"}
    assert not Membership.objects.exists()


def test_a_second_role_in_one_organization_is_refused_beside_the_form(
    console: Client, acme: Organization, bob: User
) -> None:
    form = {"user": bob.pk, "organization": "acme", "role": "admin"}
    answer = console.post(reverse("admin:orgs_membership_add"), form)
    assert answer.status_code == 200
    assert "already exists" in answer.content.decode()
    assert Membership.objects.get().role == "viewer"
    assert not AuditEntry.objects.exists()


def test_a_role_never_moves_to_somebody_else(console: Client, bob: User, root: User) -> None:
    member = Membership.objects.get()
    assert console.post(page_of(member), {"user": root.pk, "role": "admin"}).status_code == 302
    member.refresh_from_db()
    assert (member.user, member.role) == (bob, "admin")


def test_the_last_role_taken_closes_the_account_and_says_so(console: Client, bob: User) -> None:
    tokens.sign_in(bob, now=timezone.now())
    member = Membership.objects.get()
    assert "without any role left is closed" in console.get(page_of(member, door="delete")).content.decode()
    answer = console.post(page_of(member, door="delete"), {"post": "yes"})
    assert "bob has no role left, so the account is closed." in said(answer)
    bob.refresh_from_db()
    assert not bob.is_active
    assert open_sign_ins() == 0


def test_a_superadmins_role_comes_and_goes_without_closing_the_console(
    console: Client, acme: Organization, root: User
) -> None:
    member = Membership.objects.create(user=root, organization=acme, role="viewer")
    assert console.post(page_of(member), {"role": "admin"}).status_code == 302
    assert console.post(page_of(member, door="delete"), {"post": "yes"}).status_code == 302
    root.refresh_from_db()
    assert root.is_active
    assert AuditEntry.objects.count() == 2


def test_chosen_roles_are_taken_one_by_one(console: Client, bob: User) -> None:
    form = {"action": "delete_selected", "_selected_action": [Membership.objects.get().pk]}
    url = reverse("admin:orgs_membership_changelist")
    assert "Take 1 user out?" in console.post(url, form).content.decode()
    assert Membership.objects.exists()
    assert console.post(url, {**form, "post": "yes"}).status_code == 302
    assert one_audit_row().action == "user.delete"


@pytest.mark.parametrize(
    ("query", "is_listed"),
    [("role__exact=viewer", True), ("role__exact=admin", False), ("organization__organization_id__exact=acme", True),
     ("organization__organization_id__exact=globex", False), ("q=bob", True), ("q=eve", False)],
)  # fmt: skip
def test_memberships_narrow_by_organization_role_and_words(
    console: Client, bob: User, query: str, is_listed: bool
) -> None:
    text = console.get(f"{reverse('admin:orgs_membership_changelist')}?{query}").content.decode()
    assert (page_of(Membership.objects.get()) in text) == is_listed
