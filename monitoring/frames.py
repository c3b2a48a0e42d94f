"""`monitoring` frames: metric samples that orchestrators send, validated and stored in batches."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Never

import orjson
from django.db import transaction

from monitoring.metrics import storage
from monitoring.models import NUMBERS, SystemMetric
from orchestrators import protocol
from orchestrators.protocol import FrameError

KNOWN: Final = frozenset(NUMBERS)
WORDS: Final = frozenset({"timestamp", "user_id", "collected_by"})
MAX_SAMPLES: Final = 500
MAX_CUSTOM: Final = 100
MAX_VALUE: Final = 1e15
ROW_BYTES: Final = 500  # what a sample weighs beside its text: the row that is made of it in the thread
# The largest number of each name that is special; a word may be no number at all.
_LIMITS: Final = {name: 100.0 * 1024 for name in NUMBERS if name.endswith("_percent")} | dict.fromkeys(WORDS, -1.0)


@dataclass(frozen=True, slots=True)
class Batch:
    """The validated samples of one frame, as the JSON text `body` until a thread makes rows of them."""

    organization_id: str
    orchestrator_id: str
    message_id: str
    reference: str
    received_at: datetime
    body: bytes
    count: int

    @property
    def weight(self) -> int:
        """What it costs to keep and to store, in bytes; a batcher's MiB is about 2,000 rows at most."""
        return len(self.body) + ROW_BYTES * self.count

    def rows(self) -> Iterator[SystemMetric]:
        """Make the rows, one after the other; the same frame resent gives the same ids, so it is stored once."""
        fingerprint = hashlib.sha256(self.body).hexdigest() if self.message_id else ""
        metrics = orjson.loads(self.body)
        for index, sample in enumerate(metrics if type(metrics) is list else [metrics]):
            name = f"{self.orchestrator_id}\n{self.reference}\n{index}"
            yield SystemMetric(
                metric_id=hashlib.sha256(name.encode()).hexdigest()[:32],
                message_hash=fingerprint,
                organization_id=self.organization_id,
                orchestrator_id=self.orchestrator_id,
                **_columns(sample, now=self.received_at),
            )


def check(session: Any, frame: dict[str, Any]) -> Batch:
    """Validate a `monitoring` frame: one sample or a list of them (PROTOCOL §1, columns of API §5)."""
    metrics = frame.get("metrics")
    is_list = type(metrics) is list
    samples = metrics if type(metrics) is list else [metrics]
    if (not is_list and type(metrics) is not dict) or not samples or len(samples) > MAX_SAMPLES:
        detail = f"metrics must be an object, or a list of 1 to {MAX_SAMPLES} of them."
        raise FrameError("invalid_field", detail, path="metrics")
    reference, now = protocol.message_id(frame, required=False), datetime.now(UTC)
    for index, sample in enumerate(samples):
        _check_sample(sample, index if is_list else None, now)
    body = orjson.dumps(metrics, option=orjson.OPT_SORT_KEYS)
    return Batch(
        session.organization_id,
        session.orchestrator_id,
        reference,
        reference or f"{session.session_id}:{now.timestamp()}",
        now,
        bytes(memoryview(body)),  # a copy of the exact size: orjson's own has room to grow behind it
        len(samples),
    )


def _check_sample(sample: Any, index: int | None, now: datetime) -> None:
    """Check one sample; this runs on the event loop, so a path is only built where something is odd."""
    if type(sample) is not dict:
        _refuse(index, "", "an object")
    for name, value in sample.items():
        kind = type(value)
        if (kind is float or kind is int) and 0 <= value <= _LIMITS.get(name, MAX_VALUE):
            continue
        if value is None:
            continue
        if name == "timestamp":
            protocol.timestamp(value, now=now, path=_path(index, name))
        elif name in WORDS:
            protocol.text_field(sample, name, limit=50)
        else:
            _refuse(index, name, f"a number from 0 to {_LIMITS.get(name, MAX_VALUE):g}")


def _path(index: int | None, name: str) -> str:
    path = "metrics" if index is None else f"metrics[{index}]"
    return f"{path}.{name[:50]}" if name else path


def _refuse(index: int | None, name: str, wanted: str) -> Never:
    path = _path(index, name)
    raise FrameError("invalid_field", f"{path} must be {wanted}.", path=path)


def _columns(sample: dict[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return the columns of a checked sample; unknown numbers go into `custom`."""
    stamp = sample.get("timestamp")
    custom: dict[str, float] = {}
    columns: dict[str, Any] = {
        "timestamp": now if stamp is None else protocol.timestamp(stamp, now=now),
        "user_id": protocol.text_field(sample, "user_id", limit=50),
        "collected_by": protocol.text_field(sample, "collected_by", limit=50, default="orchestrator"),
        "custom": custom,
    }
    for name, value in sample.items():
        if value is None or name in WORDS:
            continue
        if name in KNOWN:
            columns[name] = float(value)
        elif len(custom) < MAX_CUSTOM and len(name) <= 100:
            custom[name] = float(value)
    return columns


def store(batches: Sequence[Batch]) -> list[str | None | FrameError]:
    """Store the samples of all frames in one transaction; those with a message_id are answered by an `ack`.

    A frame belongs to who inserts its first row: the others, of this call or of another process at the same time, are
    duplicates or conflicts and insert nothing.
    """
    pending = [batch.rows() for batch in batches]
    firsts = [next(rows) for rows in pending]
    claims: dict[str, SystemMetric] = {}
    for row in firsts:
        claims.setdefault(row.metric_id, row)
    with transaction.atomic(using=SystemMetric.objects.db):
        # In the order of their ids, so that two processes with the same ids never wait for each other crosswise.
        storage.insert(sorted(claims.values(), key=lambda row: row.metric_id))
        stored = SystemMetric.objects.filter(metric_id__in=list(claims))
        # What was there before the insert and is cleaned up by now counts as a duplicate.
        owners: dict[str, list[Any]] = {key: [row.message_hash, None] for key, row in claims.items()}
        owners |= {key: rest for key, *rest in stored.values_list("metric_id", "message_hash", "created_at")}
        is_ours = [
            claims[row.metric_id] is row and owners[row.metric_id] == [row.message_hash, row.created_at]
            for row in firsts
        ]
        storage.insert(row for rows, ours in zip(pending, is_ours, strict=True) if ours for row in rows)
    return [
        _answer(batch, is_new=ours, is_same=owners[row.metric_id][0] == row.message_hash)
        for batch, row, ours in zip(batches, firsts, is_ours, strict=True)
    ]


def _answer(batch: Batch, *, is_new: bool, is_same: bool) -> str | None | FrameError:
    if not batch.message_id:
        return None
    if not is_same:
        return FrameError("message_id_conflict", "This message_id was used for other metrics; choose a new one.")
    return protocol.ack(batch.message_id, duplicate=not is_new)
