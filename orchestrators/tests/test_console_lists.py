"""Small things of the console's lists and forms: kinds in words, times as elsewhere, no ways that lead nowhere."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from orchestrators import bulk, jobs
from orchestrators.configuration import tracking
from orchestrators.models import Job
from orchestrators.models.job import WORDS

JOBS = "/admin/orchestrators/job/"


@pytest.fixture
def read(console: Client) -> Callable[[str], str]:
    return lambda url: console.get(url).content.decode()


@pytest.mark.once
def test_every_kind_of_job_has_words() -> None:
    assert {*bulk.HANDLERS, tracking.KIND, "export"} == set(WORDS)


@pytest.mark.django_db
def test_a_job_is_named_in_words_and_its_end_is_told_as_its_beginning(read: Callable[[str], str]) -> None:
    job = jobs.post("bulk.configuration", request={}, acting_user=None, total=1, last=1)
    Job.objects.filter(pk=job.pk).update(status="completed", finished_at=timezone.now() - timedelta(seconds=90))
    listed, page = read(JOBS), read(f"{JOBS}{job.pk}/change/")
    for text in (listed, page):
        assert "Change their own configuration" in text
        assert "bulk.configuration" not in text
    cell = re.search(r"<td[^>]*field-finished[^>]*>.*?</td>", listed, re.S)
    assert cell is not None
    assert "1 minute ago</time>" in cell[0]


@pytest.mark.django_db
def test_a_list_of_one_page_leads_to_no_other(read: Callable[[str], str]) -> None:
    assert not {"Previous", "Next"} & set(re.findall(r">(Previous|Next)<", read(JOBS)))
    for _ in range(51):
        jobs.post("bulk.message", request={}, acting_user=None, total=1, last=1)
    assert re.findall(r">(Previous|Next)<", read(JOBS)) == ["Next"]
    assert re.findall(r">(Previous|Next)<", read(f"{JOBS}?p=2")) == ["Previous"]


@pytest.mark.django_db
def test_the_forms_for_what_is_never_edited_say_what_they_do_and_are_sent_once(read: Callable[[str], str]) -> None:
    page = read("/admin/orchestrators/message/add/")
    heading = re.search(r"<h1.*?</h1>", page, re.S)
    assert heading is not None
    assert "Send a message" in heading[0]
    assert re.search(r"<button[^>]*_save[^>]*>\s*Send message\s*</button>", page)
    heading = re.search(r"<h1.*?</h1>", create := read("/admin/orchestrators/task/add/"), re.S)
    assert heading is not None
    assert "Create a task" in heading[0]
    for button in ("_continue", "_addanother"):
        assert button not in page + create
        assert button in read("/admin/orgs/membership/add/")
