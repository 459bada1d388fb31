"""Ray 2.60, a local cluster that exports its events to ``otel-events serve``, which is killed and started again.

All of it runs in namespaces of its own (namespace.py), with a HOME and a folder for temporary files of its own. What
came out is told in a JSON file, and held to what Ray's State API and the job's caller saw.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_events.journal import Journal
from otel_events.model.event import PhaseChange, Run
from otel_events.model.identity import span_id, trace_id
from otel_events.model.telemetry import SpanData
from otel_events.testing import CaptureServer
from tests.live import namespace
from tests.live.envs import python

ROOT = namespace.ROOT
PORT, DASHBOARD = 4319, 8265
EXPORT = {
    "RAY_enable_ray_event": "1",
    "RAY_enable_core_worker_ray_event_to_aggregator": "1",
    "RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR": f"http://127.0.0.1:{PORT}/ray/v1/events",
    "RAY_DASHBOARD_AGGREGATOR_AGENT_EXPOSABLE_EVENT_TYPES": "ALL",
}
LONG = 240.0
"""Seconds until something that should happen is a failure; the machine may be busy."""


# --- within the namespace --------------------------------------------------------------------------------------------


def environ(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of the machine's own Ray, OpenTelemetry or proxies; a HOME of its own, paths short enough for sockets."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "OTEL_EVENTS_LIVE") if key in os.environ}
    places = {name: str(folder / short) for name, short in (("HOME", "h"), ("TMPDIR", "t"), ("RAY_TMPDIR", "r"))}
    for place in places.values():
        Path(place).mkdir(exist_ok=True)
    ours = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "PYTHONWARNINGS": "ignore"}
    return kept | places | ours | more


def wait_for(what: str, found: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not found():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {LONG:g} seconds")
        time.sleep(0.1)


class Receiver:
    """``otel-events serve`` as a process that can be killed; ``more``: further options."""

    def __init__(self, folder: Path, collector: CaptureServer, *more: str) -> None:
        self._more = more
        self._folder, self._environ = folder, environ(folder, **collector.environ("http/protobuf"))
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "otel_events", "serve", "--port", str(PORT), "--grace", "2"]
        command += ["--journal", str(self._folder / "j.db"), "--console", "json", *self._more]
        with (self._folder / "console").open("a") as console:
            self.process = subprocess.Popen(
                command, env=self._environ, cwd=ROOT, stdout=console, stderr=subprocess.PIPE, text=True
            )
        assert self.process.stderr is not None
        assert "listening" in self.process.stderr.readline()

    def stop(self, how: signal.Signals) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        self.process.send_signal(how)
        self.process.wait(30)
        self.process.stderr.close()


def get(path: str, port: int = PORT) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@contextmanager
def cluster(ray: Path, folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which a driver finds the cluster."""
    clean = environ(folder, **EXPORT)
    start = [
        "start",
        "--head",
        "--num-cpus",
        "2",
        "--object-store-memory",
        "80000000",
        "--node-ip-address",
        "127.0.0.1",
    ]
    start += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(DASHBOARD), "--temp-dir", str(folder / "r")]
    with (folder / "ray").open("w") as out:
        subprocess.run([ray, *start], env=clean, stdout=out, stderr=out, check=True, timeout=LONG)
        try:
            yield clean | {"RAY_ADDRESS": "127.0.0.1:6379"}
        finally:
            subprocess.run([ray, "stop", "--force"], env=clean, stdout=out, stderr=out, check=True, timeout=LONG)


def play(job: list[str], clean: Mapping[str, str], receiver: Receiver, out: Path) -> None:
    """Run the job; kill the receiver twice on the way, with Ray sending all the while."""
    kills = {"hopeless": 0.5, "crash": 2.0}
    with out.with_suffix(".err").open("w") as err:
        driver = subprocess.Popen(job, env=dict(clean), stdout=subprocess.PIPE, stderr=err, text=True)
        assert driver.stdout is not None
        for line in driver.stdout:
            pause = kills.get(line.partition(":")[0])
            if pause is not None:
                receiver.stop(signal.SIGKILL)
                time.sleep(pause)
                receiver.start()
        driver.stdout.close()
        assert driver.wait(LONG) == 0, out.with_suffix(".err").read_text()[-3000:]


