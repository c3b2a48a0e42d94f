"""The supervisor behind `manage.py up`, driven from outside with small programs, then the real family."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from moolai import supervisor
from moolai.testing.processes import free_port, is_alive
from moolai.testing.product import ServerProcess, copy_sqlite
from moolai.testing.world import World

pytestmark = pytest.mark.once  # the family has an SQLite of its own
DATABASE = "moolai.sqlite3"
SUPERVISOR = Path(supervisor.__file__)
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
HEALTHY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def program(name: str, code: str, *arguments: str, **overrides: object) -> supervisor.Program:
    values = {"env": {}, "stop_stage": 0, "after_ready": False, "serves_health": False, **overrides}
    return {"name": name, "argv": [sys.executable, "-c", code, *arguments], **values}  # type: ignore[typeddict-item]


class Family:
    """A supervisor process and what it printed."""

    def __init__(self, tmp_path: Path) -> None:
        self.log = tmp_path / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *programs: supervisor.Program, port: int = 1, log_format: str = "console") -> None:
        plan: supervisor.Plan = {
            "programs": list(programs),
            "health_url": f"http://127.0.0.1:{port}/healthz",
            "health_host": "localhost",
            "facts": {"console": "here"},
            "log_format": log_format,
            "started_at": time.monotonic(),
        }
        reader, writer = os.pipe()
        os.write(writer, json.dumps(plan).encode())
        os.close(writer)
        with self.log.open("wb") as log:
            command = [sys.executable, "-I", "-S", str(SUPERVISOR), str(reader)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=[reader])
        os.close(reader)

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def supervisor(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def wait_for(self, text: str, *, seconds: float = 30, times: int = 1) -> None:
        wait_until(lambda: self.text.count(text) >= times, seconds=seconds, what=f"{text!r} in {self.text!r}")

    def stop(self, number: int = signal.SIGINT, *, seconds: float = 10) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(seconds)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path)
    yield family
    if family.process is not None and family.process.poll() is None:
        children = psutil.Process(family.process.pid).children(recursive=True)
        family.process.kill()
        family.process.wait()
        for child in children:
            if child.is_running():
                child.kill()


def test_restart_delays_double_from_half_a_second_to_half_a_minute() -> None:
    delays = [supervisor.restart_delay_seconds(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 8, 5_000)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_child_that_ends_is_started_again_later_each_time(family: Family) -> None:
    family.start(program("brief", "print('alive', flush=True)"), program("steady", SLEEP))
    family.wait_for("brief ended with status 0; it starts again in 2 s")
    assert re.findall(r"starts again in ([\d.]+) s", family.text) == ["0.5", "1", "2"]
    assert family.text.count("alive") == 3
    assert family.text.count("steady | up") == 1, "the others are left alone"


def test_a_child_killed_from_outside_is_started_again(family: Family) -> None:
    family.start(program("steady", SLEEP))
    family.wait_for("steady | up")
    (child,) = family.supervisor.children()
    child.kill()
    family.wait_for("steady | up", times=2)
    assert "steady was ended by SIGKILL" in family.text


def test_a_program_that_does_not_exist_is_tried_again_and_said(family: Family) -> None:
    missing = program("ghost", "")
    missing["argv"] = ["/nonexistent/program"]
    family.start(missing)
    family.wait_for("starts again in 1 s")
    assert "ghost could not start:" in family.text
    assert family.stop() == 0


def test_what_a_child_left_behind_is_ended_with_it(family: Family) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.exit(3)"
    family.start(program("leaky", code))
    family.wait_for("ended with status 3")
    match = re.search(r"leaky \| (\d+)", family.text)
    assert match
    wait_until(lambda: not psutil.pid_exists(int(match[1])), seconds=30, what="the grandchild is gone")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends children with a killed parent")
def test_the_children_die_with_a_killed_supervisor(family: Family) -> None:
    family.start(program("one", SLEEP), program("two", STUBBORN))
    family.wait_for("one | up")
    family.wait_for("two | deaf")
    children = family.supervisor.children()
    assert len(children) == 2
    family.supervisor.kill()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_all_cleanly(family: Family, number: int) -> None:
    family.start(program("one", SLEEP), program("two", SLEEP, stop_stage=1))
    family.wait_for("| up", times=2)
    children = family.supervisor.children()
    began_at = time.monotonic()
    assert family.stop(number) == 0
    assert time.monotonic() - began_at < 2, "nobody waits for a stage that has ended"
    assert not [child for child in children if child.is_running()]
    assert "starts again" not in family.text


def test_stages_stop_in_their_order(family: Family) -> None:
    code = (
        "import signal, sys, time\n"
        "def leave(*_): print('leaves', flush=True); time.sleep(0.3); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave); print('up', flush=True)\nwhile True: time.sleep(1)"
    )
    names = ["worker", "web", "client"]
    family.start(*[program(name, code, stop_stage=2 - index) for index, name in enumerate(names)])
    family.wait_for("| up", times=3)
    assert family.stop() == 0
    assert re.findall(r"(\w+) +\| leaves", family.text) == ["client", "web", "worker"]


def test_a_deaf_child_is_killed_within_ten_seconds_and_the_status_is_still_zero(family: Family) -> None:
    family.start(program("deaf", STUBBORN), program("good", SLEEP, stop_stage=1))
    family.wait_for("| deaf")
    family.wait_for("| up")
    assert family.stop(seconds=30) == 0


def test_a_second_ctrl_c_kills_at_once(family: Family) -> None:
    family.start(program("deaf", STUBBORN))
    family.wait_for("| deaf")
    family.supervisor.send_signal(signal.SIGINT)
    time.sleep(0.5)
    began_at = time.monotonic()
    assert family.stop() == 130
    assert time.monotonic() - began_at < 2


def test_a_keypress_that_arrives_twice_is_one(family: Family) -> None:
    code = STUBBORN.replace("signal.SIG_IGN", "lambda *_: (time.sleep(1), print('said goodbye'), exit(0))")
    family.start(program("polite", code))
    family.wait_for("| deaf")
    family.supervisor.send_signal(signal.SIGINT)
    assert family.stop() == 0
    assert "said goodbye" in family.text


def test_the_banner_and_the_later_programs_wait_for_health(family: Family) -> None:
    port = free_port()
    late = "import sys, time; time.sleep(1); exec(sys.argv[2])"
    family.start(
        program("web", late, str(port), HEALTHY, serves_health=True),
        program("client", SLEEP, after_ready=True),
        port=port,
    )
    family.wait_for("moolai is ready")
    assert re.search(r"console +here", family.text)
    family.wait_for("client | up")
    assert family.text.index("moolai is ready") < family.text.index("client | up")
    web = next(child for child in family.supervisor.children() if str(port) in child.cmdline())
    web.kill()
    family.wait_for("web answers again")
    assert family.text.count("client | up") == 1


def test_json_logs_pass_unchanged_and_the_notes_are_json_too(family: Family) -> None:
    family.start(program("brief", """print('{"event": "hello"}', flush=True)"""), log_format="json")
    family.wait_for("starts again")
    events = [json.loads(line)["event"] for line in family.text.splitlines()]
    assert events[0] == "hello"
    assert events[1].startswith("brief ended with status 0")


def test_a_flood_without_line_ends_is_passed_on_in_pieces(family: Family) -> None:
    family.start(
        program("flood", "print('x' * 300_000, flush=True); import time; time.sleep(600)"), program("b", SLEEP)
    )
    wait_until(lambda: family.text.count("x") == 300_000, seconds=30, what="everything arrived")
    assert family.stop() == 0


def test_the_supervisor_itself_is_light(family: Family) -> None:
    family.start(program("one", SLEEP))
    family.wait_for("| up")
    assert family.supervisor.memory_full_info().pss < 15 * 1024 * 1024
    assert "django" not in Path(f"/proc/{family.supervisor.pid}/maps").read_text()


class Product:
    """`manage.py up --demo` in a directory of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.port = free_port()
        self.data_dir = data_dir
        self.env = {"DATA_DIR": str(data_dir), "DATABASE_URL": "", "REDIS_URL": "", "PORT": str(self.port)}
        self.env |= {"MOOLAI_ADMIN_PASSWORD": "", "LOG_FORMAT": "console", "NO_COLOR": "1"}

    def up(self, *arguments: str, **env: str) -> ServerProcess:
        """Return the process, not started."""
        log_path = self.data_dir.parent / f"up-{time.monotonic_ns()}.log"
        return ServerProcess("up", "--demo", *arguments, env={**self.env, **env}, log_path=log_path)


