"""The management commands: which change the fleet, with arguments that make one change; and why others leave no row."""

import json
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CHANGES: Final = {
    "create_organization": ["initech", "--name", "Initech"],
    "create_api_key": ["--organization", "{organization}", "--role", "viewer"],
    "independence": ["{idle}", "on"],
    "send_message": ["{idle}", "restart", "{{}}"],
    "bulk": ["message", "restart", "--id", "{idle}"],
    "import_config": ["{file}"],
    "rotate_encryption_key": [],
    "config": ["set", "{organization}", "{file}"],
    "alerts": ["acknowledge", "{alert}"],
    "rollout": ["start", "{organization}", "{file}"],
}
IMPORTED: Final = json.dumps({"organizations": {"initech": {"name": "Initech"}}})
UNAUDITED: Final = {
    "export_config": "reads",
    "fleet_status": "reads",
    "verify_audit": "reads",
    "backup": "reads",
    "prune": "deletes what served its time, as the clock does; never an audit row",
    "restore": "replaces the trail itself, and says so in it (moolai/backup/tests)",
    "sync_independence": "writes files anew from the rows",
    "serve": "runs a process",
    "worker": "runs a process",
    "beat": "runs a process",
    "up": "runs processes; what it makes at the first start goes through the rooms",
    "orchestrator": "runs a client",
    "demo_fleet": "runs clients; its key is made and revoked by the keys' own functions",
}


def names() -> set[str]:
    """Return every command of the product."""
    found = ROOT.glob("*/management/commands/[a-z]*.py")
    return {path.stem for path in found}
