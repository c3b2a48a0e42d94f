"""Nine days of a gateway that is used: two organizations, three keys each, two providers, failures and retries."""

import random
import time
from collections.abc import Iterator
from typing import Any, Final

from llm_gateway import aliases, prices, providers
from llm_gateway.money import ledger
from llm_gateway.money.records import Attempt, Begin, End, Record
from llm_gateway.watching import refused
from llm_gateway.watching.refused import Key, Tally
from orgs import keys, spending
from orgs.models import Organization

CALLS: Final = 420
DAYS: Final = 9
KEY: Final = "sk-canary-0123456789abcdef"
CLAUDE, LLAMA = ("claude", "claude-sonnet-4-5"), ("frankfurt", "llama-3.3-70b")
SHARED: Final = (
    (*CLAUDE, "anthropic", "https://93.184.215.14"),
    (*LLAMA, "openai", "https://93.184.215.15/v1"),
)
TARGETS: Final = [
    {"model": "/".join(CLAUDE), "weight": 3}, {"model": "/".join(LLAMA), "weight": 1}, {"model": "echo/echo"},
]  # fmt: skip
RATES: Final = {
    CLAUDE: {"input": "3", "output": "15", "cached_input": "0.3", "cache_write": "3.75", "source": "genai-prices"},
    LLAMA: {"input": "0.6", "output": "0.9", "cached_input": "0.6", "cache_write": "0.6", "source": "installation"},
}
BUDGETS: Final = {"org-001": 25, "org-002": 2}
LIMITS: Final[dict[str, float | None]] = {"support-bot": 4, "nightly-batch": 1, "notebook": None}


def fill() -> None:
    """Make all of it."""
    homes = Organization.objects.in_bulk()
    for name, model, dialect, url in SHARED:
        providers.create(
            None, acting_user=None, name=name, dialect=dialect, base_url=url, api_key=KEY, known_models=[model],
            priority=5,
        )  # fmt: skip
    aliases.create(None, alias="smart", targets=TARGETS, acting_user=None)
    aliases.create(homes["org-001"], alias="cheap", targets=[TARGETS[1], TARGETS[2]], acting_user=None)
    prices.create(None, acting_user=None, model=LLAMA[1], input_usd_per_million="0.6", output_usd_per_million="0.9")
    dice = random.Random(7)
    own = {pk: _keys(homes[pk], budget) for pk, budget in BUDGETS.items()}
    now = time.time()
    moments = [now - 86_400 * DAYS * (number / CALLS) ** 2 - 90 for number in range(CALLS)]
    ledger.write(
        [record for number, at in enumerate(moments) for record in _call(number, at, own, dice)], holder="filled"
    )
    refused.write(sorted(_refused(now, own)))


def _refused(now: float, own: dict[str, list[str]]) -> Iterator[tuple[Key, Tally]]:
    """Yield the refused calls of the last two hours: a batch over its budget, and a few mistakes."""
    for number in range(120):
        at, key = now - number * 60, own["org-002"][1]
        minute = int(at) // 60 * 60
        yield Key("org-002", minute, "insufficient_quota", key, "smart"), Tally(30 + number % 17, at)
        if number % 9 == 4:
            yield Key("org-001", minute, "rate_limit_exceeded", own["org-001"][0], "/".join(CLAUDE)), Tally(2, at)
        if number % 25 == 7:
            yield Key("org-001", minute, "model_not_found", own["org-001"][2], ""), Tally(1, at)
            yield Key("org-001", minute, "provider_not_configured", "", "cheap"), Tally(1, at)


def _keys(home: Organization, budget: int) -> list[str]:
    spending.put(home, acting_user=None, budget_usd=budget, requests_per_minute=600)
    found = []
    for name, usd in LIMITS.items():
        given: dict[str, Any] = {"budget_usd": usd, "tokens_per_minute": 90_000} if usd else {}
        found.append(keys.create(home, name=name, acting_user=None, role="operator", **given)[0].key_id)
    return found


def _call(number: int, at: float, own: dict[str, list[str]], dice: random.Random) -> Iterator[Record]:
    home, place = dice.choice(["org-001", "org-001", "org-002"]), dice.choice([0, 0, 1, 2])
    is_retried, is_bad = dice.random() < 0.12, dice.random() < 0.05
    target = CLAUDE if dice.random() < 0.7 else LLAMA
    provider, model = target
    rates, call_id = RATES[target], f"{number:024x}"
    tokens, cached = (dice.randint(200, 6000), dice.randint(40, 900)), 150 if target == CLAUDE else 0
    parts = ((tokens[0] - cached, "input"), (cached, "cached_input"), (tokens[1], "output"))
    cost = round(sum(count * float(rates[name]) for count, name in parts))
    first, whole, wait = dice.uniform(180, 700), dice.uniform(900, 5200), 640.0 * is_retried
    yield Begin(
        call_id=call_id, organization_id=home, at=at, key_id=own[home][place], scope_key=own[home][place],
        requested_model=dice.choice(["smart", f"{provider}/{model}"]), surface="chat/completions",
        is_stream=dice.random() < 0.6, scope_model=f"{provider}/{model}", reserved_usd_micros=cost * 3,
    )  # fmt: skip
    if is_retried:
        yield Attempt(
            call_id=call_id, number=1, provider=CLAUDE[0], model=CLAUDE[1], at=at, http_status=529,
            error="overloaded_error", latency_ms=420,
        )  # fmt: skip
    yield Attempt(
        call_id=call_id, number=1 + is_retried, provider=provider, model=model, at=at + wait / 1000, latency_ms=whole,
        http_status=500 if is_bad else 200, error="api_error" if is_bad else "",
        first_token_ms=None if is_bad else first + wait,
    )  # fmt: skip
    end: dict[str, Any] = {"status": "failed", "error": "api_error"}
    if not is_bad:
        end = {
            "status": "completed", "input_tokens": tokens[0], "output_tokens": tokens[1], "cached_input_tokens": cached,
            "cost_usd_micros": cost, "price": rates, "first_token_ms": first + wait,
        }  # fmt: skip
    yield End(
        call_id=call_id, at=at + (whole + wait) / 1000, provider=provider, model=model, latency_ms=whole + wait, **end
    )
