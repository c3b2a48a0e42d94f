"""What this web process says of the calls of models it served since it began: counts, money, and how providers are."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from llm_gateway import cache
from llm_gateway.guardrails import counts as guarding
from llm_gateway.plane import catalog, planes
from llm_gateway.watching import counts
from orchestrators import nodes

STATUSES: Final = ("completed", "failed", "cancelled")
STATES: Final = ("open", "half_open")


def families() -> Iterator[Metric]:
    """Yield everything; what nothing was counted of is 0, for each provider that everybody may call."""
    yield from _models()
    yield from _providers()
    yield from _process()
    yield from _cache()
    yield _guardrails()
    yield _breakers()


def _known() -> list[str]:
    """Return the names that providers have here."""
    plane = planes.running()
    common = plane.catalog.sources.get("", ()) if plane is not None else ()
    names = {source.name for source in (*common, *catalog.environment())}
    return sorted(names | set(counts.COUNTS.providers)) or [counts.OWN]


def _models() -> Iterator[Metric]:
    names = ["node", "provider", "model"]
    calls = CounterMetricFamily("moolai_llm_calls", "Calls of models that are over.", labels=[*names, "status"])
    tokens = CounterMetricFamily("moolai_llm_tokens", "Tokens they used.", labels=[*names, "direction"])
    cost = CounterMetricFamily("moolai_llm_cost_usd", "What they cost, in dollars.", labels=names)
    found = sorted(counts.COUNTS.models.items()) or [((counts.OWN, counts.OTHER), counts.OfModel())]
    for (provider, model), numbers in found:
        key = [nodes.process(), provider, model]
        for status in STATUSES:
            calls.add_metric([*key, status], numbers.calls[status])
        tokens.add_metric([*key, "input"], numbers.input_tokens)
        tokens.add_metric([*key, "output"], numbers.output_tokens)
        cost.add_metric(key, numbers.cost_usd_micros / 1_000_000)
    yield from (calls, tokens, cost)


def _providers() -> Iterator[Metric]:
    names = ["node", "provider"]
    attempts = CounterMetricFamily("moolai_llm_attempts", "Requests to providers.", labels=[*names, "result"])
    retries = CounterMetricFamily("moolai_llm_retries", "Requests to a provider that is asked again.", labels=names)
    duration = HistogramMetricFamily("moolai_llm_call_duration_seconds", "How long calls took.", labels=names)
    first = HistogramMetricFamily("moolai_llm_first_token_seconds", "How long they took to begin.", labels=names)
    for name in _known():
        key, numbers = [nodes.process(), name], counts.COUNTS.providers.get(name) or counts.OfProvider()
        for result in counts.RESULTS:
            attempts.add_metric([*key, result], numbers.attempts[result])
        retries.add_metric(key, numbers.retries)
        for family, histogram in ((duration, numbers.duration), (first, numbers.first_token)):
            family.add_metric(key, histogram.cumulative(), sum_value=histogram.sum_seconds)
    yield from (attempts, retries, duration, first)


def _process() -> Iterator[Metric]:
    node, plane = nodes.process(), planes.running()
    flight = GaugeMetricFamily("moolai_llm_calls_in_flight", "Calls of models under way.", labels=["node"])
    flight.add_metric([node], counts.COUNTS.in_flight)
    refusals = CounterMetricFamily("moolai_llm_refusals", "Calls over a budget or a limit.", labels=["node", "reason"])
    for reason in counts.REASONS:
        refusals.add_metric([node, reason], counts.COUNTS.refusals[reason])
    dropped = CounterMetricFamily(
        "moolai_llm_contents_dropped", "Contents that were to be kept and are not.", labels=["node"]
    )
    dropped.add_metric([node], plane.observer.keeper.dropped if plane is not None else 0)
    yield from (flight, refusals, dropped)


def _cache() -> Iterator[Metric]:
    """Yield what the cache did; each number as it is counted, since a difference of two could go down for a moment."""
    node, found = nodes.process(), cache.figures()
    looks = CounterMetricFamily("moolai_llm_cache_looks", "Looks into the cache.", labels=["node", "result"])
    looks.add_metric([node, "hit"], found["hits"])
    looks.add_metric([node, "miss"], found["misses"])
    yield looks
    saved = "What answers of the cache had cost, in dollars."
    sums: dict[tuple[str, str], float] = {
        ("moolai_llm_cache_shared_hits", "Hits that came from Redis."): found["shared_hits"],
        ("moolai_llm_cache_stores", "Answers that were kept."): found["stored"],
        ("moolai_llm_cache_evictions", "Answers that made room for others."): found["evicted"],
        ("moolai_llm_cache_saved_usd", saved): found["saved_usd_micros"] / 1_000_000,
    }
    for (name, meaning), total in sums.items():
        counter = CounterMetricFamily(name, meaning, labels=["node"])
        counter.add_metric([node], total)
        yield counter
    size = GaugeMetricFamily("moolai_llm_cache_bytes", "Size of the answers in memory.", labels=["node"])
    size.add_metric([node], found["bytes"])
    yield size


def _guardrails() -> Metric:
    meaning = "Finds of guardrails that were replaced, and texts that did not pass."
    family = CounterMetricFamily("moolai_llm_guardrail_finds", meaning, labels=["node", "side", "action"])
    for (side, action), number in guarding.figures().items():
        family.add_metric([nodes.process(), side, action], number)
    return family


def _breakers() -> Metric:
    """Return how many models of each provider are left alone, or tried by one call only."""
    plane = planes.running()
    meaning = "Models of a provider whose circuit breaker is not closed."
    family = GaugeMetricFamily("moolai_llm_breakers", meaning, labels=["node", "provider", "state"])
    found = dict.fromkeys(((name, state) for name in _known() for state in STATES), 0)
    common = plane.catalog.sources.get("", ()) if plane is not None else ()
    names = {source.key: source.name for source in (*common, *catalog.environment())}
    for (source_key, _), state in plane.breakers.all_states() if plane is not None else ():
        place = (names.get(source_key, counts.OWN), state)
        found[place] = found.get(place, 0) + 1
    for (name, state), number in sorted(found.items()):
        family.add_metric([nodes.process(), name, state], number)
    return family
