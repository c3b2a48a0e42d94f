"""Ids of requests and calls: 96 random bits. They are names and no secrets, so no system call is made for each."""

import os
import random
from typing import Final

_dice: Final = random.Random(os.urandom(32))
os.register_at_fork(after_in_child=lambda: _dice.seed(os.urandom(32)))


def new() -> str:
    """Return an id that nothing else has."""
    return f"{_dice.getrandbits(96):024x}"