@pytest.fixture
def product(tmp_path: Path) -> Product:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    return Product(data_dir)


@pytest.fixture
def migrated(product: Product, world: World) -> Product:
    """One whose database is there already."""
    copy_sqlite(Path(world.name_of(world.new_database(product.data_dir.parent.name))), product.data_dir / DATABASE)
    return product


def names(family: list[psutil.Process]) -> list[str]:
    """Return what a family consists of: `supervisor`, the commands, the orchestrators."""
    known = ("supervisor.py", "serve", "worker", "beat", "orch-001", "orch-002")
    return sorted(next(name for name in known if any(part.endswith(name) for part in one.cmdline())) for one in family)


@pytest.mark.services
def test_the_whole_family_comes_up_in_time_within_its_memory_and_leaves_on_one_ctrl_c(product: Product) -> None:
    up = product.up()
    try:
        up.spawn()
        up.wait_ready(lambda: "moolai is ready" in up.output(), timeout_seconds=90)
        expected = ["beat", "orch-001", "orch-002", "serve", "supervisor.py", "worker"]
        wait_until(lambda: names(up.family()) == expected, seconds=30, what="all six run")
        check_banner(product, up.output())
        wait_until(
            lambda: "orch-002" in up.output() and live_count(product) == 2, seconds=60, what="both are connected"
        )
        family = up.family()
        pss = sum(process.memory_full_info().pss for process in family)
        assert pss <= 500 * 1024 * 1024
        shown = " ".join(" ".join(process.cmdline()) for process in family)
        for path in product.data_dir.glob("*.key"):
            assert path.read_text().strip() not in shown, "secrets are not in argument lists"
        began_at = time.monotonic()
        assert up.end(signal.SIGINT, timeout_seconds=30) == 0
        assert time.monotonic() - began_at <= 20  # ten on a machine that has nothing else to do
        assert not [process for process in family if is_alive(process)]
        assert "Traceback" not in up.output()
    finally:
        up.kill()


