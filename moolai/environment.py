"""How settings read the environment: names with fallbacks, secrets kept in the data directory, database URLs.

Used by `moolai.settings` alone; imports nothing of the product.
"""

import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import environ

env = environ.Env()


def first(*names: str, default: str = "") -> str:
    """Return the value of the first of `names` that is set and not empty, else `default`."""
    for name in names:
        if value := os.environ.get(name, "").strip():
            return value
    return default


def flag(name: str, *, default: bool = False) -> bool:
    """Return the boolean environment variable `name` (1, true, yes, on)."""
    return bool(env.bool(name, default=default)) if first(name) else default


def number(*names: str, default: int) -> int:
    """Return the integer in the first of `names` that is set, else `default`; the start ends with what is wrong."""
    text = first(*names, default=str(default))
    try:
        return int(text)
    except ValueError:
        raise SystemExit(f"{' or '.join(names)} must be a whole number, not {text[:50]!r}.") from None


def items(name: str) -> list[str]:
    """Return the comma-separated values of `name`, without blanks."""
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]


class RoleKey(NamedTuple):
    """A key that stands in the environment: the SHA-256 and the length of its text, and its role."""

    digest: str
    length: int
    role: str


def role_keys() -> dict[str, RoleKey]:
    """Return, by variable, the keys of ORCHESTRATOR_API_KEY (an operator) and ORCHESTRATOR_API_KEY_<NAME>=<key>:<role>.

    A role that is missing or unknown is left for the checks to name.
    """
    found = {}
    for variable, value in os.environ.items():
        if variable == "ORCHESTRATOR_API_KEY":
            key, role = value.strip(), "operator"
        elif variable.startswith("ORCHESTRATOR_API_KEY_"):
            key, _, role = value.strip().rpartition(":")
        else:
            continue
        if key or role:
            found[variable] = RoleKey(hashlib.sha256(key.encode()).hexdigest(), len(key), role)
    return found


def kept_secret(path: Path, *, length: int = 48) -> str:
    """Return the secret kept in `path`, made (mode 0600) when it is not there yet; safe when processes race."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(length))
        with contextlib.suppress(FileExistsError):  # another process was quicker, and its secret is whole
            os.link(name, path)
        os.unlink(name)
    return path.read_text().strip()


def database(url: str, *, data_dir: Path, pool_size: int) -> dict[str, Any]:
    """Return Django's settings for a database URL; a `+driver` in the scheme is ignored.

    PostgreSQL gets psycopg's pool, never CONN_MAX_AGE (which leaks connections under ASGI) and statement and
    connect timeouts; SQLite gets WAL and IMMEDIATE transactions, because three processes write to it.
    """
    scheme, _, rest = url.partition("://")
    config: dict[str, Any] = dict(environ.Env.db_url_config(f"{scheme.partition('+')[0]}://{rest}"))
    options = dict(config.get("OPTIONS") or {})
    if "sqlite" in config["ENGINE"]:
        name = Path(config["NAME"])
        config["NAME"] = str(name if name.is_absolute() else data_dir / name)
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;"
        options |= {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": pragmas}
        # Tests share the database between threads (a live server, the hub's workers), so theirs is a file, too.
        config["TEST"] = {"NAME": str(data_dir / "test.sqlite3")}
    else:
        timeouts = "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
        options.setdefault("options", timeouts)
        options.setdefault("connect_timeout", 5)
        # Whoever wants a connection after `reconnect_timeout` has it tried anew at once: the pool's own pauses double
        # up to minutes, and would keep a process away from a database that is long back.
        pool = {"min_size": 0, "max_size": pool_size, "timeout": 5, "max_idle": 300, "reconnect_timeout": 1}
        options |= {"pool": pool}
    return config | {"OPTIONS": options, "CONN_MAX_AGE": 0}


def database_url(prefix: str, default: str) -> str:
    """Return `{prefix}_URL`, or a URL put together from `{prefix}_HOST/PORT/USER/PASSWORD/NAME`, else `default`."""
    if url := first(f"{prefix}_URL", f"CONTROLLER_{prefix}_URL"):
        return url
    host = first(f"{prefix}_HOST")
    if not host:
        return default
    user, password = quote(first(f"{prefix}_USER", default="moolai"), safe=""), first(f"{prefix}_PASSWORD")
    login = f"{user}:{quote(password, safe='')}" if password else user
    port, name = first(f"{prefix}_PORT", default="5432"), first(f"{prefix}_NAME", default="moolai")
    return f"postgres://{login}@{host}:{port}/{name}"
