"""What a demonstration orchestrator does when asked: refuse a configuration, recommend one."""

import argparse
import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from .callbacks import ConfigCallback, invoke
from .frames import Frame
from .orchestrator import OrchestratorClient, logger


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a fleet does on request: all refuse what contains `refuse_config`, the first sends `recommendation`."""

    refuse_config: str | None = None
    recommendation: Frame | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--refuse-config",
        metavar="TEXT",
        help="answer `failed` to a configuration whose JSON contains TEXT, such as '\"beta\": true'",
    )
    parser.add_argument(
        "--recommend",
        metavar="JSON",
        type=content,
        help='send this recommendation once, such as \'{"title": "…", "suggested_config": {"features": {…}}}\'',
    )


def content(text: str) -> Frame:
    """Return a recommendation's content; raises ArgumentTypeError for what is no JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"that is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("write a JSON object")
    return value


def refusing(text: str | None, handler: ConfigCallback) -> ConfigCallback:
    """Return `handler`, which from now on raises for a configuration whose JSON contains `text`, if there is one."""
    return partial(_refuse, text, handler) if text else handler


async def _refuse(text: str, handler: ConfigCallback, config: Frame) -> None:
    if text in json.dumps(config, ensure_ascii=False):
        raise ValueError(f"refused, for it contains {text}")
    await invoke(handler, config)


async def recommend(client: OrchestratorClient, wanted: Frame) -> None:
    """Send a recommendation as soon as there is a session, and log its acknowledgement or why there is none."""
    try:
        ack: Any = await client.recommend(wanted)
    except Exception as error:
        logger.error("the recommendation was not taken: %s", error)
        return
    logger.info("the recommendation was taken as %s", ack.get("message_id"))
