"""System checks: wrong or unsafe combinations of settings stop the start with a sentence about what to set."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from moolai import networks

WELL_KNOWN: Final = frozenset({"fake-dev-token", "dev-token", "test-token", "changeme", "change-me", "secret", "token"})
MAX_ACCESS_TOKEN_SECONDS: Final = 900
WEAK_PASSWORDS: Final = frozenset({"admin", "password", "changeme", "moolai", "admin123", "12345678"})


@register("moolai")
def production_is_safe(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse what must not run in production (ENVIRONMENT=production)."""
    if not settings.IS_PRODUCTION:
        return []
    token = settings.DEV_BEARER_TOKEN
    problems = {
        "DEBUG must be off.": settings.DEBUG,
        "Set SECRET_KEY to 50 or more random characters.": len(settings.SECRET_KEY) < 50
        or settings.SECRET_KEY.startswith("django-insecure-"),
        "Set ENCRYPTION_KEY to 32 or more random characters (each of several, separated by commas); keep it apart from "
        "the database.": any(len(key.strip()) < 32 for key in settings.ENCRYPTION_KEY.split(",")),
        "Set ALLOWED_HOSTS to the names this controller is reached by, without *.": not settings.ALLOWED_HOSTS
        or "*" in settings.ALLOWED_HOSTS,
        "DEV_BEARER_TOKEN is a well-known or short value; unset it or make it 24 or more random characters.": bool(
            token
        )
        and (token.lower() in WELL_KNOWN or len(token) < 24),
        "METRICS_TOKEN is short; unset it or make it 24 or more random characters.": 0
        < len(settings.METRICS_TOKEN)
        < 24,
        "MOOLAI_ADMIN_PASSWORD is a well-known or short value.": bool(settings.MOOLAI_ADMIN_PASSWORD)
        and (settings.MOOLAI_ADMIN_PASSWORD.lower() in WEAK_PASSWORDS or len(settings.MOOLAI_ADMIN_PASSWORD) < 10),
        "ALLOW_ANONYMOUS_REGISTRATION must be off.": settings.ALLOW_ANONYMOUS_REGISTRATION,
        "CORS_ALLOWED_ORIGINS must name origins, not *.": "*" in settings.CORS_ALLOWED_ORIGINS,
    }
    return [
        Error(f"ENVIRONMENT=production: {text}", id="moolai.E001") for text, is_wrong in problems.items() if is_wrong
    ]


@register("moolai")
def environment_is_known(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a misspelt ENVIRONMENT, which would silently be development."""
    if settings.ENVIRONMENT in ("development", "production"):
        return []
    return [Error("ENVIRONMENT must be development or production.", id="moolai.E002")]


@register("moolai")
def tls_files_exist(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse TLS_ENABLED without its two files."""
    if not settings.TLS_ENABLED:
        return []
    missing = [
        name
        for name in ("TLS_CERT_PATH", "TLS_KEY_PATH")
        if not getattr(settings, name) or not Path(getattr(settings, name)).is_file()
    ]
    return [Error(f"TLS_ENABLED needs {name} to name a readable file.", id="moolai.E003") for name in missing]


@register("moolai")
def console_networks_are_readable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse networks that cannot be read: the console would be closed to everybody, or open to too many."""
    return _unreadable("ADMIN_ALLOWED_CIDRS", "moolai.E006")


@register("moolai")
def outbound_networks_are_readable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse networks that cannot be read: no channel could be called."""
    return _unreadable("OUTBOUND_ALLOWED_CIDRS", "moolai.E019")


def _unreadable(setting: str, number: str) -> list[CheckMessage]:
    wrong: list[CheckMessage] = []
    for text in getattr(settings, setting):
        try:
            networks.parse(text)
        except ValueError as error:
            wrong.append(Error(f"{setting} must name networks such as 10.0.0.0/8: {error}.", id=number))
    return wrong


@register("moolai")
def access_tokens_are_short_lived(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse access tokens that outlive 15 minutes: what they say is looked up, but their theft is not noticed."""
    if 1 <= settings.ACCESS_TOKEN_SECONDS <= MAX_ACCESS_TOKEN_SECONDS:
        return []
    return [Error(f"ACCESS_TOKEN_SEC must lie between 1 and {MAX_ACCESS_TOKEN_SECONDS}.", id="moolai.E007")]


@register("moolai")
def heartbeats_fit(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a heartbeat interval that the TTL does not allow to be missed once."""
    if 0 < settings.HEARTBEAT_INTERVAL_SEC * 2 <= settings.HEARTBEAT_TTL_SEC or settings.HEARTBEAT_TTL_SEC < 4:
        return []
    return [Error("HEARTBEAT_TTL_SEC must be at least twice HEARTBEAT_INTERVAL_SEC.", id="moolai.E004")]


@register("moolai")
def unknown_prices_cost_something(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a misspelt LLM_UNKNOWN_PRICE, and an estimate that is no number or makes calls free."""
    if settings.LLM_UNKNOWN_PRICE not in ("refuse", "estimate"):
        return [Error("LLM_UNKNOWN_PRICE must be refuse or estimate.", id="moolai.E021")]
    try:
        dollars = [Decimal(settings.LLM_ESTIMATED_INPUT_USD), Decimal(settings.LLM_ESTIMATED_OUTPUT_USD)]
    except InvalidOperation:
        dollars = [Decimal(0)]
    if all(amount.is_finite() and amount > 0 for amount in dollars):
        return []
    text = "LLM_ESTIMATED_INPUT_USD and LLM_ESTIMATED_OUTPUT_USD must be dollars above 0."
    return [Error(text, id="moolai.E021")]


@register("moolai")
def unlimited_answers_reserve_what_is_asked_for(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse to reserve less than Anthropic is asked for where nobody names a limit, or more than anybody may name."""
    from llm_gateway.dialects.anthropic.requests import DEFAULT_MAX_TOKENS
    from llm_gateway.surfaces.limits import MAX_OUTPUT_TOKENS

    if DEFAULT_MAX_TOKENS <= settings.LLM_RESERVE_OUTPUT_TOKENS <= MAX_OUTPUT_TOKENS:
        return []
    text = f"LLM_RESERVE_OUTPUT_TOKENS must lie between {DEFAULT_MAX_TOKENS} and {MAX_OUTPUT_TOKENS}."
    return [Error(text, id="moolai.E025")]


@register("moolai")
def registry_file_is_usable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a CONTROLLER_CONFIG_FILE that is not there or holds mistakes, with the place of each."""
    if not settings.CONTROLLER_CONFIG_FILE:
        return []
    from orchestrators import registry_file

    try:
        registry_file.parse(Path(settings.CONTROLLER_CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return [Error(f"CONTROLLER_CONFIG_FILE must name a readable file: {error}", id="moolai.E005")]
    except registry_file.InvalidFile as problem:
        return [Error(f"CONTROLLER_CONFIG_FILE holds a mistake: {text}", id="moolai.E005") for text in problem.problems]
    return []
