"""Jobs and tasks as Ray's dashboard tells them: outcomes on the driver's run, a real HTTP server in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from otel_events.core.spans import span
from otel_events.core.traces import Closed, close_all
from otel_events.model.errors import ConfigError, DecodeError, SourceError
from otel_events.model.event import AnyEvent, PhaseChange
from otel_events.sources import decoder
from otel_events.sources.ray import dashboard as ray_dashboard
from otel_events.sources.ray import jobs as ray_jobs
from otel_events.sources.ray import state as ray_state
from otel_events.sources.ray.dashboard import Backfill, Dashboard, Jobs

GOLDEN = Path(__file__).parents[1] / "golden" / "ray_jobs"
JOBS: list[dict[str, Any]] = json.loads((GOLDEN / "jobs.json").read_text())
TASKS: dict[str, Any] = json.loads((GOLDEN / "tasks.json").read_text())
SESSION = "session_2026-11-21_00-35-01_123456_789"
TOKEN = "0123456789abcdef"  # noqa: S105 - a made-up one
decode = decoder("ray")


class FakeDashboard:
    """Answers of the dashboard by path, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "/api/version": {"version": "4", "ray_version": "2.60.0", "session_name": SESSION},
            "/api/jobs/": JOBS,
            "/api/v0/tasks?limit=10000&detail=1": TASKS,
        }
        self.asked: list[tuple[str, str | None]] = []
        self.status, self.wants = 200, ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["Authorization"]))
                told = outer.answers.get(self.path)
                refused = outer.wants and self.headers["Authorization"] != f"Bearer {outer.wants}"
                body = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(401 if refused else outer.status if told is not None else 404)
                self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of its parameter
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def fake() -> Iterator[FakeDashboard]:
    made = FakeDashboard()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def events(found: list[tuple[str, bytes]], hint: str = ray_jobs.HINT) -> list[AnyEvent]:
    return [event for _, record in found for event in decode(record, hint)]


def closed(found: list[AnyEvent]) -> dict[str, Closed]:
    roots = {event.run.root for event in found}
    every = [one for root in roots for one in close_all([e for e in found if e.run.root == root])[0]]
    return {one.attempt.run.id: one for one in every}


def test_jobs_end_as_the_dashboard_says(fake: FakeDashboard) -> None:
    told = closed(events(Jobs(Dashboard(fake.url)).poll(0)))
    assert {key: (one.outcome, one.attempt.run.workflow) for key, one in told.items()} == {
        "02000000": ("succeeded", "jobok.py"),
        "job_bad": ("failed", "jobbad.py"),
    }
    good, bad = (span(told[key].attempt, told[key].where, told[key].outcome) for key in ("02000000", "job_bad"))
    assert (good.start, good.end) == (1795221307994000000, 1795221322370000000)
    assert good.attributes["otel_events.namespace"] == SESSION
    assert good.attributes["ray.submission.id"] == "job_ok"
    assert good.attributes["ray.job.metadata.team"] == "x"
    assert (good.attributes["ray.driver.exit_code"], bad.attributes["ray.driver.exit_code"]) == (0, 3)
    assert bad.attributes["error.type"] == "JOB_ENTRYPOINT_COMMAND_ERROR"
    assert bad.attributes["otel_events.error.kind"] == "user"
    assert bad.status_message == "Job entrypoint command failed with exit code 3"


