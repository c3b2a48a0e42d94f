"""Destinations: which addresses the product may call for somebody.

Whoever enters an address must not reach through us what only we can reach. So an address is checked when it is saved
(`require`) and again when it is called (`resolve`), and the caller connects to exactly the addresses that were checked
(`orgs/outgoing.py`): what a name means later does not matter. Networks that a superadmin allows are exempt, for an
organization (`allowed_networks`) or for the installation (OUTBOUND_ALLOWED_CIDRS).
"""

import ipaddress
import queue
import re
import socket
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, urlsplit

import psutil
from django.conf import settings

from moolai.errors import AppError
from orgs.models import AllowedNetwork

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
WEB: Final = {"http": 80, "https": 443}
WEB_PORTS: Final = frozenset(WEB.values())
LOOKUP_SECONDS: Final = 4.0
MAX_LENGTH: Final = 2_000
MAX_ADDRESSES: Final = 4
INSIDE: Final = (
    "This address lies inside the network; a superadmin can allow it: for an organization under Allowed networks "
    "(console) or POST /api/v1/internal/allowed-networks, for the installation in OUTBOUND_ALLOWED_CIDRS."
)
_NAME: Final = re.compile(r"(?=.{1,253}\Z)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_-]{1,63}")
_NUMBER: Final = re.compile(r"(?i)[0-9]+|0x[0-9a-f]*")  # inet_aton takes such a last label as part of an address
_CLOSED: Final = tuple(
    map(
        ipaddress.IPv4Network,
        """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
        192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4""".split(),
    )
)
# Of IPv6 only global unicast (RFC 4291 §2.4) is open, so mapped, translated (64:ff9b::/96), link-local, unique local
# and multicast addresses are closed; of global unicast what leads elsewhere: Teredo and the like, examples, 6to4.
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
_CLOSED_IPV6: Final = tuple(map(ipaddress.IPv6Network, "2001::/23 2001:db8::/32 2002::/16 3fff::/20".split()))


class NotAllowed(AppError):
    """An address that may not be called; the text says why, and never what a name resolves to."""

    code = "destination_not_allowed"


class Unresolved(Exception):
    """A name that has no address just now; it may have one later."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A checked address: `host` is for the Host header and TLS, `addresses` is all there is to connect to.

    `path` begins with / and holds the query. No `addresses`: the name had none when it was saved.
    """

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


def allowed_networks(organization_id: str | None) -> tuple[str, ...]:
    """Return the networks inside that may be called for an organization, or ("" or None) for the installation."""
    if not organization_id:
        return tuple(settings.OUTBOUND_ALLOWED_CIDRS)
    own = AllowedNetwork.objects.filter(organization=organization_id).values_list("cidr", flat=True)
    return (*settings.OUTBOUND_ALLOWED_CIDRS, *own)


def require(
    url: str,
    *,
    allowed_networks: Iterable[str] = (),
    ports: Collection[int] = WEB_PORTS,
    schemes: dict[str, int] = WEB,
) -> Destination:
    """Check an address that is to be saved; raises `destination_not_allowed`. A name without an address passes.

    Its port is checked as if the name led outside, unless there are networks that are allowed: it may lie in one.
    """
    networks = tuple(allowed_networks)
    try:
        return resolve(url, allowed_networks=networks, ports=ports, schemes=schemes)
    except Unresolved:
        found = _destination(_split(url, schemes), schemes, ())
        if not networks:
            _check_port(found.port, ports)
        return found


def resolve(
    url: str,
    *,
    allowed_networks: Iterable[str] = (),
    ports: Collection[int] = WEB_PORTS,
    schemes: dict[str, int] = WEB,
) -> Destination:
    """Check an address that is to be called now; raises `destination_not_allowed`, and Unresolved.

    Every address of a name must be allowed. `schemes` maps those that are taken to their usual port; another port than
    `ports` is for networks that are allowed by name only.
    """
    parts = _split(url, schemes)
    port = parts.port or schemes[parts.scheme]
    is_own = _is_own_name(parts.hostname or "")
    try:
        found = tuple(dict.fromkeys(_addresses(parts.hostname or "", port)))
    except Unresolved:
        if is_own:
            raise NotAllowed(detail=INSIDE) from None
        raise
    networks = _networks(tuple(allowed_networks))
    for address in found:
        if any(address in network for network in networks):
            continue
        if is_own or not _is_open(address) or address in _own_addresses():
            raise NotAllowed(detail=INSIDE)
        _check_port(port, ports)
    return _destination(parts, schemes, tuple(map(str, found))[:MAX_ADDRESSES])


