"""The networks that may reach the console (ADMIN_ALLOWED_CIDRS); outside of them it is closed, also with a session."""

import ipaddress
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from moolai.console import lost

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
CONSOLE: Final = "/admin"
logger = logging.getLogger("moolai.requests")


class AllowedNetworksMiddleware:
    """Answers 403 to whoever asks for the console from elsewhere; without networks everybody may come."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request."""
        is_console = request.path == CONSOLE or request.path.startswith(f"{CONSOLE}/")
        if not is_console or is_allowed(request.META.get("REMOTE_ADDR", ""), settings.ADMIN_ALLOWED_CIDRS):
            return self.get_response(request)
        logger.warning("denied %s %s: address not in ADMIN_ALLOWED_CIDRS", request.method, request.path)
        return lost.outside(request)


def parse(text: str) -> Network:
    """Return the network that `text` names, a single address being one of its own; raises ValueError."""
    return ipaddress.ip_network(text)


def is_allowed(address: str, networks: Iterable[str]) -> bool:
    """Whether `address` lies in one of `networks`; there are none: always. What is no address lies nowhere."""
    allowed = _parsed(tuple(networks))
    if not allowed:
        return True
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    return any(client in network for network in allowed)


@lru_cache(maxsize=8)
def _parsed(networks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(map(parse, networks))