def tell_outcome(session: str, job: str) -> None:
    """The outcome of the job, which no event of Ray's tells: as a poller of its dashboard would."""
    listed = json.loads(get("/api/jobs/", DASHBOARD))
    status = next(one["status"] for one in listed if one["job_id"] == job)
    run = Run("ray", "workflow", job, "ray_job.py", job, namespace=session, workflow="ray_job.py")
    phase = {"SUCCEEDED": "succeeded", "FAILED": "failed"}[status]
    event = PhaseChange(id=f"jobs.{job}", time=time.time_ns(), run=run, phase=phase, native=status)
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v1/events", msgspec.json.encode(event))
    request.add_header("Content-Type", "application/x-ndjson")
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the address above
        assert answer.status == 200


def scene(folder: Path, interpreter: Path) -> None:
    """Start all, play the job, write what came out to ``folder/out.json``."""
    with CaptureServer() as collector:
        receiver = Receiver(folder, collector)
        receiver.start()
        seen = folder / "seen.json"
        with cluster(interpreter.with_name("ray"), folder) as clean:
            play([str(interpreter), str(ROOT / "examples" / "ray_job.py"), str(seen)], clean, receiver, seen)
            told = json.loads(seen.read_text())
            root = span_id("ray", told["session"], told["job"], 1, "workflow")
            finished = f'"otel_events.run.id": "{told["job"]}"'
            wait_for("FINISHED of the job", lambda: "run.finalizing" in _lines(folder / "console", finished))
            alive = get("/metrics")
            tell_outcome(told["session"], told["job"])
        wait_for("the job's span", lambda: any(span.span_id == root for span in collector.spans()))
        metrics = get("/metrics")
        receiver.stop(signal.SIGTERM)
        out = {"seen": told, "alive": alive, "metrics": metrics, "spans": list(map(_plain, collector.spans()))}
        out["logs"] = [repr(log) for log in collector.logs()]
        (folder / "out.json").write_text(json.dumps(out))


def _lines(path: Path, part: str) -> str:
    return "\n".join(line for line in path.read_text().splitlines() if part in line)


def _plain(span: SpanData) -> dict[str, Any]:
    ids = {"trace": span.trace_id.hex(), "span": span.span_id.hex(), "parent": span.parent_span_id.hex()}
    times = {"start": span.start, "end": span.end}
    return {**ids, **times, "name": span.name, "attributes": span.attributes, "links": len(span.links)}


# --- outside of it ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played() -> Iterator[tuple[Path, dict[str, Any]]]:
    interpreter = python("ray")
    with tempfile.TemporaryDirectory(prefix="oe-") as name:  # short: Ray's sockets are below it
        folder = Path(name)
        done = namespace.run(__name__, str(folder), str(interpreter), timeout=3 * LONG)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        yield folder, json.loads((folder / "out.json").read_text())