def trusted(url: str, *, schemes: dict[str, int] = WEB) -> Destination:
    """Return where an address of the installation's own settings leads, wherever that is; raises Unresolved."""
    parts = _split(url, schemes)
    found = _addresses(parts.hostname or "", parts.port or schemes[parts.scheme])
    return _destination(parts, schemes, tuple(map(str, found))[:MAX_ADDRESSES])


def parse_network(text: str) -> Network:
    """Return the network that `text` names, a single address being one of its own; raises ValueError."""
    return ipaddress.ip_network(text.strip())


# --- the text --------------------------------------------------------------------------------------------------------


def _split(url: str, schemes: dict[str, int]) -> SplitResult:
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url or len(url) > MAX_LENGTH:
        raise NotAllowed(detail=f"Write an address in ASCII, without spaces, of up to {MAX_LENGTH} characters.")
    try:
        parts = urlsplit(url)
        is_usable = parts.port != 0
    except ValueError:
        raise NotAllowed(detail="This is no address.") from None
    if parts.scheme not in schemes or not parts.hostname or not is_usable:
        raise NotAllowed(detail=f"Write an address that begins with {_either([f'{name}://' for name in schemes])}.")
    if "@" in parts.netloc:
        raise NotAllowed(detail="Leave user name and password out of the address.")
    _check_host(parts)
    return parts


def _check_host(parts: SplitResult) -> None:
    host = parts.hostname or ""
    if "[" in parts.netloc:
        if not _is_literal(host) or "%" in host:
            raise NotAllowed(detail="This is no IPv6 address.")
    elif _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _is_literal(host):
        raise NotAllowed(detail="Write an IPv4 address as four decimal numbers.")
    elif not _is_literal(host) and not _NAME.fullmatch(host.removesuffix(".")):
        raise NotAllowed(detail="This is no host name.")


def _check_port(port: int, ports: Collection[int]) -> None:
    if port not in ports:
        raise NotAllowed(detail=f"Port {port} is not allowed; take {_either(sorted(ports))}.")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _destination(parts: SplitResult, schemes: dict[str, int], addresses: tuple[str, ...]) -> Destination:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or schemes[parts.scheme]
    return Destination(parts.scheme, parts.hostname or "", port, path, addresses)


def _either(words: Iterable[object]) -> str:
    return " or ".join(map(str, words))


# --- addresses -------------------------------------------------------------------------------------------------------


def _addresses(host: str, port: int) -> list[Address]:
    if _is_literal(host):
        return [ipaddress.ip_address(host)]
    found: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    threading.Thread(target=_look_up, args=(host, port, found), daemon=True).start()  # the system's has no time limit
    try:
        texts = found.get(timeout=LOOKUP_SECONDS)
    except queue.Empty:
        texts = []
    if not texts:
        raise Unresolved(f"{host} has no address just now")
    return [ipaddress.ip_address(text) for text in texts]


def _look_up(host: str, port: int, found: "queue.SimpleQueue[list[str]]") -> None:
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.put([str(row[4][0]) for row in rows])
    except (OSError, UnicodeError):
        found.put([])


def _is_open(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED)
    return address in _GLOBAL and address.scope_id is None and not any(address in network for network in _CLOSED_IPV6)


def _own_addresses() -> set[Address]:
    texts = [entry.address for entries in psutil.net_if_addrs().values() for entry in entries]
    return {ipaddress.ip_address(text) for text in texts if _is_literal(text)}


def _is_own_name(host: str) -> bool:
    own = {name.lower() for name in (*settings.ALLOWED_HOSTS, socket.gethostname(), "localhost")}
    name = host.lower().removesuffix(".")
    return name in own or name.endswith(".localhost") or any(_is_below(name, entry) for entry in own)


def _is_below(name: str, entry: str) -> bool:
    """Whether an entry of ALLOWED_HOSTS such as `.example.com` means `name`."""
    return entry.startswith(".") and (name.endswith(entry) or name == entry[1:])


@lru_cache(maxsize=64)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(map(parse_network, texts))
