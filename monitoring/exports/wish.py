"""What an export asks for: a query of the analytics, or the samples themselves, and a kind of file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from monitoring.analytics import catalog, samples
from monitoring.analytics.query import Spec
from monitoring.exports.writers import FORMATS
from moolai.errors import InvalidInput

FIELDS: Final = ("export_type", "metrics", "time_range", "filters", "group_by", "aggregation")


@dataclass(frozen=True, slots=True)
class Wish:
    """An export that is sound. `is_raw`: the rows are the samples, not what they come to by time and groups."""

    file_format: str
    spec: Spec
    is_raw: bool

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Return what a body asks for; raises `invalid_field`, naming the choices.

        Without `group_by` the columns of samples are exported as they are, and other metrics by the hour and by every
        dimension that all of them have.
        """
        file_format = data.get("export_type")
        if file_format not in FORMATS:
            raise InvalidInput(fields={"export_type": f"Choose from: {', '.join(FORMATS)}."})
        asked = {name: value for name, value in data.items() if name != "export_type" and value is not None}
        spec = Spec.parse(asked).unlimited()
        if "group_by" in asked:
            return cls(file_format, spec, is_raw=False)
        if "aggregation" in asked:
            raise InvalidInput(fields={"aggregation": "It takes a group_by, such as hour."})
        found = [catalog.metrics()[name] for name in spec.metrics]
        if all(metric.source == samples.NAME for metric in found):
            return cls(file_format, spec, is_raw=True)
        shared = [name for name in found[0].dimensions if all(name in other.dimensions for other in found)]
        spec = Spec.parse({**asked, "group_by": ["hour", *shared[:4]]}).unlimited()
        return cls(file_format, spec, is_raw=False)

    def told(self) -> dict[str, Any]:
        """Return the wish as JSON that `parse` reads."""
        told = self.spec.told()
        left_out = {"limit", *(("group_by", "aggregation") if self.is_raw else ())}
        return {"export_type": self.file_format} | {key: value for key, value in told.items() if key not in left_out}

    def within(self, organization_ids: list[str]) -> Self:
        """Return the same wish, filtered to these organizations."""
        filters = {**self.spec.filters, "organization": tuple(organization_ids)}
        return replace(self, spec=replace(self.spec, filters=filters))
