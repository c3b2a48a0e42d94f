"""Logs: structlog over the standard library; JSON lines, or readable ones in a terminal; errors also to Sentry."""

import logging
import logging.config
import os
import sys
from contextvars import ContextVar
from typing import Any

import structlog
from django.conf import settings

request_id: ContextVar[str] = ContextVar("request_id", default="")
NOISY = ("uvicorn.error", "uvicorn.access", "daphne", "asyncio", "django.channels.server")


def _add_request_id(_: Any, __: str, entry: dict[str, Any]) -> dict[str, Any]:
    if current := request_id.get():
        entry.setdefault("request_id", current)
    return entry


def _has_colors() -> bool:
    return "NO_COLOR" not in os.environ and (sys.stdout.isatty() or "FORCE_COLOR" in os.environ)


def configure() -> None:
    """Send every log line of the process to standard output in one format (LOG_FORMAT, LOG_LEVEL)."""
    is_readable = settings.LOG_FORMAT == "console" or (settings.LOG_FORMAT == "auto" and sys.stdout.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _add_request_id,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.dev.ConsoleRenderer(pad_event_to=0, colors=_has_colors())]
    if not is_readable:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
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

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment=settings.ENVIRONMENT,
        release=settings.VERSION,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
    )
