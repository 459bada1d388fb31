"""Ray 2.60: how submitted jobs end, from its dashboard; and code inside tasks, on the spans that the gateway sends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_events.model.identity import span_id, trace_id
from otel_events.testing import CaptureServer
from tests.live import namespace
from tests.live.envs import python
from tests.live.test_ray_events import DASHBOARD, LONG, Receiver, cluster, get, wait_for

ADDRESS = f"http://127.0.0.1:{DASHBOARD}"
PROGRAM = Path(__file__).parent / "ray_programs" / "job_worker.py"


def submit(ray: Path, clean: dict[str, str], name: str, *entrypoint: str) -> None:
    command = [str(ray), "job", "submit", "--no-wait", "--submission-id", name, "--", *entrypoint]
    address = {**clean, "RAY_ADDRESS": ADDRESS}
    subprocess.run(command, env=address, capture_output=True, text=True, check=True, timeout=LONG)


def status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(f"/api/jobs/{name}", DASHBOARD))
    return found


def scene(folder: Path, interpreter: Path) -> None:
    """Submit one that succeeds, one that fails, one that is stopped, one without a driver; ``folder/out.json``."""
    own, seen = str(interpreter), folder / "seen"
    with CaptureServer() as collector:
        receiver = Receiver(folder, collector, "--ray-dashboard", ADDRESS, "--poll", "0.5")
        receiver.start()
        ray = interpreter.with_name("ray")
        with cluster(ray, folder) as clean:
            submit(ray, clean, "good", own, str(PROGRAM), str(seen))
            submit(ray, clean, "bad", own, "-c", "import ray; ray.init(); raise SystemExit(4)")
            submit(ray, clean, "driverless", own, "-c", "print('password=hunter2'); raise SystemExit(3)")
            submit(ray, clean, "stopped", own, "-c", "import ray, time; ray.init(); time.sleep(600)")
            wait_for("the driver of `stopped`", lambda: bool(status("stopped")["job_id"]))
            wait_for("`good`", lambda: status("good")["status"] in ("SUCCEEDED", "FAILED"))
            stop = [str(ray), "job", "stop", "stopped"]
            subprocess.run(
                stop, env={**clean, "RAY_ADDRESS": ADDRESS}, capture_output=True, check=True, timeout=LONG,
            )  # fmt: skip
            jobs = json.loads(get("/api/jobs/", DASHBOARD))
            names = {one["submission_id"]: one["job_id"] or one["submission_id"] for one in jobs}
            session = json.loads(get("/api/version", DASHBOARD))["session_name"]
            roots = {span_id("ray", session, run, 1, "workflow") for run in names.values()}
            wait_for("spans of all jobs", lambda: not roots - {span.span_id for span in collector.spans()})
        receiver.stop(signal.SIGTERM)
        spans = [[span.trace_id.hex(), span.span_id.hex(), span.attributes] for span in collector.spans()]
    out = {"session": session, "jobs": jobs, "names": names, "spans": spans, "seen": seen.read_text().splitlines()}
    (folder / "out.json").write_text(json.dumps(out))


@pytest.fixture(scope="module")
def played() -> Iterator[dict[str, Any]]:
    interpreter = python("ray")
    with tempfile.TemporaryDirectory(prefix="oe-") as name:  # short: Ray's sockets are below it
        done = namespace.run(__name__, name, str(interpreter), timeout=2 * LONG)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        yield json.loads((Path(name) / "out.json").read_text())


def roots(out: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Submission id -> attributes of its span."""
    by_run = {told["otel_events.run.id"]: told for _, _, told in out["spans"] if told["otel_events.kind"] == "workflow"}
    return {name: by_run[run] for name, run in out["names"].items()}


def test_jobs_end_as_ray_says(played: dict[str, Any]) -> None:
    said = {one["submission_id"]: one["status"] for one in played["jobs"]}
    assert said == {"good": "SUCCEEDED", "bad": "FAILED", "driverless": "FAILED", "stopped": "STOPPED"}
    ends = {name: told["otel_events.outcome"] for name, told in roots(played).items()}
    assert ends == {"good": "succeeded", "bad": "failed", "driverless": "failed", "stopped": "cancelled"}


def test_why_a_job_failed(played: dict[str, Any]) -> None:
    told = roots(played)
    for name, code in (("bad", 4), ("driverless", 3)):
        assert told[name]["error.type"] == "JOB_ENTRYPOINT_COMMAND_ERROR"
        assert told[name]["ray.driver.exit_code"] == code
        assert told[name]["ray.submission.id"] == name
    assert played["names"]["driverless"] == "driverless"
    assert "hunter2" not in json.dumps(played["spans"])


def test_code_in_a_task_is_on_the_span_of_its_attempt(played: dict[str, Any]) -> None:
    session, job = played["session"], played["names"]["good"]
    trace = trace_id("ray", session, job).hex()
    sent = {span for of, span, _ in played["spans"] if of == trace}
    seen = [json.loads(line) for line in played["seen"]]
    assert sorted(one["what"] for one in seen) == [
        *("again", "again", "async 0", "async 1", "async 2", "driver", "inner", "method", "plain", "plain")
    ]
    attempts = defaultdict(list)
    for one in seen:
        if one["what"] == "inner":
            continue
        source, namespace_, run, attempt, root, kind = one["run"]
        assert (source, namespace_, root) == ("ray", session, job)
        assert kind == ("workflow" if one["what"] == "driver" else "task")
        assert run == one["task"]
        own = span_id("ray", session, run, attempt, kind).hex()
        assert own in sent, one
        assert (one["trace"], one["parent"]) == (trace, own)
        assert one["line"] == [trace, one["span"], run, attempt]
        assert one["outside"] == [trace, own]
        attempts[one["what"]].append(attempt)
    assert sorted(attempts.pop("again")) == [1, 2]
    assert {number for numbers in attempts.values() for number in numbers} == {1}


def test_a_call_of_ours_in_a_task_is_in_the_job_s_trace(played: dict[str, Any]) -> None:
    (inner,) = (one for one in map(json.loads, played["seen"]) if one["what"] == "inner")
    assert inner["run"][0] == "python"
    assert inner["trace"] == trace_id("ray", played["session"], played["names"]["good"]).hex()


if __name__ == "__main__":
    namespace.loopback_up()
    scene(Path(sys.argv[1]), Path(sys.argv[2]))
