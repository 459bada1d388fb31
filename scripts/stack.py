"""``make stack``: the gateway, both collectors, Prometheus and Jaeger as processes on loopback, until Ctrl-C.

    python scripts/stack.py [--folder DIR] [--free-ports] [--demo]

``--demo`` plays the bundled records again and again, as if they happened now. What each process says is in DIR/*.log.
Rules and alerts are those of collector/prometheus/. Grafana itself has no build from modules: point one at the
addresses that are printed (docs/stack.md).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.stack_binaries import COLLECTOR, ROOT, BuildError, binary

READY_WITHIN = 120
"""Seconds: a busy machine starts five processes."""
NAMES = ("jaeger", "collector", "agent", "gateway", "prometheus")
"""In the order in which they start."""
SHOWN = {
    "gateway": "gateway, POST events here",
    "agent_http": "OTLP/HTTP",
    "prometheus": "Prometheus",
    "jaeger": "Jaeger",
}
DEFAULTS = {
    **{"gateway": 4319, "agent_grpc": 4317, "agent_http": 4318, "collector_grpc": 4327, "jaeger_otlp": 4418},
    **{"jaeger": 16686, "jaeger_grpc": 16685, "prometheus": 9090, "statsd": 8125, "programs": 8889},
    **{"agent_metrics": 8888, "collector_metrics": 8887, "agent_health": 13133, "collector_health": 13134},
}


class Stack:
    """The processes, each of which can be killed and started again on the data and ports that it had."""

    def __init__(
        self,
        folder: Path,
        ports: Mapping[str, int],
        *,
        seconds: int = 15,
        traces: str = "",
        logs: str = "",
        gateway: tuple[str, ...] = (),
    ) -> None:
        """``seconds``: between scrapes. ``traces``, ``logs``: OTLP/HTTP bases of stores, else Jaeger and
        DIR/logs.jsonl. ``gateway``: options of ``serve``."""
        self.folder, self.ports, self._seconds, self._logs = folder, ports, seconds, logs
        self.gateway = gateway
        self.environ: dict[str, dict[str, str]] = {}
        """Name -> settings over those of that process, from its next start on; ``configs`` likewise, of a collector."""
        self.configs: dict[str, tuple[Path, ...]] = {}
        self._traces = traces or f"http://127.0.0.1:{ports['jaeger_otlp']}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["/bin/sh", str(ROOT / "collector" / "secrets.sh"), str(folder)], check=True)
        (folder / "jaeger.yaml").write_text(yaml.safe_dump(self._jaeger()))
        (folder / "logs.yaml").write_text(yaml.safe_dump(self._logs_to_file()))
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(self._prometheus()))

    def url(self, name: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def start(self, *names: str) -> None:
        """Start these, or all, and wait until each says that it is ready. RuntimeError with its last words."""
        for name in names or NAMES:
            with (self.folder / f"{name}.log").open("ab") as log:
                environ = os.environ | self._environ(name) | self.environ.get(name, {})
                self.processes[name] = subprocess.Popen(
                    self._command(name),
                    env=environ,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is ours alone: we end them in order, the senders first
                )
        for name in names or NAMES:
            self._await(name)

    def kill(self, name: str) -> None:
        """SIGKILL: nothing of what it holds in memory is written."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End all, the senders first."""
        for name in reversed(NAMES):
            if process := self.processes.pop(name, None):
                if name == "jaeger":
                    process.kill()  # its store is memory, and it takes ten seconds to end by itself
                else:
                    process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _await(self, name: str) -> None:
        ready = {
            "gateway": self.url("gateway", "/readyz"),
            "agent": self.url("agent_health", "/"),
            "collector": self.url("collector_health", "/"),
            "prometheus": self.url("prometheus", "/-/ready"),
            "jaeger": self.url("jaeger", "/api/services"),
        }[name]
        end = time.monotonic() + READY_WITHIN
        while not _answers(ready):
            if self.processes[name].poll() is not None or time.monotonic() > end:
                said = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{name} did not become ready at {ready}:\n{said}")
            time.sleep(0.1)

    def _command(self, name: str) -> list[str]:
        if name == "gateway":
            options = ["--port", str(self.ports[name]), "--journal", str(self.folder / "journal.db"), *self.gateway]
            return [sys.executable, "-m", "otel_events", "serve", *options]
        if name == "jaeger":
            return [str(binary("jaeger")), "--config", str(self.folder / "jaeger.yaml")]
        if name == "prometheus":
            options = [
                f"--config.file={self.folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self.folder / 'tsdb'}",
            ]
            options += ["--web.enable-otlp-receiver", "--enable-feature=exemplar-storage"]
            return [str(binary("prometheus")), *options, f"--web.listen-address=127.0.0.1:{self.ports[name]}"]
        configs = [ROOT / "collector" / {"agent": "agent.yaml", "collector": "gateway.yaml"}[name]]
        configs += [self.folder / "logs.yaml"] if name == "collector" and not self._logs else []
        configs += self.configs.get(name, ())
        return [str(binary(COLLECTOR)), *(item for path in configs for item in ("--config", str(path)))]

    def _environ(self, name: str) -> dict[str, str]:
        ports, folder = self.ports, self.folder
        if name == "gateway":
            return {
                "OTEL_EXPORTER_OTLP_ENDPOINT": self.url("agent_http"),
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_METRICS_EXPORTER": "none",  # scraped: one way for each number
            }
        if name == "agent":
            return {
                "QUEUE_DIR": str(folder / "agent-queue"),
                "OTLP_GRPC": f"127.0.0.1:{ports['agent_grpc']}",
                "OTLP_HTTP": f"127.0.0.1:{ports['agent_http']}",
                "STATSD": f"127.0.0.1:{ports['statsd']}",
                "NEXT": f"127.0.0.1:{ports['collector_grpc']}",
                "NEXT_TOKEN": (folder / "collector_token").read_text().strip(),
                "NEXT_CA": str(folder / "cert.pem"),
                "HEALTH_ADDRESS": f"127.0.0.1:{ports['agent_health']}",
                "METRICS_PORT": str(ports["agent_metrics"]),
            }
        if name == "collector":
            return {
                "QUEUE_DIR": str(folder / "collector-queue"),
                "LISTEN": f"127.0.0.1:{ports['collector_grpc']}",
                "TLS_CERT": str(folder / "cert.pem"),
                "TLS_KEY": str(folder / "key.pem"),
                "TOKEN_FILE": str(folder / "collector_token"),
                "TEMPO": self._traces,
                **({"LOKI": self._logs} if self._logs else {}),
                "PROMETHEUS_EXPORT": f"127.0.0.1:{ports['programs']}",
                "HEALTH_ADDRESS": f"127.0.0.1:{ports['collector_health']}",
                "METRICS_PORT": str(ports["collector_metrics"]),
            }
        return {"GRAFANA_URL": "http://127.0.0.1:3000", "RUNBOOKS_URL": "http://127.0.0.1:3000/runbooks"}

    def _jaeger(self) -> dict[str, Any]:
        return {
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
                "telemetry": {"metrics": {"level": "none"}},
            },
            "extensions": {
                "jaeger_query": {
                    "storage": {"traces": "memory"},
                    "http": {"endpoint": f"127.0.0.1:{self.ports['jaeger']}"},
                    "grpc": {"endpoint": f"127.0.0.1:{self.ports['jaeger_grpc']}"},
                },
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100_000}}}},
            },
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{self.ports['jaeger_otlp']}"}}}},
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        }

    def _logs_to_file(self) -> dict[str, Any]:
        """Over gateway.yaml, where there is no Loki."""
        file = {"path": str(self.folder / "logs.jsonl")}
        return {"exporters": {"file/logs": file}, "service": {"pipelines": {"logs": {"exporters": ["file/logs"]}}}}

    def _prometheus(self) -> dict[str, Any]:
        """collector/prometheus/prometheus.yaml with these ports and this pace."""
        folder = ROOT / "collector" / "prometheus"
        config: dict[str, Any] = yaml.safe_load((folder / "prometheus.yaml").read_text())
        config["global"] |= {"scrape_interval": f"{self._seconds}s", "evaluation_interval": f"{self._seconds}s"}
        config["rule_files"] = [str(self._rules(folder / name)) for name in config["rule_files"]]
        places = {
            "otel-events": "gateway",
            "otel-events-programs": "programs",
            "otelcol-gateway": "collector_metrics",
            "otelcol-agent": "agent_metrics",
        }
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{self.ports[places[job['job_name']]]}"]}]
        return config

    def _rules(self, path: Path) -> Path:
        """The file, or a copy whose groups keep to a quicker pace than their own minutes."""
        if self._seconds >= 15:
            return path
        told = yaml.safe_load(path.read_text())
        for group in told["groups"]:
            group["interval"] = f"{self._seconds}s"
        copy = self.folder / path.name
        copy.write_text(yaml.safe_dump(told))
        return copy


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an address of our own
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_ports() -> dict[str, int]:
    """A port of its own for each of DEFAULTS."""
    with contextlib.ExitStack() as held:
        found = {}
        for name in DEFAULTS:
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found[name] = one.getsockname()[1]
        return found


