"""Ray 2.47.1, the last with workflows: our get_metadata beside Ray's own, while the gateway polls the storage."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_events.testing import CaptureServer
from tests.live import namespace
from tests.live.envs import python
from tests.live.test_ray_events import LONG, ROOT, environ, wait_for

PROGRAM = Path(__file__).parent / "ray_programs" / "workflow_247.py"
ATTEMPTS = 21


def scene(folder: Path, interpreter: Path) -> None:
    """Run the program under a gateway that polls; ``folder/out.json``: what both told."""
    storage = folder / "s"
    storage.mkdir()
    with CaptureServer() as collector:
        own = environ(folder, **collector.environ("http/protobuf"))
        command = [sys.executable, "-m", "otel_events", "serve", "--port", "0", "--journal", str(folder / "j.db")]
        command += ["--grace", "0.5", "--poll", "0.2", "--ray-workflows", f"old={storage}"]
        gateway = subprocess.Popen(command, env=own, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert gateway.stderr is not None
        assert "listening" in gateway.stderr.readline()
        play = [str(interpreter), str(PROGRAM), str(storage), str(folder / "flag"), str(folder / "r")]
        done = subprocess.run(play, env=environ(folder), capture_output=True, text=True, check=False, timeout=LONG)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        wait_for("a span of each attempt", lambda: len({span.span_id for span in collector.spans()}) == ATTEMPTS)
        gateway.send_signal(signal.SIGTERM)
        assert "all telemetry was sent" in gateway.stderr.read()
        gateway.stderr.close()
        assert gateway.wait(30) == 0
        spans = [[span.name, span.start, span.end, span.attributes] for span in collector.spans()]
    (folder / "out.json").write_text(json.dumps({"printed": done.stdout.splitlines(), "spans": spans}))


@pytest.fixture(scope="module")
def played() -> Iterator[dict[str, Any]]:
    interpreter = python("ray247")
    with tempfile.TemporaryDirectory(prefix="oe-") as name:  # short: Ray's sockets are below it
        folder = Path(name)
        done = namespace.run(__name__, name, str(interpreter), timeout=2 * LONG)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        yield json.loads((folder / "out.json").read_text())


def test_our_answer_is_ray_s_at_every_stage(played: dict[str, Any]) -> None:
    told = json.loads(played["printed"][-1])
    for one in told:
        assert one["ours"] == one["ray"], (one["stage"], one["call"])
    assert len(told) == 30
    seen = {(one["stage"], one["ray"].get("result", {}).get("status")) for one in told if len(one["call"]) == 1}
    assert {("running", "RUNNING"), ("failed", "FAILED"), ("cancelled", "CANCELED"), ("done", "SUCCESSFUL")} <= seen
    assert [one["ray"]["error"][:2] for one in told if "error" in one["ray"]] == [["builtins", "ValueError"]] * 6


def test_the_seed_s_two_dictionaries_are_printed(played: dict[str, Any]) -> None:
    whole, task = (ast.literal_eval(line) for line in played["printed"][:2])
    assert {name: type(value) for name, value in (*whole.pop("stats").items(), *task.pop("stats").items())} == {
        "start_time": float,
        "end_time": float,
    }
    assert whole == {"status": "SUCCESSFUL", "user_metadata": {"k2": "v2"}}
    assert repr(task) == (
        "{'task_id': 'trip', 'task_options': {'task_type': 'FUNCTION', 'max_retries': 3, 'catch_exceptions': False, "
        "'retry_exceptions': False, 'checkpoint': True, 'ray_options': {'_metadata': {'workflow.io/options': "
        "{'task_id': 'trip', 'metadata': {'k1': 'v1'}}}}}, 'user_metadata': {'k1': 'v1'}, 'workflow_refs': []}"
    )


def test_what_was_polled_became_spans(played: dict[str, Any]) -> None:
    ends = {
        (told["otel_events.run.id"], told["otel_events.attempt"]): told.get("otel_events.outcome")
        for _, _, _, told in played["spans"]
    }
    assert ends == {
        ("trip1", 1): "succeeded", ("trip1/tasks/trip", 1): "succeeded",
        ("run1", 1): "succeeded", ("run1/tasks/wait", 1): "succeeded", ("run1/tasks/after", 1): "succeeded",
        ("fail1", 1): "failed", ("fail1/tasks/b", 1): "failed", ("fail1/tasks/sum", 1): "skipped",
        ("cancel1", 1): "cancelled", ("cancel1/tasks/slow", 1): "cancelled",
        ("resume1", 1): "failed", ("resume1/tasks/need", 1): "failed",
        ("resume1", 2): "succeeded", ("resume1/tasks/need", 2): "succeeded",
        ("team/dyn é", 1): "succeeded", ("team/dyn é/tasks/root", 1): "succeeded",
        **{(f"team/dyn é/tasks/__main__.factorial{n}", 1): "succeeded" for n in ("", "_1", "_2")},
        ("sys1", 1): "failed", ("sys1/tasks/die", 1): "crashed",
    }  # fmt: skip


def test_spans_have_ray_s_own_times(played: dict[str, Any]) -> None:
    ray = {tuple(one["call"]): one["ray"] for one in json.loads(played["printed"][-1])}
    times = {told["otel_events.run.id"]: (start, end) for _, start, end, told in played["spans"]}
    stats = ray["trip1",]["result"]["stats"]
    assert times["trip1"][1] / 10**9 == stats["end_time"]
    task = ray["run1", "wait"]["result"]["stats"]
    assert times["run1/tasks/wait"][1] / 10**9 == task["end_time"]


if __name__ == "__main__":
    namespace.loopback_up()
    scene(Path(sys.argv[1]), Path(sys.argv[2]))
