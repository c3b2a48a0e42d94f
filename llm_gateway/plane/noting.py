"""Noting: a call that was refused before it came to the ledger is counted, so that who looks for it finds it."""

import time

from llm_gateway.plane import planes, routing
from llm_gateway.plane.exchange import Exchange
from llm_gateway.problems import Problem


def refused(exchange: Exchange, problem: Problem) -> None:
    """Count a call that ends with a problem; one of nobody known, or one that has an account, is not counted.

    A model that leads nowhere is left out: its name may be any text, and nothing of a call's content is written down.
    """
    standing, plane = exchange.standing, planes.running()
    if standing is None or exchange.account is not None or plane is None:
        return
    organization_id = standing.organization_id
    plane.observer.refused.add(
        organization_id,
        code=problem.code or problem.kind,
        key_id=standing.key_id,
        model=routing.known(plane.catalog.view(organization_id), exchange.wanted),
        now=time.time(),
    )
