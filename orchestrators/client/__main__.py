"""Run one orchestrator: `python -m orchestrators.client --id … --url …`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