@contextlib.contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """``stack``, all of it started, until the end of ``with``."""
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="where queues, metrics and logs are kept (a new one, gone at the end)"
    )
    parser.add_argument("--free-ports", action="store_true", help="any ports that are free, not the usual ones")
    parser.add_argument("--demo", action="store_true", help="play the bundled records again and again, as of now")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as held:
        folder = options.folder or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="otel-events-stack-")))
        print("starting (binaries that are not there are built first: minutes, once)", flush=True)
        try:
            stack = held.enter_context(running(Stack(folder, free_ports() if options.free_ports else DEFAULTS)))
        except (RuntimeError, OSError, BuildError) as error:
            print(error, file=sys.stderr)
            return 1
        _serve(stack, options.demo)
    return 0


def _serve(stack: Stack, demo: bool) -> None:
    from scripts.stack_feed import bundled, wave  # imports the package, which --help does not need

    for name, what in SHOWN.items():
        print(f"{what:28}{stack.url(name)}")
    print(f"logs of runs in {stack.folder}/logs.jsonl, of the processes beside it; Ctrl-C ends all", flush=True)
    number = 0
    while True:
        if demo:
            wave(stack.url("gateway"), bundled(), number)
            number += 1
        time.sleep(10)


if __name__ == "__main__":
    raise SystemExit(main())
