"""Callers of the data plane: who presents what, for which organization, kept in memory and looked at every two seconds.

While the database is up, what is revoked is refused within five seconds; while it is away, what was good serves on for
TRUST_SECONDS.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from moolai.errors import AppError, Forbidden, NotFound
from orgs import counters, keys, tokens
from orgs.models import Membership, Organization, Role, User

logger = logging.getLogger(__name__)
LOOK_SECONDS: Final = 2.0
FRESH_SECONDS: Final = 4.0
TRUST_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 1.0  # a database that takes longer to say who a known caller is counts as away
IDLE_SECONDS: Final = 60.0
REFUSED_SECONDS: Final = 2.0
MAX_CALLERS: Final = 20_000
MAX_REFUSED: Final = 5_000
MAX_SECRET_LENGTH: Final = 8_000
CHUNK: Final = 500
AWAY: Final = (DatabaseError, InterfaceError, TimeoutError, OSError)
Loader = Callable[[Collection[tuple[str, str]]], dict[tuple[str, str], Any]]


class Presented(NamedTuple):
    """What somebody presented: a secret, and the organization it names ("" without)."""

    secret: str
    wanted: str = ""

    def __repr__(self) -> str:
        return f"Presented(wanted={self.wanted!r})"


@dataclass(frozen=True, slots=True)
class Standing:
    """Who calls, for which organization, under which limits; safe to keep for a few seconds, holds no secret."""

    caller_id: str
    name: str
    organization_id: str
    key_id: str = ""
    orchestrator_id: str = ""
    ends_at: float | None = None
    held: Any = None


@dataclass(slots=True)
class Entry:
    """A standing, or why there is none, and when that was looked up (monotonic)."""

    presented: Presented
    standing: Standing | None
    refusal: AppError | None
    looked_at: float
    used_at: float


class Callers:
    """The callers of one process; `run` does database work in a thread, `load` reads limits by (organization, key)."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any], load: Loader) -> None:
        self.run, self.load = run, load
        self.is_away = False
        self._entries: dict[Presented, Entry] = {}
        self._looking: dict[Presented, asyncio.Future[Entry]] = {}
        self._task: asyncio.Task[None] | None = None

    async def find(self, presented: Presented) -> Standing:
        """Return the standing; raises an AppError: who is refused here is refused everywhere the same."""
        now = time.monotonic()
        entry = self._entries.get(presented)
        if entry is None or not self._is_fresh(entry, now):
            entry = await self._look(presented, entry)
        entry.used_at = now
        standing = entry.standing
        if standing is None:
            raise entry.refusal or AppError("unauthenticated")
        if standing.ends_at is not None and standing.ends_at <= time.time():
            raise AppError("unauthenticated", WRONG)
        return standing

    def _is_fresh(self, entry: Entry, now: float) -> bool:
        age = now - entry.looked_at
        if entry.standing is None:
            return age < REFUSED_SECONDS
        return age < FRESH_SECONDS or (self.is_away and age < TRUST_SECONDS)

    async def _look(self, presented: Presented, known: Entry | None) -> Entry:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())
        work = self._looking.get(presented)
        if work is None:
            work = self._looking[presented] = asyncio.ensure_future(self._ask(presented))
            work.add_done_callback(lambda done: self._asked(presented, done))
        is_trusted = known is not None and known.standing is not None and self._is_trusted(known)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if is_trusted else None):
                return await asyncio.shield(work)
        except AWAY:
            if known is not None and known.standing is not None:
                self.is_away = True
                if self._is_trusted(known):
                    return known
            raise AppError("database_unavailable") from None

    @staticmethod
    def _is_trusted(entry: Entry) -> bool:
        return time.monotonic() - entry.looked_at < TRUST_SECONDS

    def _asked(self, presented: Presented, done: "asyncio.Future[Entry]") -> None:
        self._looking.pop(presented, None)
        if not done.cancelled():
            done.exception()  # whoever waits for it is told; if nobody does any more, that is fine

    async def _ask(self, presented: Presented) -> Entry:
        asked_at = time.monotonic()
        found = await self.run(lambda: identify([presented], load=self.load))
        self.is_away = False
        entry = self._keep(presented, found[presented], asked_at)
        if entry.standing is None and entry.refusal is not None and entry.refusal.http_status == 401:
            counters.add("credential.refused", "gateway")
        return entry

    def _keep(self, presented: Presented, found: Standing | AppError, asked_at: float) -> Entry:
        standing, refusal = (None, found) if isinstance(found, AppError) else (found, None)
        entry = self._entries.get(presented)
        if entry is None:
            if len(self._entries) >= MAX_CALLERS:
                self._entries.pop(next(iter(self._entries)))
            entry = self._entries[presented] = Entry(presented, standing, refusal, asked_at, asked_at)
        entry.standing, entry.refusal, entry.looked_at = standing, refusal, asked_at
        return entry

    # --- looking again ----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look_again()
            except AWAY:
                self.is_away = True
            except Exception:
                logger.exception("credentials of the gateway's callers could not be looked at")

    async def look_again(self) -> None:
        """Look at everybody who called in the last minute, and forget the others: a few queries for all."""
        now = time.monotonic()
        for presented, entry in list(self._entries.items()):
            limit = IDLE_SECONDS if entry.standing is not None else REFUSED_SECONDS
            if now - entry.used_at > limit:
                del self._entries[presented]
        waiting = [entry.presented for entry in self._entries.values() if entry.standing is not None]
        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            asked_at = time.monotonic()
            found = await self.run(partial(identify, chunk, load=self.load))
            for presented, answer in found.items():
                self._keep(presented, answer, asked_at)
        self.is_away = False

    def forget(self) -> None:
        """Forget everybody and stop looking."""
        self._entries.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None


