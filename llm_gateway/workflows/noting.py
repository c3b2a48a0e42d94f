"""Noting: how far a model's answer is, written down about once a second for who follows the run, in any process.

What is written are numbers. The text itself is kept only of steps whose text is what they come to, sealed with what
else is kept of the run, and of private runs not at all.
"""

import logging
from typing import Final

from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from llm_gateway.models import WorkflowCall
from llm_gateway.plane.hearing import Hearing
from llm_gateway.workflows import contents

logger = logging.getLogger(__name__)
MAX_CHARACTERS: Final = 100_000  # of a text that is kept while it grows


class Notes:
    """What is noted of one call; `hearing` hears its answer on another thread."""

    def __init__(self, call: WorkflowCall, *, is_shown: bool) -> None:
        self.hearing = Hearing()
        self._call, self._is_shown = call, is_shown and not call.step.run.is_private
        self._noted = 0

    def write(self) -> None:
        """Note what came since; where the database does not answer, the next time will do."""
        heard = self.hearing.characters
        if heard == self._noted:
            return
        try:
            self._keep_text()  # before the number: who reads that has the text that goes with it
            WorkflowCall.objects.filter(pk=self._call.pk).update(characters=heard)
            self._noted = heard
        except (DatabaseError, InterfaceError) as error:
            logger.warning("how far call %s is could not be stored: %s", self._call.pk, error)
        finally:
            connections.close_all()

    def keep_text(self) -> None:
        """Keep the text as it is at the end; who follows a run does without where that fails."""
        try:
            self._keep_text()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the text of call %s could not be kept: %s", self._call.pk, error)
            connections.close_all()

    def _keep_text(self) -> None:
        text = self.hearing.text if self._is_shown else ""
        if text and len(text) <= MAX_CHARACTERS:
            step = self._call.step
            contents.keep_text(step.run, step.name, self._call.pk, text, now=timezone.now())
