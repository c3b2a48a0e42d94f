"""Logs: structlog over the standard library; JSON lines, or readable ones in a terminal; errors also to Sentry."""

import logging
import logging.config
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from django.conf import settings

request_id: ContextVar[str] = ContextVar("request_id", default="")
# Loggers that chatter, or that would print headers, parameters and passwords at DEBUG.
NOISY: Final = (
    "uvicorn.error", "uvicorn.access", "daphne", "asyncio", "django.channels.server", "django.db.backends",
    "websockets",
)  # fmt: skip
# What splits or forges lines, or cannot be encoded; JSON itself escapes the ones below space.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SECRETS: Final = re.compile(
    r"""(\bBearer\s+|\bX-API-Key["':=\s]+)[^\s"'\\]{12,}  # what a header carries; a shorter word is prose
    |(://[^\s/:@]*:)[^\s/@]+(?=@)                       # the password of a URL
    |(\bmk_|\bmr_|\bapl_)[0-9A-Za-z_-]{16,}             # an API key, a refresh token, the link of an approval
    |(\beyJ)[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?            # a JWT
    """,
    re.IGNORECASE | re.VERBOSE,
)
MIN_SECRET_LENGTH: Final = 8  # a shorter one would take ordinary words with it
_NAMED: Final = (
    "SECRET_KEY", "ENCRYPTION_KEY", "DEV_BEARER_TOKEN", "MOOLAI_ADMIN_PASSWORD", "EMAIL_HOST_PASSWORD",
    "ORCHESTRATOR_JWT_SECRET",
)  # fmt: skip
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def sane_request_id(given: str) -> str:
    """Return the id a client gave its request when it is sane, else a new one."""
    return given if _SANE_ID.fullmatch(given) else secrets.token_hex(12)


def _add_request_id(_: Any, __: str, entry: dict[str, Any]) -> dict[str, Any]:
    if current := request_id.get():
        entry.setdefault("request_id", current)
    return entry


def _drop_request(_: Any, __: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out the request that Django adds: it shows the query, which may hold what belongs into a header."""
    entry.pop("request", None)
    return entry


def _has_colors() -> bool:
    return "NO_COLOR" not in os.environ and (sys.stdout.isatty() or "FORCE_COLOR" in os.environ)


def scrub(text: str) -> str:
    """Return `text` without credentials: by their shape, and by value for those that the settings hold."""
    text = _SECRETS.sub(lambda found: f"{found[found.lastindex or 0]}***", text)
    for value in _values():
        if len(value) >= MIN_SECRET_LENGTH:
            text = text.replace(value, "***")
    return text


def _values() -> Iterator[str]:
    """Return the secrets that the settings hold; each key of ENCRYPTION_KEY is one."""
    for name in _NAMED:
        yield from getattr(settings, name, "").split(",") if name == "ENCRYPTION_KEY" else [getattr(settings, name, "")]
    yield from (str(database.get("PASSWORD") or "") for database in settings.DATABASES.values())
    yield urlsplit(settings.REDIS_URL).password or ""


def _escape(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape_values(_: Any, __: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Keep a readable log line on its line (a traceback's lines come later and stay)."""
    return {key: _escape(value) if isinstance(value, str) else value for key, value in entry.items()}


def _finish(_: Any, __: str, line: str) -> str:
    return scrub(line)


def _finish_json(_: Any, __: str, line: str) -> str:
    return _escape(scrub(line))


def configure() -> None:
    """Send every log line of the process to standard output in one format (LOG_FORMAT, LOG_LEVEL)."""
    is_readable = settings.LOG_FORMAT == "console" or (settings.LOG_FORMAT == "auto" and sys.stdout.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _drop_request,
        _add_request_id,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = structlog.dev.ConsoleRenderer(
        pad_event_to=0,
        colors=_has_colors(),
        exception_formatter=structlog.dev.plain_traceback,  # the default shows local variables
    )
    last: list[Any] = [_escape_values, renderer, _finish]
    if not is_readable:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
        last = [structlog.processors.format_exc_info, renderer, _finish_json]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "one": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
                }
            },
            "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "one"}},
            "root": {"handlers": ["out"], "level": settings.LOG_LEVEL},
            "loggers": {name: {"level": "WARNING"} for name in NOISY},
        }
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    if settings.SENTRY_DSN:
        _start_sentry()


def _start_sentry() -> None:
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.django import DjangoIntegration

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        # Else it would import whatever it knows and finds: the SDKs of providers alone take seconds.
        auto_enabling_integrations=False,
        integrations=[DjangoIntegration(), CeleryIntegration()],
        environment=settings.ENVIRONMENT,
        release=settings.VERSION,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        before_send=_scrub_event,
    )


def _scrub_event(event: Any, hint: Any) -> Any:
    """Take out of what goes to Sentry what the logs do not show either: the query, and credentials in any text."""
    for name in ("query_string", "cookies", "data", "env"):
        event.get("request", {}).pop(name, None)
    return _scrub_values(event)


def _scrub_values(value: Any) -> Any:
    match value:
        case str():
            return scrub(value)
        case dict():
            return {name: _scrub_values(item) for name, item in value.items()}
        case list() | tuple():
            return [_scrub_values(item) for item in value]
    return value
