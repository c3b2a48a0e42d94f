"""The command line of one orchestrator, shared by `python -m orchestrators.client` and `manage.py orchestrator`."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from websockets.exceptions import InvalidURI

from . import rehearsal
from .frames import Frame
from .orchestrator import OrchestratorClient, logger
from .reconnect import Ended

KEY_VARIABLE = "MOOLAI_API_KEY"


class JsonLines(logging.Formatter):
    """One JSON object per line, with the keys of the controller's own logs (`LOG_FORMAT=json`)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat()
        entry = {"event": record.getMessage(), "logger": record.name, "level": record.levelname.lower()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps({**entry, "timestamp": moment}, ensure_ascii=False)


def url_of(host: str, port: int | str, *, is_secure: bool = False) -> str:
    """Return where a client on this machine finds the controller that listens on `host` and `port`."""
    name = "127.0.0.1" if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 — compared, not bound
    return f"{'wss' if is_secure else 'ws'}://{f'[{name}]' if ':' in name else name}:{port}/ws"


def url_from(environment: Mapping[str, str]) -> str:
    """Return the URL that HOST, PORT and TLS_ENABLED describe, read as the controller reads them."""
    host = environment.get("HOST") or environment.get("CONTROLLER_HOST") or "127.0.0.1"
    port = environment.get("PORT") or environment.get("CONTROLLER_PORT") or 8000
    is_secure = environment.get("TLS_ENABLED", "").lower() in {"true", "on", "ok", "y", "yes", "1"}
    return url_of(host, port, is_secure=is_secure)


def add_arguments(parser: argparse.ArgumentParser, *, url: str) -> None:
    """Declare the options; `url` is the default. The API key is none of them, as an argument list is public."""
    parser.add_argument("--id", required=True, dest="orchestrator_id", help="the orchestrator's id, e.g. orch-001")
    parser.add_argument("--url", default=url, help="the controller (default %(default)s)")
    parser.add_argument("--organization", help="organization id, when the credential does not name it")
    parser.add_argument("--name", help="name shown in the console")
    parser.add_argument("--metrics-interval", type=seconds, default=15.0, help="0 for none (default %(default)s)")
    parser.add_argument("--heartbeat-interval", type=seconds, help="seconds, instead of what the controller asks for")
    often = "ask the gateway's echo/echo something this often, to have calls to look at; 0: never"
    parser.add_argument("--model-calls", type=seconds, default=0.0, metavar="SECONDS", help=often)
    parser.add_argument("--keep-trying", action="store_true", help="after a refused credential, too: for daemons")
    rehearsal.add_arguments(parser)


def seconds(text: str) -> float:
    """Return a number of seconds; raises ArgumentTypeError below 0 or above a day."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds between 0 and 86400")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one orchestrator until SIGINT or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestrators.client",
        description=f"Run one orchestrator; its API key is read from {KEY_VARIABLE}.",
    )
    add_arguments(parser, url=url_from(os.environ))
    return execute(parser.parse_args(arguments))


def execute(options: argparse.Namespace) -> int:
    """Run the orchestrator that `options` describe; return 0 after a goodbye, 1 when refused, 2 for bad options."""
    handler = logging.StreamHandler(sys.stdout)
    is_json = os.environ.get("LOG_FORMAT") == "json"
    handler.setFormatter(JsonLines() if is_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if not os.environ.get(KEY_VARIABLE):
        logger.warning("%s is not set: connecting without a credential", KEY_VARIABLE)
    try:
        refusal = asyncio.run(run(options))
    except (ValueError, InvalidURI) as error:
        logger.error("%s", error)
        return 2
    except KeyboardInterrupt:
        return 130
    ignore_signals()
    if refusal is None:
        return 0
    key = f"the key in {KEY_VARIABLE}" if os.environ.get(KEY_VARIABLE) else f"a session without {KEY_VARIABLE}"
    logger.error("the controller refused %s for %s (%s)", key, options.orchestrator_id, refusal)
    return 1


async def run(options: argparse.Namespace) -> Ended | None:
    """Hold the session until a signal asks to leave; return how it was refused, if it was."""

    async def take_task(task_type: str, payload: Any) -> Frame:
        return await rehearsal.perform(client, task_type, payload)

    client = OrchestratorClient(
        options.url,
        options.orchestrator_id,
        api_key=os.environ.get(KEY_VARIABLE) or None,
        organization_id=options.organization,
        name=options.name,
        heartbeat_interval=options.heartbeat_interval or None,
        metrics_interval=options.metrics_interval or None,
        keep_trying=options.keep_trying,
        on_config=rehearsal.refusing(options.refuse_config, partial(take_config, options.orchestrator_id)),
        on_message=partial(take_message, options.orchestrator_id),
        on_task=take_task if options.tasks else None,
        task_types=options.tasks,
    )
    stopping: list[asyncio.Task[None]] = []
    on_signals(lambda: stopping.append(asyncio.create_task(client.stop())))
    telling = asyncio.create_task(rehearsal.recommend(client, options.recommend)) if options.recommend else None
    calling = asyncio.create_task(_call_models(options)) if options.model_calls else None
    await client.run()
    if calling:
        calling.cancel()
    await asyncio.gather(*stopping, *([telling] if telling else []))
    return client.refusal


async def _call_models(options: argparse.Namespace) -> None:
    key = os.environ.get(KEY_VARIABLE) or ""
    await rehearsal.call_models(options.url, api_key=key, interval=options.model_calls)


def on_signals(act: Callable[[], Any]) -> None:
    """Call `act` once at the first SIGINT or SIGTERM; a SIGINT more than a second later has its usual effect.

    A terminal, a supervisor and `timeout` may each send theirs at the same moment: that is one wish, not two.
    """
    loop = asyncio.get_running_loop()
    called: list[signal.Signals] = []

    def once(number: signal.Signals) -> None:
        if not called:
            called.append(number)
            loop.call_later(1.0, loop.remove_signal_handler, signal.SIGINT)
            act()

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, once, number)


def ignore_signals() -> None:
    """Let no further signal end the process: what remains to be done is short, and must be done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


async def take_config(orchestrator_id: str, config: Frame) -> None:
    """Log what a real orchestrator would apply."""
    logger.info("%s: new configuration with %s", orchestrator_id, ", ".join(sorted(config)) or "nothing in it")


async def take_message(orchestrator_id: str, message_type: str, content: Any) -> Frame:
    """Log what a real orchestrator would act upon, and say that it was seen."""
    logger.debug("%s: message %s: %s", orchestrator_id, message_type, content)
    return {"handled": message_type}