def test_the_outcome_is_that_of_the_driver_s_run(fake: FakeDashboard) -> None:
    """Of the export's events alone nobody knows how a job ended; with the dashboard's answer it did."""
    session = {"sessionName": SESSION, "sourceType": "GCS", "severity": "INFO"}
    exported = [
        {
            **session, "eventId": "YQ==", "timestamp": "2026-11-21T00:35:18.1Z",
            "eventType": "DRIVER_JOB_DEFINITION_EVENT",
            "driverJobDefinitionEvent": {"jobId": "AgAAAA==", "entrypoint": "python jobok.py"},
        },
        {
            **session, "eventId": "Yg==", "timestamp": "2026-11-21T00:35:22Z",
            "eventType": "DRIVER_JOB_LIFECYCLE_EVENT",
            "driverJobLifecycleEvent": {
                "jobId": "AgAAAA==", "stateTransitions": [{"state": "FINISHED", "timestamp": "2026-11-21T00:35:22Z"}]
            },
        },
    ]  # fmt: skip
    alone = decode(json.dumps(exported).encode(), "")
    asked = events(Jobs(Dashboard(fake.url)).poll(0))
    assert closed(alone)["02000000"].outcome == ""
    both = closed([*asked, *alone])["02000000"]
    assert [change.phase for change in both.attempt.phases] == ["pending", "running", "finalizing", "succeeded"]
    assert both.outcome == "succeeded"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "STOPPED"}, ["pending", "cancelled"]),
        ({"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED"}, ["pending", "failed"]),
        ({"status": "RUNNING", "end_time": None}, ["pending"]),
        ({"status": "RUNNING", "end_time": None, "job_id": None}, []),
        ({"status": "PENDING", "end_time": None, "job_id": None}, []),
        ({"status": "FAILED", "job_id": None}, ["pending", "running", "failed"]),
        ({"status": "FAILED", "job_id": None, "driver_exit_code": None}, ["pending", "failed"]),
        ({"type": "DRIVER", "submission_id": None}, []),
    ],
)
def test_what_is_taken_from_an_entry(changes: dict[str, Any], expected: list[str]) -> None:
    record = json.dumps({"session_name": SESSION, "jobs": [JOBS[1] | changes]}).encode()
    found = decode(record, ray_jobs.HINT)
    assert [event.phase for event in found if isinstance(event, PhaseChange)] == expected
    kinds = {event.error.kind for event in found if isinstance(event, PhaseChange) and event.error}
    assert kinds <= {"system"} if "SUPERVISOR" in str(changes) else kinds <= {""}


def test_only_what_has_changed_is_told_again(fake: FakeDashboard) -> None:
    jobs = Jobs(Dashboard(fake.url))
    first = jobs.poll(0)
    assert jobs.poll(0) == first  # not kept: given again
    jobs.acknowledge()
    assert jobs.poll(0) == []
    fake.answers["/api/jobs/"] = [JOBS[0] | {"message": "other"}, JOBS[1]]
    ((_, record),) = jobs.poll(0)
    assert [one["submission_id"] for one in json.loads(record)["jobs"]] == ["job_bad"]
    fake.answers["/api/version"] = {"session_name": "another"}
    assert len(json.loads(jobs.poll(0)[0][1])["jobs"]) == 2


def test_nothing_of_a_runtime_env_or_of_the_job_s_logs_is_taken(fake: FakeDashboard) -> None:
    ((_, record),) = Jobs(Dashboard(fake.url)).poll(0)
    assert b"hunter2" in json.dumps(JOBS).encode()
    assert b"hunter2" not in record
    assert "Runtime env is setting up" not in repr(decode(record, ray_jobs.HINT))


def test_the_token_is_sent_and_asked_for_anew(fake: FakeDashboard) -> None:
    fake.wants = TOKEN
    with pytest.raises(SourceError, match=r"wants a token \(401\): give --ray-token-file"):
        Jobs(Dashboard(fake.url)).poll(0)
    tokens = iter(["old", TOKEN, TOKEN])
    jobs = Jobs(Dashboard(fake.url, lambda: next(tokens)))
    with pytest.raises(SourceError):
        jobs.poll(0)
    assert jobs.poll(0)
    assert fake.asked[-1] == ("/api/jobs/", f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("/api/jobs/", b"<html>", "is no JSON"),
        ("/api/jobs/", {}, "is no list"),
        ("/api/jobs/", b"[" * 100_000, "is no JSON"),
        ("/api/version", {"version": "4"}, "does not tell its session: give it with --ray-session"),
        ("/api/version", None, "answered 404"),
    ],
)
def test_another_answer_is_told(fake: FakeDashboard, path: str, answer: Any, told: str) -> None:
    fake.answers[path] = answer
    with pytest.raises(SourceError, match=told):
        Jobs(Dashboard(fake.url)).poll(0)


