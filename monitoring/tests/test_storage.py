"""Samples go into the table in bulk: each id once, with every column as it was, and with a mark for its hour."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from monitoring.metrics import storage
from monitoring.models import NUMBERS, MetricMark, SystemMetric
from monitoring.tests.samples import NOW, sample

pytestmark = pytest.mark.django_db


def test_every_column_comes_back_as_it_was() -> None:
    values: dict[str, Any] = {name: number + 0.1 for number, name in enumerate(NUMBERS)}
    text = "tab\tnew\nline \\N ' \" é 漢 �"
    row = sample(NOW.replace(microsecond=123456), custom={text: 1.5}, user_id=text, collected_by=text, **values)
    assert storage.insert([row]) == 1
    found = SystemMetric.objects.get()
    for field in storage.FIELDS:
        assert getattr(found, field.attname) == getattr(row, field.attname), field.name
    assert found.created_at is not None


def test_what_is_unknown_is_null() -> None:
    storage.insert([sample(NOW)])
    found = SystemMetric.objects.get()
    assert [getattr(found, name) for name in NUMBERS] == [None] * len(NUMBERS)
    assert (found.custom, found.user_id) == ({}, "")


def test_an_id_is_stored_once_within_a_call_and_across_calls() -> None:
    twins = [sample(NOW, metric_id="twin", cpu_usage_percent=number) for number in (1, 2)]
    assert storage.insert([*twins, sample(NOW)]) == 2
    assert storage.insert([sample(NOW, metric_id="twin", cpu_usage_percent=3), sample(NOW)]) == 1
    assert SystemMetric.objects.get(metric_id="twin").cpu_usage_percent == 1
    assert SystemMetric.objects.count() == 3


def test_several_calls_in_one_transaction_do_not_see_each_others_rows_again() -> None:
    with transaction.atomic():
        assert storage.insert([sample(NOW)]) == 1
        assert storage.insert(iter([sample(NOW), sample(NOW)])) == 2
    assert SystemMetric.objects.count() == 3


def store_and_fail() -> None:
    with transaction.atomic():
        storage.insert([sample(NOW)])
        raise LookupError


def test_nothing_is_stored_when_the_callers_transaction_fails() -> None:
    with pytest.raises(LookupError):
        store_and_fail()
    assert (SystemMetric.objects.count(), MetricMark.objects.count()) == (0, 0)


def test_no_row_is_no_mark() -> None:
    assert storage.insert([]) == 0
    assert not MetricMark.objects.exists()


def test_each_touched_hour_is_marked_with_whose_it_is() -> None:
    storage.insert([sample(NOW), sample(NOW, orchestrator=""), sample(NOW - timedelta(hours=1)), sample(NOW)])
    marks = {mark.start_at: mark for mark in MetricMark.objects.all()}
    hour = NOW.replace(minute=0)
    assert marks[hour].sources == [["acme", ""], ["acme", "orch-1"]]
    assert marks[hour - timedelta(hours=1)].sources == [["acme", "orch-1"]]


def test_many_rows_take_few_statements(django_assert_max_num_queries: object) -> None:
    assert callable(django_assert_max_num_queries)
    with django_assert_max_num_queries(8):
        storage.insert(sample(NOW, cpu_usage_percent=1.0) for _ in range(2_000))
