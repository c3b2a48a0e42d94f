"""`monitoring` frames: metric samples that orchestrators send, validated and stored in batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from django.db import transaction

from monitoring.models import NUMBERS, SystemMetric
from orchestrators import protocol
from orchestrators.protocol import FrameError

KNOWN: Final = frozenset(NUMBERS)
WORDS: Final = frozenset({"timestamp", "user_id", "collected_by"})
MAX_SAMPLES: Final = 500
MAX_CUSTOM: Final = 100
MAX_VALUE: Final = 1e15
_PERCENT: Final = frozenset(name for name in NUMBERS if name.endswith("_percent"))


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of one frame."""

    orchestrator_id: str
    message_id: str
    fingerprint: str
    rows: tuple[SystemMetric, ...]


def check(session: Any, frame: dict[str, Any]) -> Batch:
    """Validate a `monitoring` frame: one sample or a list of them (PROTOCOL §1, columns of API §5)."""
    metrics = frame.get("metrics")
    samples = [metrics] if type(metrics) is dict else metrics
    if type(samples) is not list or not samples or len(samples) > MAX_SAMPLES:
        detail = f"metrics must be an object, or a list of 1 to {MAX_SAMPLES} of them."
        raise FrameError("invalid_field", detail, path="metrics")
    reference = protocol.message_id(frame, required=False)
    fingerprint = hashlib.sha256(orjson.dumps(metrics, option=orjson.OPT_SORT_KEYS)).hexdigest() if reference else ""
    now = datetime.now(UTC)
    is_list = type(metrics) is list
    rows = tuple(
        _row(session, sample, f"metrics[{index}]" if is_list else "metrics", now=now)
        for index, sample in enumerate(samples)
    )
    for index, row in enumerate(rows):
        row.metric_id = _metric_id(
            session.orchestrator_id, reference or f"{session.session_id}:{now.timestamp()}", index
        )
        row.message_hash = fingerprint
    return Batch(session.orchestrator_id, reference, fingerprint, rows)


def _metric_id(orchestrator_id: str, reference: str, index: int) -> str:
    """Return the id of a sample: the same frame resent gives the same ids, so it is stored once."""
    return hashlib.sha256(f"{orchestrator_id}\n{reference}\n{index}".encode()).hexdigest()[:32]


def _row(session: Any, sample: Any, path: str, *, now: datetime) -> SystemMetric:
    if type(sample) is not dict:
        raise FrameError("invalid_field", f"{path} must be an object.", path=path)
    stamp = sample.get("timestamp")
    row = SystemMetric(
        organization_id=session.organization_id,
        orchestrator_id=session.orchestrator_id,
        timestamp=now if stamp is None else protocol.timestamp(stamp, now=now, path=f"{path}.timestamp"),
        user_id=protocol.text_field(sample, "user_id", limit=50),
        collected_by=protocol.text_field(sample, "collected_by", limit=50, default="orchestrator"),
    )
    for name, value in sample.items():
        if value is None or name in WORDS:
            continue
        number = _number(value, f"{path}.{name[:50]}", is_percent=name in _PERCENT)
        if name in KNOWN:
            setattr(row, name, number)
        elif len(row.custom) < MAX_CUSTOM and len(name) <= 100:
            row.custom[name] = number
    return row


def _number(value: Any, path: str, *, is_percent: bool) -> float:
    is_number = type(value) in (int, float)
    if not is_number or not 0 <= value <= MAX_VALUE or (is_percent and value > 100 * 1024):
        raise FrameError("invalid_field", f"{path} must be a number from 0 to {MAX_VALUE:g}.", path=path)
    return float(value)


def store(batches: Sequence[Batch]) -> list[str | None | FrameError]:
    """Store the samples of all frames in one statement; those with a message_id are answered by an `ack`."""
    firsts = [batch.rows[0].metric_id for batch in batches if batch.message_id]
    with transaction.atomic(using=SystemMetric.objects.db):
        known = dict(SystemMetric.objects.filter(metric_id__in=firsts).values_list("metric_id", "message_hash"))
        answers: list[str | None | FrameError] = []
        rows: list[SystemMetric] = []
        for batch in batches:
            before = known.get(batch.rows[0].metric_id)
            if before is None:
                known[batch.rows[0].metric_id] = batch.fingerprint
                rows += batch.rows
            answers.append(_answer(batch, before))
        SystemMetric.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    return answers


def _answer(batch: Batch, before: str | None) -> str | None | FrameError:
    if not batch.message_id:
        return None
    if before is not None and before != batch.fingerprint:
        return FrameError("message_id_conflict", "This message_id was used for other metrics; choose a new one.")
    return protocol.ack(batch.message_id, duplicate=before is not None)
