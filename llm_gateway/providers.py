"""Providers: make, change, delete. Keys are sealed, masked for readers, and bound to the host they were entered for."""

import re
from copy import copy
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from llm_gateway import hosts
from llm_gateway.models import Provider
from moolai.errors import Conflict, Forbidden, InvalidInput
from orgs import audit, destinations, sealed
from orgs.models import Organization, User

PLAIN: Final = ("name", "dialect", "base_url", "auth", "is_enabled", "is_local", "priority", "known_models")
MAX_MODELS: Final = 500
MAX_PRIORITY: Final = 1_000_000
KEY: Final = re.compile(r"[\x21-\x7e]{1,4000}")
MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,199}")
QUERY: Final = re.compile(r"api-version=[0-9A-Za-z.-]{1,40}")
RESERVED: Final = frozenset({"echo"})


def create(
    organization: Organization | None, *, acting_user: User | None, is_superadmin: bool = False, **wish: Any
) -> Provider:
    """Make a provider, for one organization or (None) for all.

    Raises `invalid_field`, `destination_not_allowed`, `conflict` when the name is taken, and `forbidden` where somebody
    else than a superadmin marks it as local. The address is looked up before the transaction begins.
    """
    row = Provider(organization=organization)
    _check_address(row, wish)
    _write(row, wish, is_superadmin=is_superadmin)
    with transaction.atomic():
        _save(row)
        _record("create", row, acting_user=acting_user, after=shown(row))
    return row


def update(provider: Provider, *, acting_user: User | None, is_superadmin: bool = False, **wish: Any) -> Provider:
    """Change a provider; another host clears its key unless one is given. Raises as `create` does."""
    _check_address(provider, wish)
    with transaction.atomic():
        row = Provider.objects.select_for_update(of=("self",)).get(pk=provider.pk)
        before, cipher = shown(row), row.api_key
        _write(row, wish, is_superadmin=is_superadmin)
        after, is_rekeyed = shown(row), cipher != row.api_key
        if before == after and not is_rekeyed:
            return row
        _save(row)
        changed = sorted(name for name in after if before[name] != after[name])
        _record(
            "update",
            row,
            acting_user=acting_user,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed} | ({"credentials": "changed"} if is_rekeyed else {}),
        )
    return row


def check(provider: Provider, *, is_superadmin: bool = False, **wish: Any) -> None:
    """Raise what `create` or `update` would for `wish`; nothing is written."""
    _check_address(provider, wish)
    _write(copy(provider), wish, is_superadmin=is_superadmin)


@transaction.atomic
def delete(provider: Provider, *, acting_user: User | None) -> None:
    """Delete a provider; calls that are on their way end as they would have."""
    _record("delete", provider, acting_user=acting_user, before=shown(provider))
    provider.delete()


@transaction.atomic
def record_test(provider: Provider, *, acting_user: User | None, is_working: bool, error: str) -> None:
    """Leave the audit row of a test call."""
    _record("test", provider, acting_user=acting_user, after={"is_working": is_working, "error": error})


def record_environment_test(key: str, *, acting_user: User | None, is_working: bool, error: str) -> None:
    """Leave the audit row of a test call to a provider of the environment, by its key in the catalog."""
    after = {"is_working": is_working, "error": error}
    audit.record("provider.test", acting_user=acting_user, organization_id="", target=("provider", key), after=after)


def shown(row: Provider) -> dict[str, Any]:
    """Return what readers may see of a provider."""
    return {**{name: getattr(row, name) for name in PLAIN}, **sealed.masked(row)}


# --- checking --------------------------------------------------------------------------------------------------------


def _write(row: Provider, wish: dict[str, Any], *, is_superadmin: bool) -> None:
    """Put what is wished into the row, checked and sealed (not saved)."""
    place = hosts.place(row.dialect, row.base_url) if row.dialect else None
    if wish.get("is_local", row.is_local) != row.is_local and not is_superadmin:
        raise Forbidden(detail="Only a superadmin says that a provider is local: its calls cost nothing.")
    for name in PLAIN:
        setattr(row, name, wish.get(name, getattr(row, name)))
    _validate(row)
    if row.is_local and place not in (None, hosts.place(row.dialect, row.base_url)) and not is_superadmin:
        row.is_local = False
    if place is not None and place != hosts.place(row.dialect, row.base_url) and not sealed.is_same(row, "api_key", ""):
        wish = {"api_key": "", **wish}
    if "api_key" in wish and _is_other_key(row, place, wish["api_key"]):
        _check_key(wish["api_key"])
        sealed.put(row, "api_key", wish["api_key"])


def _is_other_key(row: Provider, place: Any, key: str) -> bool:
    """Whether the key is written anew: what its reader saw masked, and sent back, is the key that is there.

    For another host the masked one is no key: it must be entered again.
    """
    if place is not None and place != hosts.place(row.dialect, row.base_url) and key and "***" in key:
        raise InvalidInput(fields={"api_key": "The address leads to another host; enter the key again."})
    return not sealed.is_same(row, "api_key", key)


def _check_key(key: str) -> None:
    if key and not KEY.fullmatch(key):
        raise InvalidInput(fields={"api_key": "Write the key in visible ASCII characters, without spaces."})


def _check_address(row: Provider, wish: dict[str, Any]) -> None:
    """Refuse an address that may not be called; it is looked up, so no transaction should be open."""
    url = str(wish.get("base_url") or "")
    if not url or url == row.base_url:
        return
    if "#" in url or (("?" in url) and not QUERY.fullmatch(urlsplit(url).query)):
        raise InvalidInput(fields={"base_url": "Leave query and fragment out of the address, but for `api-version`."})
    networks = destinations.allowed_networks(row.organization_id)
    destinations.require(url, allowed_networks=networks)


def _validate(row: Provider) -> None:
    try:
        row.full_clean(exclude=["api_key", "organization"], validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise InvalidInput(
            fields={_public(name): " ".join(text) for name, text in error.message_dict.items()}
        ) from None
    if row.auth != Provider.Auth.BEARER and row.dialect != Provider.Dialect.OPENAI:
        raise InvalidInput(fields={"auth": "Only providers of the OpenAI dialect take their key in another header."})
    if row.name in RESERVED and row.dialect != Provider.Dialect.ECHO:
        raise InvalidInput(fields={"name": "This name belongs to the provider that answers by itself."})
    if not isinstance(row.priority, int) or abs(row.priority) > MAX_PRIORITY:
        raise InvalidInput(fields={"priority": f"Write a whole number up to {MAX_PRIORITY}."})
    names = row.known_models
    if not isinstance(names, list) or len(names) > MAX_MODELS or not all(map(_is_model, names)):
        raise InvalidInput(fields={"models": f"Write a list of up to {MAX_MODELS} names of models."})


def _is_model(name: Any) -> bool:
    return isinstance(name, str) and MODEL.fullmatch(name) is not None


def _public(name: str) -> str:
    return {"known_models": "models"}.get(name, name)


def _save(row: Provider) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Conflict(detail=f"There is a provider {row.name} already.") from None


def _record(action: str, row: Provider, *, acting_user: User | None, **change: Any) -> None:
    audit.record(
        f"provider.{action}",
        acting_user=acting_user,
        organization_id=row.organization_id or "",
        target=("provider", row.provider_id),
        **change,
    )
