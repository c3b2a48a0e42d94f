"""Rows into files, a batch at a time: CSV, JSON, Parquet, Excel. None keeps more than a batch or a row group.

pyarrow and xlsxwriter are imported where a file of theirs is begun: web and worker start without them.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from math import isfinite
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from monitoring.exports.columns import NUMBER, TEXT, TIMESTAMP, Column, Row
from monitoring.exports.sink import Sink
from orgs import spreadsheet

ROW_GROUP: Final = 50_000
MAX_CELL: Final = 32_767  # characters; Excel takes no more
MAX_CELLS: Final = 10_000_000  # of a sheet: it is put together at the end, for which there is the time of a lease
TIME_FORMAT: Final = "yyyy-mm-dd hh:mm:ss.000"


class Writer(Protocol):
    """What takes the rows of a file."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take the next rows, whose values stand in the order of the columns."""

    def close(self) -> None:
        """Write what belongs at the end."""

    def drop(self) -> None:
        """Give the file up, unless it was closed: nothing is written any more."""


class CsvWriter:
    """RFC 4180 with a line of names; a text that a spreadsheet might run is prefixed (orgs/spreadsheet.py)."""

    def __init__(self, sink: Sink, columns: Sequence[Column], *, folder: Path) -> None:
        self.sink = sink
        sink.write(spreadsheet.encode([[column.name for column in columns]]))

    def write(self, rows: Sequence[Row]) -> None:
        """Take the next rows."""
        self.sink.write(spreadsheet.encode(rows))

    def close(self) -> None:
        """Nothing belongs at the end."""

    def drop(self) -> None:
        """Nothing is open."""


class JsonWriter:
    """A list of objects, one to a line; times are ISO 8601 in UTC."""

    def __init__(self, sink: Sink, columns: Sequence[Column], *, folder: Path) -> None:
        self.sink, self.names, self.before = sink, [column.name for column in columns], b"\n"
        sink.write(b"[")

    def write(self, rows: Sequence[Row]) -> None:
        """Take the next rows."""
        if lines := [orjson.dumps(dict(zip(self.names, row, strict=True)), option=orjson.OPT_UTC_Z) for row in rows]:
            self.sink.write(self.before + b",\n".join(lines))
            self.before = b",\n"

    def close(self) -> None:
        """End the list."""
        self.sink.write(b"\n]\n")

    def drop(self) -> None:
        """Nothing is open."""


class ParquetWriter:
    """Row groups of up to ROW_GROUP rows, compressed with zstd; timestamps are microseconds in UTC."""

    def __init__(self, sink: Sink, columns: Sequence[Column], *, folder: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        types = {TIMESTAMP: pa.timestamp("us", tz="UTC"), TEXT: pa.string(), NUMBER: pa.float64()}
        self.schema = pa.schema([(column.name, types[column.kind]) for column in columns])
        self.new_table, self.new_batch, self.new_array = pa.Table.from_batches, pa.record_batch, pa.array
        self.sink, self.waiting = sink, list[Any]()
        self.file = parquet.ParquetWriter(sink, self.schema, compression="zstd")

    def write(self, rows: Sequence[Row]) -> None:
        """Take the next rows; a row group is written when it is full."""
        if not rows:
            return
        arrays = [
            self.new_array(values, type=field.type)
            for values, field in zip(zip(*rows, strict=True), self.schema, strict=True)
        ]
        self.waiting.append(self.new_batch(arrays, schema=self.schema))
        if sum(batch.num_rows for batch in self.waiting) >= ROW_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write the last row group and the footer."""
        self._write_group()
        self.file.close()

    def drop(self) -> None:
        """Let the library close what it has, into nowhere."""
        self.sink.abandon()
        with suppress(Exception):  # it may have failed already, in the middle of its end
            self.file.close()

    def _write_group(self) -> None:
        if self.waiting:
            self.file.write_table(self.new_table(self.waiting), row_group_size=ROW_GROUP)
            self.waiting = []


class ExcelWriter:
    """A sheet with a line of names that stays in sight; texts are never formulas or links, times are in UTC."""

    def __init__(self, sink: Sink, columns: Sequence[Column], *, folder: Path) -> None:
        import xlsxwriter

        options = {
            "constant_memory": True,
            "tmpdir": str(folder),
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self.book = xlsxwriter.Workbook(sink, options)
        self.sheet = self.book.add_worksheet("Export")
        self.quoted = self.book.add_format({"quote_prefix": True})  # as if somebody had typed a ' in front
        self.timed = self.book.add_format({"num_format": TIME_FORMAT})
        cells = {TIMESTAMP: self._time, TEXT: self._text, NUMBER: self._number}
        self.cells: list[Callable[[int, int, Any], None]] = [cells[column.kind] for column in columns]
        self.next = 1
        self._head(columns)

    def _head(self, columns: Sequence[Column]) -> None:
        bold = self.book.add_format({"bold": True})
        for place, column in enumerate(columns):
            self.sheet.set_column(place, place, 24 if column.kind == TIMESTAMP else max(12, len(column.name) + 2))
            self.sheet.write_string(0, place, column.name, bold)
        self.sheet.freeze_panes(1, 0)

    def write(self, rows: Sequence[Row]) -> None:
        """Take the next rows."""
        for line, row in enumerate(rows, start=self.next):
            for place, value in enumerate(row):
                if value is not None:
                    self.cells[place](line, place, value)
        self.next += len(rows)

    def close(self) -> None:
        """Put the sheet into the file."""
        self.book.close()

    def drop(self) -> None:
        """Close the file that holds the rows so far; the directory goes with it."""
        self.sheet.row_data_fh.close()

    def _time(self, line: int, place: int, value: Any) -> None:
        self.sheet.write_datetime(line, place, value.astimezone(UTC).replace(tzinfo=None), self.timed)

    def _text(self, line: int, place: int, value: str) -> None:
        is_formula = value.startswith(spreadsheet.FORMULA_STARTS)
        text = value.replace("\0", "")[:MAX_CELL]
        self.sheet.write_string(line, place, text, self.quoted if is_formula else None)

    def _number(self, line: int, place: int, value: float) -> None:
        if isfinite(value):
            self.sheet.write_number(line, place, value)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file: what writes it, its content type, and the most rows and cells it can have."""

    writer: Callable[..., Writer]
    content_type: str
    most_rows: int = 2**31
    most_cells: int = 2**40


FORMATS: Final = {
    "csv": Format(CsvWriter, spreadsheet.CONTENT_TYPE),
    "json": Format(JsonWriter, "application/json"),
    "parquet": Format(ParquetWriter, "application/vnd.apache.parquet"),
    "xlsx": Format(
        ExcelWriter, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", 1_048_575, MAX_CELLS
    ),
}
