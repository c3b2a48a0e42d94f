"""The gateway under faults: four real web processes on PostgreSQL and Redis, a provider that counts, and callers."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import psycopg

from moolai.testing.postgres import Postgres
from moolai.testing.processes import free_port, wait_until
from moolai.testing.product import Installation, ServerProcess
from moolai.testing.redis import Redis
from tests.till import INPUT_USD, OUTPUT_USD, WORD, Plan, Till, micros

WEBS: Final = 4
CHAT: Final = "/v1/chat/completions"
MAX_TOKENS: Final = 40
SETUP: Final = """
import json, sys
from llm_gateway import aliases
from orgs import keys, spending
from orgs.models import Organization
names, budget = {names!r}, {budget!r}
found = {{}}
for name in names:
    organization = Organization.objects.create(pk=name, name=name)
    limits = {{"budget_usd": budget, "budget_window": "total"}} if name.endswith("key") else {{}}
    _, found[name] = keys.create(organization, name="k", acting_user=None, role="operator", **limits)
    own = {{"budget_usd": budget if name.endswith(("org", "alias")) else 1000, "budget_window": "total"}}
    of_model = [{{"model": "openai/shared", "budget_usd": budget, "budget_window": "total"}}]
    spending.put(organization, acting_user=None, by_model=of_model if name.endswith("model") else (), **own)
for number in range({aliases}):
    targets = [{{"model": f"openai/first-{{number}}"}}, {{"model": f"anthropic/second-{{number}}"}}]
    aliases.create(None, alias=f"alias-{{number}}", targets=targets, acting_user=None)
print("KEYS", json.dumps(found))
"""


@dataclass
class Place:
    """The installation, its web processes, and the secrets of an operator of each organization."""

    installation: Installation
    postgres: Postgres
    redis: Redis
    database: str
    provider_port: int
    keys: dict[str, str] = field(default_factory=dict)
    webs: list[ServerProcess] = field(default_factory=list)

    def set_up(self, names: list[str], *, budget: float = 1000.0, aliases: int = 0) -> None:
        """Make organizations with an operator's key and a budget each, and aliases of two providers for all."""
        script = SETUP.format(names=names, budget=budget, aliases=aliases)
        output = self.installation.manage("shell", "--no-imports", "-c", script).stdout
        self.keys |= json.loads(output.rpartition("KEYS")[2])

    def start(self, count: int = WEBS, **env: str) -> None:
        """Start web processes at once."""
        found = [self.installation.process("serve", env={"PORT": str(free_port()), **env}) for _ in range(count)]
        for web in found:
            web.spawn()
        for web in found:
            web.wait_ready(web.is_healthy, timeout_seconds=120)
        self.webs += found

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            return connection.execute(statement, values).fetchall()

    def calls(self, organization: str) -> dict[str, tuple[str, int, int]]:
        """Return {requested model: (status, cost, reserved)} of an organization; each has one call."""
        found = self.rows(
            "SELECT requested_model, status, cost_usd_micros, reserved_usd_micros FROM llm_calls "
            "WHERE organization_id = %s",
            organization,
        )
        by_model = {row[0]: row[1:] for row in found}
        assert len(by_model) == len(found), "a call was counted twice"
        return by_model

    def settled(self, organization: str, *, timeout_seconds: float = 60) -> bool:
        """Wait until no call of an organization runs and no process holds any of its money."""
        running = "SELECT count(*) FROM llm_calls WHERE status = 'running' AND organization_id = %s"
        leased = (
            "SELECT coalesce(sum(leased), 0) FROM budget_windows WHERE unit = 'usd_micros' AND organization_id = %s"
        )

        def is_quiet() -> bool:
            return all(self.rows(statement, organization)[0][0] == 0 for statement in (running, leased))

        return wait_until(is_quiet, timeout_seconds=timeout_seconds, interval_seconds=0.3)

    def books(self, organization: str) -> dict[str, int]:
        """Return what the ledger's calls, the hours and the windows of an organization each come to."""
        ledger = "SELECT coalesce(sum(cost_usd_micros), 0) FROM llm_calls WHERE organization_id = %s"
        hours = "SELECT coalesce(sum(cost_usd_micros), 0) FROM llm_spending WHERE organization_id = %s"
        window = 'SELECT max(spent) FROM budget_windows WHERE subject = %s AND "window" = %s'
        subject = f"org:{organization}"
        return {
            "ledger": int(self.rows(ledger, organization)[0][0]),
            "hours": int(self.rows(hours, organization)[0][0]),
            "total": int(self.rows(window, subject, "total")[0][0] or 0),
            "month": int(self.rows(window, subject, "month")[0][0] or 0),
        }


@contextmanager
def opened(directory: Path, **env: str) -> Iterator[Place]:
    """Start PostgreSQL (durable) and Redis, and migrate; no web process yet."""
    with Postgres() as postgres, Redis() as redis:
        database, port = postgres.create_database("spenders"), free_port()
        place = Installation(
            data_dir=directory / "data",
            database_url=database,
            redis_url=redis.url(),
            env={
                "OPENAI_API_KEY": "sk-counting-0123456789",
                "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
                "ANTHROPIC_API_KEY": "sk-ant-counting-0123456789",
                "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
                "LLM_UNKNOWN_PRICE": "estimate",
                "LLM_ESTIMATED_INPUT_USD": INPUT_USD,
                "LLM_ESTIMATED_OUTPUT_USD": OUTPUT_USD,
                "LLM_FIRST_BYTE_SEC": "3",
                "LLM_IDLE_SEC": "2",
                "LLM_TOTAL_SEC": "20",
                **env,
            },
        )
        try:
            place.manage("migrate", "--verbosity", "0")
            yield Place(place, postgres, redis, database, port)
        finally:
            place.close()


