"""System checks of credentials and limits: a wrong one stops the start with a sentence about what to set."""

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from orgs import rates

MIN_SECRET_LENGTH: Final = 32
MIN_KEY_LENGTH: Final = 24


@register("moolai")
def rates_are_readable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a RATE_LIMIT_… that is no rate."""
    problems: list[CheckMessage] = []
    for name, text in settings.RATE_LIMITS.items():
        try:
            rates.parse(text)
        except ValueError as error:
            problems.append(Error(f"RATE_LIMIT_{name}: {error}", id="moolai.E011"))
    return problems


@register("moolai")
def environment_keys_have_roles(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse ORCHESTRATOR_API_KEY_<NAME> without a role, and short keys in production."""
    from orgs.external import ROLES

    problems: list[CheckMessage] = []
    for name, key in settings.ORCHESTRATOR_API_KEYS.items():
        if key.role not in ROLES:
            text = f"{name}: write it as <key>:<role>, with one of the roles {', '.join(ROLES)}."
            problems.append(Error(text, id="moolai.E012"))
        elif settings.IS_PRODUCTION and key.length < MIN_KEY_LENGTH:
            text = f"ENVIRONMENT=production: {name}: use a key of {MIN_KEY_LENGTH} or more random characters."
            problems.append(Error(text, id="moolai.E013"))
    return problems


@register("moolai")
def jwt_secret_is_long(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a secret in production that is shorter than the hash it keys (RFC 7518 §3.2)."""
    length = len(settings.ORCHESTRATOR_JWT_SECRET)
    if not settings.IS_PRODUCTION or length == 0 or length >= MIN_SECRET_LENGTH:
        return []
    text = f"ENVIRONMENT=production: ORCHESTRATOR_JWT_SECRET: use {MIN_SECRET_LENGTH} or more random characters."
    return [Error(text, id="moolai.E014")]
