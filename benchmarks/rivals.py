"""The gateway beside LiteLLM's proxy and Portkey's gateway, all on one core before one provider, in one run.

Neither is part of this project: each runs when its environment variable names its program (docs/performance.md says how
they are installed). moolai has key check, budget, limits and ledger on; LiteLLM its key check, without a database;
Portkey has none of these.
"""

import os
import shutil
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.gateway import BODY, LIMITS, SIZES, play, title
from benchmarks.generator import cores, on_core
from benchmarks.report import Report
from benchmarks.stage import Stage
from moolai.testing.processes import Process, free_port

LITELLM: Final = "MOOLAI_BENCH_LITELLM"  # the program `litellm` of a virtual environment
PORTKEY: Final = "MOOLAI_BENCH_PORTKEY"  # the file start-server.js of @portkey-ai/gateway
KEY: Final = "sk-benchmark-0123456789"
CONFIG: Final = """
model_list:
  - model_name: {model}
    litellm_params: {{model: "openai/{model}", api_base: "{address}", api_key: "{key}"}}
general_settings: {{master_key: "{key}"}}
"""
TARGETS: Final = {"LiteLLM": 40.0, "Portkey": 5.0}


@dataclass(frozen=True)
class Server:
    """A gateway that runs: where it listens, its process, what it wants for a key and in headers."""

    port: int
    pid: int
    key: str
    headers: str = ""


def measure(stage: Stage, *, is_quick: bool) -> Report:
    """Call each in turn, and compare."""
    seconds, rounds = (2.0, 1) if is_quick else (5.0, 3)
    report = Report("Gateways: chat completions over an instant provider")
    provider = stage.baseline("provider", is_behind=True)
    address = f"http://127.0.0.1:{provider.port}/v1"
    servers = _servers(stage, address, report)
    with on_core(cores()[1]):
        for _ in range(rounds):
            for count, is_stream in SIZES:
                for name, one in servers.items():
                    found = uvloop.run(
                        play(
                            one.port, one.pid, one.key,
                            count=count, is_stream=is_stream, seconds=seconds, headers=one.headers,
                        )
                    )  # fmt: skip
                    report.rounds.setdefault(title(name, count, is_stream), []).append(found.as_json())
    _tell(report, list(servers))
    return report


def _servers(stage: Stage, address: str, report: Report) -> dict[str, Server]:
    product = stage.product("rivals", env={"OPENAI_BASE_URL": address, "OPENAI_API_KEY": KEY})
    product.installation.manage("shell", "--verbosity", "0", "-c", LIMITS)
    bare = stage.baseline("pass", env={"UPSTREAM": address})
    found = {
        "moolai": Server(product.server.port, product.server.pid, product.api_secret),
        "bare": Server(bare.port, bare.pid, "x"),
    }
    for name, variable, start in (("LiteLLM", LITELLM, _litellm), ("Portkey", PORTKEY, _portkey)):
        path = os.environ.get(variable, "")
        if path:
            found[name] = start(stage, path, address)
        else:
            report.notes.append(f"{name} was not measured: set {variable}")
    return found


def _litellm(stage: Stage, program: str, address: str) -> Server:
    config = stage.directory / "litellm.yaml"
    config.write_text(CONFIG.format(model=BODY["model"], address=address, key=KEY))
    port = free_port()
    command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Server(port, _start(stage, "litellm", command, port, "/health/liveliness", env), KEY)


def _portkey(stage: Stage, program: str, address: str) -> Server:
    port = free_port()
    headers = f"x-portkey-provider: openai\r\nx-portkey-custom-host: {address}\r\n"
    command = [shutil.which("node") or "node", program, f"--port={port}", "--headless"]
    return Server(port, _start(stage, "portkey", command, port, "/", {"NODE_ENV": "production"}), KEY, headers)


def _start(stage: Stage, name: str, command: list[str], port: int, path: str, env: dict[str, str]) -> int:
    """Start a program on the servers' core and wait until it answers; return its process id."""

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    log: Path = stage.directory / f"{name}.log"
    process = Process(command, log_path=log, env={**os.environ, **env}, cwd=stage.directory)
    stage.at_end(process.kill)
    sys.stderr.write(f"starting {name} …\n")
    with on_core(cores()[0]):
        process.spawn()
    process.wait_ready(answers, timeout_seconds=180)
    return process.pid


def _tell(report: Report, names: list[str]) -> None:
    for count, is_stream in SIZES:
        for name in names:
            label = title(name, count, is_stream)
            report.add(label, report.median(label, "calls_per_second"), "calls/s")
            report.add(f"{label}: CPU of a call", report.median(label, "cpu_us_per_call"), "us")
            report.add(f"{label}: p50", report.median(label, "p50_ms"), "ms")
            if sum(entry["failed"] for entry in report.rounds[label]):
                report.notes.append(f"{label}: some calls FAILED")
        ours = report.median(title("moolai", count, is_stream), "calls_per_second")
        for name in names[1:]:
            theirs = report.median(title(name, count, is_stream), "calls_per_second")
            what = f"calls/s, {title(f'moolai : {name}', count, is_stream)}"
            report.add(what, ours / max(theirs, 0.01), "x", least=TARGETS.get(name))