@dataclass
class Caller:
    """One call of a client, and what became of it: a status, 0 when the client left, -1 when the connection broke."""

    model: str
    plan: Plan
    is_stream: bool = False
    leaves_after: int = -1  # parts; 0 before the first one
    leaves_in_seconds: float = 0.0
    status: int = -1
    code: str = ""
    text: str = ""

    async def call(self, session: aiohttp.ClientSession, url: str) -> None:
        """Make the call."""
        raw = request(self.model, is_stream=self.is_stream)
        self.plan.size = len(raw)
        work = asyncio.ensure_future(self._call(session, url, raw))
        if self.leaves_after == 0:
            waits = {asyncio.ensure_future(self.plan.arrived.wait()), work}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=10)
            await asyncio.sleep(self.leaves_in_seconds)
            work.cancel()
            for one in waits - {work}:
                one.cancel()
        try:
            await work
        except asyncio.CancelledError:
            self.status = 0
        except (aiohttp.ClientError, OSError):
            self.status = -1

    async def _call(self, session: aiohttp.ClientSession, url: str, raw: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        async with session.post(url + CHAT, data=raw, headers=headers) as answer:
            if not self.is_stream or answer.status != 200:
                content = await answer.json()
                self.status, self.code = answer.status, str((content.get("error") or {}).get("code", ""))
                return
            parts = 0
            async for data in answer.content.iter_any():
                self.text += data.decode()
                while self.text.count(WORD) > parts:
                    parts += 1
                    self.plan.read.release()
                if 0 < self.leaves_after <= parts:
                    await asyncio.sleep(self.leaves_in_seconds)
                    self.status = 0
                    answer.close()
                    return
            self.status = answer.status


def request(model: str, *, is_stream: bool = False, size: int = 0) -> bytes:
    """Return the body of a call, filled up to `size` bytes."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": "hello"}],
    }
    if is_stream:
        body["stream"] = True
    raw = json.dumps(body).encode()
    return raw + b" " * (size - len(raw))


def make(dice: random.Random, number: int, till: Till, *, pause_seconds: float = 0.2) -> Caller:
    """Plan one call of any kind; calls of an alias fail at the first of its providers in some way or not."""
    model, name = f"openai/c-{number}", f"c-{number}"
    kind = dice.choice(
        "whole stream left left_in_stream left_anywhere hang hang_in_stream stall early drop 500 400 429 alias".split()
    )
    plan = Plan(name, ["whole"], chunks=dice.randint(1, 9), says=(dice.randint(1, 60), dice.randint(1, MAX_TOKENS)))
    caller = Caller(model, plan, is_stream=dice.random() < 0.5, leaves_in_seconds=dice.uniform(0, 0.3))
    plan.pause_seconds = dice.uniform(0, pause_seconds)
    match kind:
        case "stream":
            caller.is_stream = True
        case "left":
            plan.acts, caller.leaves_after = ["wait"], 0
        case "left_in_stream":
            plan.in_step, caller.is_stream = True, True
            caller.leaves_after, plan.chunks, plan.acts = dice.randint(1, 5), 9, ["stall"]
            plan.chunks = caller.leaves_after
        case "left_anywhere":
            plan.acts, caller.leaves_after, plan.pause_seconds = ["wait"], 0, 0
            plan.arrived.set()
        case "hang" | "hang_in_stream":
            plan.acts, caller.is_stream = ["wait"], kind == "hang_in_stream"
        case "stall" | "early":
            plan.acts, caller.is_stream = [kind], True
        case "drop" | "500" | "429":
            plan.acts = [kind, "whole"]
        case "400":
            plan.acts = [kind]
        case "alias":
            _through_an_alias(dice, number, till, caller)
            return caller
    till.plans[name] = plan
    return caller


def _through_an_alias(dice: random.Random, number: int, till: Till, caller: Caller) -> None:
    """Send the call to `first-N` of the one provider, and when that fails to `second-N` of the other."""
    act = dice.choice(["wait", "drop", "500", "400", "429"])
    first = Plan(f"first-{number}", [act])
    second = caller.plan
    second.name, caller.model = f"second-{number}", f"alias-{number}"
    raw = request(caller.model, is_stream=caller.is_stream)
    first.size = len(raw)
    if caller.is_stream and dice.random() < 0.5:
        second.in_step, caller.leaves_after, second.acts = True, dice.randint(1, 5), ["stall"]
        second.chunks = caller.leaves_after
    till.plans |= {first.name: first, second.name: second}


def billed(till: Till, caller: Caller) -> range:
    """Return what a call may have cost: what the provider, or both of an alias, billed for it, and no other amount.

    Only where an answer was cut off before anybody saw anything of it, it may be all of that answer more.
    """
    names = [caller.plan.name]
    if caller.model.startswith("alias-"):
        names.append(caller.plan.name.replace("second", "first"))
    least = sum(till.plans[name].billed_micros for name in names)
    return range(least, least + 1 + sum(till.plans[name].unseen for name in names) * micros(0, MAX_TOKENS))


def kill(webs: list[ServerProcess], dice: random.Random, *, times: int) -> None:
    """Kill web processes at random moments, and start them again on their ports.

    From the main thread: a process on a leash ends with the thread that started it.
    """
    for _ in range(times):
        time.sleep(dice.uniform(0.3, 1.5))
        web = dice.choice(webs)
        web.kill()
        web.start(timeout_seconds=120)


__all__ = ["CHAT", "WEBS", "Caller", "Place", "billed", "kill", "make", "opened", "request"]