def test_a_session_that_the_dashboard_does_not_tell(fake: FakeDashboard) -> None:
    fake.answers["/api/version"] = {"version": "4"}
    ((_, record),) = Jobs(Dashboard(fake.url, session="given")).poll(0)
    assert json.loads(record)["session_name"] == "given"


def test_answers_are_bounded_and_redirects_not_followed(fake: FakeDashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_dashboard, "LARGEST", 100)
    with pytest.raises(SourceError, match=r"/api/jobs/ answered 200 with 101 bytes"):
        Jobs(Dashboard(fake.url)).poll(0)
    fake.status = 302
    with pytest.raises(SourceError, match="answered 302"):
        Jobs(Dashboard(fake.url)).poll(0)


def test_nobody_answers() -> None:
    with pytest.raises(SourceError, match="cannot be asked"):
        Jobs(Dashboard("http://127.0.0.1:9")).poll(0)


@pytest.mark.parametrize("url", ["127.0.0.1:8265", "ftp://x", "http://", "http://user:pw@x"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="give the address of Ray's dashboard"):
        Dashboard(url)


# --- what ran before --------------------------------------------------------------------------------------------------


def test_tasks_from_before_are_told_once(fake: FakeDashboard) -> None:
    driver = {"type": "DRIVER", "job_id": "02000000", "status": "SUCCEEDED", "entrypoint": "python x.py"}
    fake.answers["/api/jobs/"] = [*JOBS, driver | {"start_time": 1795221307994, "end_time": 1795221322370}]
    earlier = Backfill(Dashboard(fake.url), lambda session, job: False)
    found = earlier.poll(0)
    assert earlier.poll(0) == found  # not kept: asked again
    earlier.acknowledge()
    assert earlier.poll(0) == []
    changes = events(found, ray_state.HINT)
    attempts = {(one.run.id, one.run.attempt): one for one in changes if isinstance(one, PhaseChange)}
    task = "67a2e8cfa5a06db3ffffffffffffffffffffffff02000000"
    assert {key: one.phase for key, one in attempts.items()} == {
        ("02000000", 1): "finalizing",
        (task, 1): "failed",
        (task, 2): "succeeded",
    }
    failed = attempts[task, 1]
    assert failed.error is not None
    assert (failed.error.kind, failed.run.name, failed.run.namespace) == ("user", "f", SESSION)
    whole = closed(changes)
    assert whole[task].where.parent_span_id == whole["02000000"].where.span_id
    assert b"serialized_runtime_env" not in found[0][1]


def test_jobs_that_are_known_are_left_to_the_events(fake: FakeDashboard) -> None:
    asked: list[tuple[str, str]] = []
    earlier = Backfill(Dashboard(fake.url), lambda session, job: not asked.append((session, job)))  # type: ignore[func-returns-value]  # append, then True
    assert earlier.poll(0) == []
    assert asked == [(SESSION, "02000000")]


def test_more_tasks_than_are_told_are_named_in_the_log(fake: FakeDashboard, caplog: pytest.LogCaptureFixture) -> None:
    answer = json.loads(json.dumps(TASKS))
    answer["data"]["result"]["total"] = 12_200
    fake.answers["/api/v0/tasks?limit=10000&detail=1"] = answer
    Backfill(Dashboard(fake.url), lambda session, job: False).poll(0)
    assert "the State API tells 2 of 12200 tasks" in caplog.text


@pytest.mark.parametrize("hint", [ray_jobs.HINT, ray_state.HINT])
@pytest.mark.parametrize(
    "record", [b"[]", b"{", b'{"session_name": 1}', b'{"session_name": "a", "jobs": [{}], "tasks": [{}]}']
)
def test_a_record_that_is_none(hint: str, record: bytes) -> None:
    with pytest.raises(DecodeError, match=r"see docs/ray\.md"):
        decode(record, hint)