def spans_of(out: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The spans of the job's trace by run and attempt; what was sent twice was the same."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    trace = trace_id("ray", out["seen"]["session"], out["seen"]["job"]).hex()
    for span in out["spans"]:
        if span["trace"] == trace:
            key = span["attributes"]["otel_events.run.id"], span["attributes"]["otel_events.attempt"]
            assert found.setdefault(key, span) == span
    return found


def test_the_job_went_as_it_should(played: tuple[Path, dict[str, Any]]) -> None:
    seen = played[1]["seen"]["seen"]
    assert seen == {
        "total": "ok: 5",
        "flaky": "ok: 1",
        "hopeless": "RayTaskError(ValueError)",
        "killed": "ok: back",
        "add": "ok: [1, 2, 3]",
        "crash": "ok: restarted",
        "cancelled": "RayTaskError(TaskCancelledError)",
        "cancelled by force": "TaskCancelledError",
        "environment": "ok: 7",
        "many": "ok: 200",
    }


def test_every_attempt_of_the_state_api_is_one_span(played: tuple[Path, dict[str, Any]]) -> None:
    out = played[1]
    ours = spans_of(out)
    tasks = {key for key, span in ours.items() if span["attributes"]["otel_events.kind"] == "task"}
    assert tasks == {(task, attempt + 1) for task, attempt, *_ in out["seen"]["tasks"]}
    assert len(tasks) > 210
    for task, attempt, name, state, error in out["seen"]["tasks"]:
        span = ours[task, attempt + 1]
        assert span["name"] == name
        told = span["attributes"]
        interrupted = told["otel_events.phase.native"] == "KeyboardInterrupt"
        assert told["otel_events.phase.native"] == state or interrupted
        assert told["otel_events.outcome"] != "succeeded" or error is None
        if error and error != "TASK_CANCELLED":
            assert told["error.type"] == error


def test_outcomes_of_retries_cancels_and_killed_workers(played: tuple[Path, dict[str, Any]]) -> None:
    ends: dict[str, list[tuple[str, str]]] = {}
    for _, span in sorted(spans_of(played[1]).items()):
        told = span["attributes"]
        name = told.get("ray.task.name", span["name"])
        ends.setdefault(name, []).append((told["otel_events.outcome"], told.get("otel_events.error.kind", "")))
    assert Counter(ends["square"]) == {("succeeded", ""): 203}
    assert ends["flaky"] == [("failed", "user"), ("succeeded", "")]
    assert ends["hopeless"] == [("failed", "user")]
    assert ends["killed"] == [("crashed", "system"), ("succeeded", "")]
    assert ends["Counter.crash"] == [("crashed", "system"), ("succeeded", "")]
    assert ends["counter:Counter.__init__"] == [("succeeded", "")]
    assert ends["cancelled"] == [("cancelled", "")]
    assert ends["cancelled by force"][0][0] == "cancelled"
    assert ends["RUN ray_job.py"] == [("succeeded", "")]


def test_no_span_is_an_orphan_and_children_hang_under_the_right_attempt(played: tuple[Path, dict[str, Any]]) -> None:
    ours = spans_of(played[1])
    by_id = {span["span"]: span for span in ours.values()}
    assert len(by_id) == len(ours)
    roots = [span for span in ours.values() if not span["parent"]]
    assert [span["name"] for span in roots] == ["RUN ray_job.py"]
    assert {span["parent"] for span in ours.values()} - {""} <= set(by_id)
    for attempt in (0, 1):
        (child,) = (s for s in ours.values() if s["attributes"].get("ray.task.name") == f"child_of_attempt_{attempt}")
        parent = by_id[child["parent"]]
        assert (parent["name"], parent["attributes"]["otel_events.attempt"]) == ("flaky", attempt + 1)


def test_lives_of_the_actor(played: tuple[Path, dict[str, Any]]) -> None:
    out = played[1]
    lives = [span for span in spans_of(out).values() if span["name"] == "Counter"]
    assert [span["attributes"]["otel_events.attempt"] for span in sorted(lives, key=lambda s: s["start"])] == [1, 2]
    assert [span["links"] for span in sorted(lives, key=lambda span: span["start"])] == [0, 1]
    ends = [span["attributes"]["otel_events.outcome"] for span in sorted(lives, key=lambda span: span["start"])]
    assert ends == ["crashed", "succeeded"]
    assert [actor[1:] for actor in out["seen"]["actors"]] == [["Counter", "DEAD", 1]]  # nobody held it any more


def test_metrics_of_actors_and_nodes(played: tuple[Path, dict[str, Any]]) -> None:
    out = played[1]
    assert "otel_events_ray_nodes 1.0" in out["alive"].splitlines()
    told = [line for line in out["metrics"].splitlines() if line.startswith("otel_events_ray_actor_restarts_total{")]
    assert [line.rpartition(" ")[2] for line in told] == ["1.0"]


def test_the_receiver_lost_nothing_and_refused_nothing(played: tuple[Path, dict[str, Any]]) -> None:
    folder, out = played
    with Journal.reader(folder / "j.db") as journal:
        assert list(journal.dead_letters()) == []
    assert 'otel_events_dead_letters_total{source="ray"} 0.0' in out["metrics"].splitlines()


def test_nothing_that_the_environment_holds_comes_out(played: tuple[Path, dict[str, Any]]) -> None:
    folder, out = played
    with Journal.reader(folder / "j.db") as journal:
        kept = [chunk.events for row in journal.roots() for chunk in journal.root_chunks(row.key)]
    assert "in_environment" in repr(kept)
    for place in (repr(kept), json.dumps(out), (folder / "console").read_text()):
        assert "hunter2" not in place


if __name__ == "__main__":
    namespace.loopback_up()
    scene(Path(sys.argv[1]), Path(sys.argv[2]))