def live_count(product: Product) -> int:
    """Return how many sessions the database says are open."""
    with closing(sqlite3.connect(product.data_dir / DATABASE)) as database:
        query = "SELECT count(*) FROM orchestrator_instances WHERE session_id IS NOT NULL AND session_id != ''"
        return int(database.execute(query).fetchone()[0])


def check_banner(product: Product, text: str) -> None:
    """Assert what a newcomer needs: the address, the user, the password, the place, how to stop."""
    assert f"http://127.0.0.1:{product.port}/admin/" in text
    match = re.search(r"password +(\S+)", text)
    assert match
    (kept,) = product.data_dir.glob("admin*password*")
    assert kept.read_text().strip() == match[1]
    for path in [
        kept,
        *product.data_dir.glob("*.key"),
        *product.data_dir.glob("*_key"),
        *product.data_dir.glob("*.sqlite3"),
    ]:
        assert path.stat().st_mode & 0o077 == 0, f"{path.name} is for its owner only"
    assert str(product.data_dir) in text
    assert "Ctrl-C" in text


@pytest.mark.services
def test_nothing_is_left_of_a_family_whose_parent_was_killed(migrated: Product) -> None:
    up = migrated.up()
    try:
        up.spawn()
        up.wait_ready(lambda: len(up.family()) == 6, timeout_seconds=90)
        family = up.family()
        family[0].kill()
        wait_until(lambda: not [one for one in family if is_alive(one)], seconds=30, what="all are gone")
    finally:
        up.kill()


@pytest.mark.services
def test_a_taken_port_is_said_in_one_sentence(product: Product) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", product.port))
        taken.listen()
        up = product.up()
        up.spawn()
        assert up.wait(timeout_seconds=60) == 1
    sentence = (
        f"Port {product.port} is taken by another program; choose another one, for example: PORT={product.port + 1}"
    )
    assert up.output().strip() == f"{sentence} make run"


@pytest.mark.services
def test_two_families_do_not_share_one_directory(migrated: Product) -> None:
    first = migrated.up()
    try:
        first.start()
        second = migrated.up(PORT=str(free_port()))
        second.spawn()
        assert second.wait(timeout_seconds=60) == 1
        (sentence,) = second.output().strip().splitlines()
        assert sentence.startswith("Another moolai runs with the data in")
    finally:
        first.kill()


@pytest.mark.services
def test_preparing_alone_ends_and_can_be_repeated(product: Product) -> None:
    passwords = []
    for _ in range(2):
        up = product.up("--prepare-only")
        up.spawn()
        assert up.wait(timeout_seconds=60) == 0, up.tail()
        (kept,) = product.data_dir.glob("admin*password*")
        passwords.append(kept.read_text())
    assert passwords[0] == passwords[1]
    assert len(list(product.data_dir.glob("*.key"))) == 2
