"""What a demonstration orchestrator does when asked: refuse a configuration, recommend one, call models, do tasks."""

import argparse
import asyncio
import itertools
import json
import random
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from .callbacks import ConfigCallback, invoke
from .frames import Frame
from .orchestrator import OrchestratorClient, logger

MODEL: Final = "echo/echo"
FIRST_CALL_SECONDS: Final = 3.0
TASK_SECONDS: Final = (2.0, 4.0)
TASK_STEPS: Final = 8
TASK_TYPES: Final = (
    "bugfix", "feature", "refactor", "deployment", "monitoring", "incident", "faq_update", "documentation",
    "knowledge_sync",
)  # fmt: skip
CALL_SECONDS: Final = 3.0
QUESTIONS: Final = (
    "Summarise the shift report of the packing line.",
    "Which orders are late, and why?",
    "Write a polite answer to the customer who asks for a refund of the second item only.",
    "Translate the notice about Sunday's maintenance.",
)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a fleet does on request.

    All refuse what contains `refuse_config`, and do tasks of the types `tasks`; the first sends `recommendation`.
    """

    refuse_config: str | None = None
    recommendation: Frame | None = None
    tasks: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser, *, tasks: tuple[str, ...] = ()) -> None:
    """Declare the options; `tasks` are the types of tasks that are done without being asked for."""
    parser.add_argument(
        "--tasks",
        metavar="TYPES",
        type=words,
        default=tasks,
        help='do tasks of these types for show, such as "bugfix,deployment", in a few seconds each; "" for none',
    )
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


def gateway_of(url: str) -> str:
    """Return the address of the LLM gateway of the controller whose socket is at `url`."""
    parts = urlsplit(url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}/v1/chat/completions"


async def call_models(url: str, *, api_key: str, interval: float) -> None:
    """Ask the gateway's model that needs no provider (`echo/echo`) something, every `interval` seconds, for ever."""
    pause = FIRST_CALL_SECONDS
    for question in itertools.cycle(QUESTIONS):
        await asyncio.sleep(pause)
        pause = interval
        try:
            await asyncio.to_thread(_ask, gateway_of(url), api_key, question)
        except (OSError, ValueError) as error:
            logger.debug("the gateway did not answer: %s", error)


def _ask(url: str, api_key: str, question: str) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "stream": True}
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)  # noqa: S310 — our own
    with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310 — our own
        answer.read()


def words(text: str) -> tuple[str, ...]:
    """Return the words between commas."""
    return tuple(filter(None, (word.strip() for word in text.split(","))))


async def perform(client: OrchestratorClient, task_type: str, payload: Any) -> Frame:
    """Do a task for show: take a few seconds, report how far it is, and fail when its payload says `fail`."""
    seconds = random.uniform(*TASK_SECONDS)
    for step in range(1, TASK_STEPS + 1):
        await asyncio.sleep(seconds / TASK_STEPS)
        await client.report_progress(100 * step / TASK_STEPS)
    if isinstance(payload, dict) and payload.get("fail"):
        raise RuntimeError(f"the {task_type} was told to fail")
    logger.info("%s: %s done in %.1f s", client.orchestrator_id, task_type, seconds)
    return {"summary": f"{task_type} done by {client.orchestrator_id}", "seconds": round(seconds, 1)}


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