# --- in a thread -----------------------------------------------------------------------------------------------------

WRONG: Final = "The credential is wrong, expired or revoked."


def identify(everybody: Collection[Presented], *, load: Loader) -> dict[Presented, Standing | AppError]:
    """Return each one's standing, or the refusal it gets: a few queries, however many there are."""
    texts = {one.secret for one in everybody}
    by_key = keys.lookup((text for text in texts if not tokens.looks_like_jwt(text)), now=timezone.now())
    users = tokens.lookup(text for text in texts if tokens.looks_like_jwt(text))
    roles = _roles(users.values())
    wanted = {one.wanted for one in everybody if one.wanted.isprintable()} | {settings.DEFAULT_ORGANIZATION_ID}
    is_open = {row.pk: row.is_open for row in Organization.objects.filter(pk__in=wanted)}
    found: dict[Presented, Standing | AppError] = {}
    for one in everybody:
        try:
            found[one] = _standing(one, by_key, users, roles, is_open)
        except AppError as refusal:
            found[one] = refusal
    return _with_limits(found, load)


def _standing(
    one: Presented,
    by_key: dict[str, keys.Credential],
    users: dict[str, User],
    roles: dict[int, dict[str, str]],
    is_open: dict[str, bool],
) -> Standing:
    if is_static(one.secret):
        return Standing("token", "static token", _anywhere(one.wanted, is_open))
    if (credential := by_key.get(one.secret)) is not None:
        return _of_key(one, credential)
    user = users.get(one.secret)
    if user is None:
        raise AppError("token_expired") if _is_expired(one.secret) else AppError("unauthenticated", WRONG)
    caller_id, name = f"user:{user.pk}", user.get_username()
    if user.is_superuser:
        return Standing(caller_id, name, _anywhere(one.wanted, is_open))
    own = roles.get(user.pk, {})
    organization_id = _among(one.wanted, own)
    if own[organization_id] == Role.VIEWER:
        raise Forbidden(detail="Viewers may not call models.")
    return Standing(caller_id, name, organization_id)


def is_static(secret: str) -> bool:
    """Whether it is the superadmin's static token."""
    token = settings.DEV_BEARER_TOKEN
    return bool(token) and hmac.compare_digest(secret.encode("utf-8", "surrogatepass"), token.encode())


def _of_key(one: Presented, key: keys.Credential) -> Standing:
    if not key.is_organization_open:
        raise AppError("unauthenticated", WRONG)
    if one.wanted and one.wanted != key.organization_id:
        raise NotFound
    if key.role == Role.VIEWER or not (key.role or key.may_register):
        raise Forbidden(detail="Viewers may not call models.")
    ends_at = key.expires_at.timestamp() if key.expires_at else None
    return Standing(
        f"key:{key.key_id}", key.actor, key.organization_id, key.key_id, key.orchestrator_id, ends_at=ends_at
    )


def _anywhere(wanted: str, is_open: dict[str, bool]) -> str:
    """Return the organization a superadmin acts in."""
    if wanted:
        if wanted not in is_open:
            raise NotFound
        organization_id = wanted
    else:
        organization_id = settings.DEFAULT_ORGANIZATION_ID
        if organization_id not in is_open:
            raise AppError("organization_required")
    if not is_open[organization_id]:
        raise Forbidden(detail="The organization is suspended.")
    return organization_id


def _among(wanted: str, own: dict[str, str]) -> str:
    """Return the organization that somebody with these roles acts in."""
    if wanted:
        if wanted not in own:
            raise NotFound
        return wanted
    if not own:
        raise Forbidden(detail="You belong to no organization that is open.")
    if len(own) == 1:
        return next(iter(own))
    if settings.DEFAULT_ORGANIZATION_ID in own:
        return str(settings.DEFAULT_ORGANIZATION_ID)
    raise AppError("organization_required")


def _roles(users: Iterable[User]) -> dict[int, dict[str, str]]:
    people = {user.pk for user in users if not user.is_superuser}
    found: dict[int, dict[str, str]] = {}
    rows = Membership.objects.open().filter(user__in=people) if people else Membership.objects.none()
    for user_id, organization_id, role in rows.values_list("user", "organization", "role"):
        found.setdefault(user_id, {})[organization_id] = role
    return found


def _is_expired(text: str) -> bool:
    if not tokens.looks_like_jwt(text):
        return False
    try:
        tokens.read(text)
    except tokens.ExpiredError:
        return True
    except tokens.InvalidError:
        return False
    return False


def _with_limits(found: dict[Presented, Standing | AppError], load: Loader) -> dict[Presented, Standing | AppError]:
    standings = [one for one in found.values() if isinstance(one, Standing)]
    held = load({(one.organization_id, one.key_id) for one in standings}) if standings else {}
    return {presented: _limited(one, held) for presented, one in found.items()}


def _limited(one: Standing | AppError, held: dict[tuple[str, str], Any]) -> Standing | AppError:
    if isinstance(one, AppError):
        return one
    return Standing(
        one.caller_id, one.name, one.organization_id, one.key_id, one.orchestrator_id, one.ends_at,
        held.get((one.organization_id, one.key_id)),
    )  # fmt: skip
