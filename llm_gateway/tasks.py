"""What the clock asks of the gateway's rooms (Celery tasks; their schedule is CELERY_BEAT_SCHEDULE)."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from llm_gateway.money import draining


@shared_task(name="llm_gateway.journals")
def journals() -> None:
    """Finish the books of processes that died, and take back what vanished ones hold."""
    draining.adopt(settings.JOURNAL_DIR)
    draining.release_vanished(now=timezone.now())
