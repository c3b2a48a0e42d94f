"""What the clock asks of the gateway's rooms (Celery tasks; their schedule is CELERY_BEAT_SCHEDULE)."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from llm_gateway.money import draining
from llm_gateway.prompts import book
from llm_gateway.workflows import runs


@shared_task(name="llm_gateway.journals")
def journals() -> None:
    """Finish the books of processes that died, take back what vanished ones hold, and end what they ran."""
    draining.adopt(settings.JOURNAL_DIR)
    draining.release_vanished(now=timezone.now())
    book.settle_lost(now=timezone.now())
    runs.sweep(now=timezone.now())
