"""Key rotation: seal every secret again with the first key of ENCRYPTION_KEY, so that the others can be dropped.

Rows are looked at in batches, each in its own transaction; what has the first key already is passed over, so an
interrupted run is simply started again. Finds its columns by their type (`orgs/sealed.py`).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from django.db import models, router, transaction

from orgs import audit, sealed, vault

BATCH: Final = 200
Progress = Callable[[str], None]


@dataclass(slots=True)
class Survey:
    """What is sealed with which key (number of values by key id), and what cannot be read."""

    by_key: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def old_key_ids(self) -> set[str]:
        """The keys other than the first that something still needs."""
        return set(self.by_key) - {vault.ring()[0].key_id}


def rotate(progress: Progress) -> int:
    """Seal everything with the first key; returns how many rows changed. Unreadable values are left as they are."""
    first, total = vault.ring()[0].key_id, 0
    for model in sealed.models_with_secrets():
        changed = looked_at = 0
        for pks in _batches(model):
            with transaction.atomic(using=router.db_for_write(model)):
                rows = model._base_manager.using(router.db_for_write(model)).select_for_update().filter(pk__in=pks)
                changed += sum(_reseal(row, first) for row in rows.order_by("pk"))
            looked_at += len(pks)
            progress(f"{model._meta.db_table}: {looked_at} rows, {changed} sealed again")
        total += changed
    if total:
        audit.record(
            "encryption.rotate",
            acting_user=None,
            organization_id="",
            target=("encryption_key", first),
            after={"rows": total},
        )
    return total


def _reseal(row: models.Model, first: str) -> bool:
    changed = {}
    for column in sealed.columns(row).values():
        if all(vault.key_id_of(text) == first for text in column.sealed_values(row)):
            continue
        try:
            changed[column.attname] = column.to_sealed(row, column.to_plain(row))
        except vault.Unreadable:
            continue  # `survey` names it
    if changed:
        type(row)._base_manager.using(row._state.db).filter(pk=row.pk).update(**changed)
    return bool(changed)


def survey() -> Survey:
    """Open every sealed value; returns what was found."""
    found = Survey()
    for model in sealed.models_with_secrets():
        for pks in _batches(model):
            for row in model._base_manager.using(router.db_for_read(model)).filter(pk__in=pks):
                _look(row, found)
    return found


def _look(row: models.Model, found: Survey) -> None:
    for name, column in sealed.columns(row).items():
        try:
            column.to_plain(row)
        except vault.Unreadable as problem:
            found.problems.append(f"{row._meta.db_table} {row.pk} {name}: {problem.detail}")
        found.by_key.update(vault.key_id_of(text) for text in column.sealed_values(row))


def _batches(model: type[models.Model]) -> Iterator[list[object]]:
    rows = model._base_manager.using(router.db_for_read(model)).order_by("pk").values_list("pk", flat=True)
    last: object = None
    while True:
        pks = list((rows if last is None else rows.filter(pk__gt=last))[:BATCH])
        if not pks:
            return
        yield pks
        last = pks[-1]
