"""Say by the exit status whether the process of this container is well: `healthcheck.py web|beat|orchestrator`.

Standard library only, because it runs every few seconds.
"""

import http.client
import os
import sys
import time
from pathlib import Path

BEAT_SILENCE_SECONDS = 60
ESTABLISHED = "01"


def web(*, port: int) -> bool:
    """Tell whether `/healthz` answers 200 on loopback, asked under a name that ALLOWED_HOSTS accepts."""
    name = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().lstrip(".*") or "localhost"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    connection.request("GET", "/healthz", headers={"Host": name})
    return connection.getresponse().status == http.client.OK


def beat(*, data_dir: Path) -> bool:
    """Tell whether beat handed a task to the broker within the last minute."""
    return time.time() - (data_dir / "beat.alive").stat().st_mtime <= BEAT_SILENCE_SECONDS


def orchestrator(*, port: int) -> bool:
    """Tell whether a TCP connection from this container to the controller's port is established."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            _, _, remote, state = line.split()[:4]
            if state == ESTABLISHED and int(remote.rpartition(":")[2], 16) == port:
                return True
    return False


def main(arguments: list[str]) -> int:
    """Return 0 when the named process is well, 1 when it is not, 2 for an unknown name."""
    port = int(os.environ.get("PORT") or 8000)
    data_dir = Path(os.environ.get("DATA_DIR") or "/data")
    try:
        match arguments:
            case ["web"]:
                return int(not web(port=port))
            case ["beat"]:
                return int(not beat(data_dir=data_dir))
            case ["orchestrator"]:
                return int(not orchestrator(port=port))
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return 1
    sys.stderr.write(f"{__doc__}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
