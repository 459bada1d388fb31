"""What single events of Ray's export become: outcomes, names, times, and what must never get through."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from otel_events.core.traces import Closed, close_all
from otel_events.model.errors import DecodeError
from otel_events.model.event import INTERNAL, AnyEvent, Log, PhaseChange
from otel_events.sources.ray.decode import decode
from otel_events.sources.ray.fields import entrypoint_name, nanoseconds, plain, raised
from otel_events.sources.ray.tables import ERROR_TYPES, STATE_NUMBERS
from tests.sources import ray_events as ray
from tests.sources.ray_events import DRIVER, actor, actor_states, batch, definition, job, lifecycle, profile, task_id

SECOND = 1_000_000_000
NOON = 1_767_268_800 * SECOND


def attempts(*events: dict[str, Any]) -> list[Closed]:
    """The attempts that are shown of events that come each in a record of its own, by root and start."""
    roots: dict[str, list[AnyEvent]] = defaultdict(list)
    for event in events:
        for one in decode(batch(event)):
            roots[one.run.root].append(one)
    return [one for root in sorted(roots) for one in close_all(roots[root])[0] if not one.where.foreign]


def failed(kind: str, message: str = "", number: int = 1) -> dict[str, Any]:
    told = {"errorType": kind, "errorMessage": message}
    return lifecycle(task_id(number), [("FAILED", 2 * SECOND)], rayErrorInfo=told)


def ran(number: int = 1, end: str = "FINISHED") -> list[dict[str, Any]]:
    states = [("SUBMITTED_TO_WORKER", 1), ("RUNNING", SECOND), (end, 3 * SECOND)]
    return [definition(number), lifecycle(task_id(number), states)]


def test_there_are_34_error_types_and_14_states() -> None:
    assert (len(ERROR_TYPES), len(STATE_NUMBERS)) == (34, 14)
    assert (STATE_NUMBERS["8"], STATE_NUMBERS["11"], STATE_NUMBERS["12"]) == ("RUNNING", "FINISHED", "FAILED")


@pytest.mark.parametrize("kind", [*ERROR_TYPES, "OF_TOMORROW", ""])
def test_each_error_type_has_its_outcome(kind: str) -> None:
    (one,) = attempts(definition(1), failed(kind, "why"))
    outcome, blame = ERROR_TYPES.get(kind, ("failed", ""))
    assert one.outcome == outcome
    if outcome in ("failed", "crashed"):
        assert one.attempt.error is not None
        assert (one.attempt.error.type, one.attempt.error.kind) == (kind or "UNKNOWN", blame)
        assert one.attempt.error.message == "why"


TRACEBACK = """\x1b[36mray::boom()\x1b[39m (pid=1, ip=192.0.2.2)
  File "flow.py", line 16, in boom
    def boom(): raise errors.Late("two\x1b[31m lines")
                ^^^^^^^^^^^^^^^^^^
errors.Late: two lines
and this"""


def test_an_application_error_tells_class_line_and_traceback_without_colours() -> None:
    (one,) = attempts(definition(1), failed("TASK_EXECUTION_EXCEPTION", TRACEBACK))
    assert one.attempt.error is not None
    assert one.attempt.error.message == "errors.Late: two lines"
    assert one.attempt.attributes["ray.exception.type"] == "errors.Late"
    assert "\x1b" not in one.attempt.error.stack
    assert one.attempt.error.stack.endswith("and this")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ("", "")),
        ("no class here", ("", "no class here")),
        ("KeyError: 'x'", ("KeyError", "KeyError: 'x'")),
        ("Traceback:\n  File x\nValueError", ("ValueError", "ValueError")),
        ("head\n  indented only", ("", "  indented only")),
    ],
)
def test_the_exception_of_a_text(text: str, found: tuple[str, str]) -> None:
    assert raised(text) == found


def test_a_long_text_is_cut_in_the_middle() -> None:
    text = plain("a" * 50_000 + "b" * 50_000)
    assert len(text) < 33_000
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert "67,232 characters" in text


def cancelled_text(task: str) -> str:
    return f"ray.exceptions.TaskCancelledError: Task: TaskID({task}) was cancelled."


def test_a_method_that_says_itself_was_cancelled_is() -> None:
    (one,) = attempts(definition(1), failed("TASK_EXECUTION_EXCEPTION", cancelled_text(task_id(1))))
    assert one.outcome == "cancelled"


def test_a_task_that_failed_since_another_was_cancelled_failed() -> None:
    (one,) = attempts(definition(1), failed("TASK_EXECUTION_EXCEPTION", cancelled_text(task_id(2))))
    assert one.outcome == "failed"


def left(kind: str, at: int) -> dict[str, Any]:
    return profile(task_id(1), [("task:execute", SECOND, at, {"type": f"<class '{kind}'>", "value": "", "x": 1})])


@pytest.mark.parametrize("at", [2 * SECOND, 4 * SECOND], ids=["in order", "the worker's clock ahead"])
@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "SystemExit", "ValueError"])
def test_a_success_that_was_left_by_an_interrupt_is_a_cancel(kind: str, at: int) -> None:
    for events in ([*ran(), left(kind, at)], [left(kind, at), *ran()]):
        (one,) = attempts(*events)
        assert one.outcome == ("cancelled" if kind == "KeyboardInterrupt" else "succeeded")
        assert one.attempt.illegal == 0


def test_without_a_profile_a_cancel_is_unknowable() -> None:
    assert attempts(*ran())[0].attempt.attributes["ray.cancel.knowable"] is False
    usual = profile(task_id(1), [("task:execute", SECOND, 2 * SECOND, {})])
    assert attempts(*ran(), usual)[0].attempt.attributes["ray.cancel.knowable"] is True


def test_times_of_an_attempt() -> None:
    (one,) = attempts(*ran())
    attempt = one.attempt
    assert (attempt.start - NOON, attempt.first_running - NOON, attempt.end - NOON) == (0, SECOND, 3 * SECOND)


def test_a_late_event_without_transitions_opens_nothing() -> None:
    empty = lifecycle(task_id(1), [], taskLogInfo={"stdoutFile": "out.log", "stdoutEnd": "12"}, workerPid=7)
    (one,) = attempts(*ran(), empty)
    assert (one.outcome, len(one.attempt.phases)) == ("succeeded", 4)
    assert attempts(empty) == []
    (log,) = decode(batch(empty))
    assert isinstance(log, Log)
    assert log.attributes == {"ray.worker.pid": 7, "ray.log.stdout": "out.log", "ray.log.stdout.end": 12}


def test_an_error_without_an_end_is_a_log() -> None:
    event = lifecycle(task_id(1), [("RUNNING", 5)], rayErrorInfo={"errorType": "NODE_DIED", "errorMessage": "gone"})
    log, change = decode(batch(event))
    assert isinstance(log, Log)
    assert isinstance(change, PhaseChange)
    assert (log.message, log.severity, change.phase) == ("gone", 17, "running")


def test_an_unknown_state_is_kept_as_a_log() -> None:
    (one,) = attempts(definition(1), lifecycle(task_id(1), [("DREAMING", 5)]))
    assert [log.event_name for log in one.attempt.logs] == ["ray.phase.DREAMING"]


def test_a_transition_that_is_told_twice_is_one() -> None:
    first, second = (lifecycle(task_id(1), [("RUNNING", 5)]) for _ in range(2))
    assert first["eventId"] != second["eventId"]
    assert [event.id for event in decode(batch(first))] == [event.id for event in decode(batch(second))]


def test_parents_jobs_and_names() -> None:
    own, child, orphan = definition(1), definition(2, parent=task_id(1)), definition(3, parent="f" * 48)
    runs = [event.run for event in decode(batch(own, child, orphan))]
    assert [(run.parent, run.parent_kind) for run in runs] == [(None, ""), (task_id(1), "task"), (None, "")]
    assert {(run.root, run.namespace, run.kind, run.source) for run in runs} == {(ray.JOB, ray.SESSION, "task", "ray")}


def test_pieces_of_one_record_share_its_names() -> None:
    names = [event.run.name for event in decode(batch(lifecycle(task_id(1), [("RUNNING", 5)]), definition(1)))]
    assert names == ["step_1", "step_1"]


def test_attempts_are_counted_from_one() -> None:
    events = decode(batch(definition(1, attempt=2), lifecycle(task_id(1), [("RUNNING", 5)], attempt=2)))
    assert {event.run.attempt for event in events} == {3}


def test_runs_below_a_job_take_over_its_name() -> None:
    found = attempts(*ran(), job("VERBOSE=1 python -u /srv/flows/train.py --token hunter2"))
    assert {one.attempt.run.workflow for one in found} == {"train.py"}


@pytest.mark.parametrize(
    ("entrypoint", "name"),
    [
        ("", ""),
        ("python train.py --rate 0.1", "train.py"),
        ("/usr/bin/python3 -m pkg.train x.py", "pkg.train"),
        ("python -c 'import ray; ray.init()'", "python -c"),
        ("bash /srv/run.sh", "run.sh"),
        ("serve run app:graph", "serve"),
        ("KEY=secret python", "python"),
        ("an 'open quote", "an"),
        ("ONLY=settings", ""),
        ("/" + "x" * 500, "x" * 128),
    ],
)
def test_the_name_of_an_entrypoint(entrypoint: str, name: str) -> None:
    assert entrypoint_name(entrypoint) == name


def test_metadata_of_a_job_is_bounded_and_secrets_are_named_so() -> None:
    many = {f"key{number:03}": "value" for number in range(100)}
    (event,) = decode(batch(job(**many, job_submission_id="raysubmit_1")))
    assert event.attributes["ray.submission.id"] == "raysubmit_1"
    assert sum(key.startswith("ray.job.metadata.") for key in event.attributes) == 32


@pytest.mark.parametrize("field", ["taskId", "parentTaskId", "actorId"])
def test_an_id_that_is_none_is_refused(field: str) -> None:
    event = definition(1)
    event["taskDefinitionEvent"][field] = "not base64!"
    with pytest.raises(DecodeError, match="base64"):
        decode(json.dumps(event).encode())


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01T00:00:00Z", "1960-01-01T00:00:00Z", "2026-01-01T00:00:00"]
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match=r"time|1970"):
        nanoseconds(text)


@pytest.mark.parametrize(
    ("text", "nanos"), [("12:00:00Z", 0), ("12:00:00.5Z", 500_000_000), ("12:00:00.000000001Z", 1)]
)
def test_times_have_any_number_of_digits(text: str, nanos: int) -> None:
    assert nanoseconds(f"2026-01-01T{text}") == NOON + nanos


ALIVE = [("DEPENDENCIES_UNREADY", 1), ("PENDING_CREATION", 2), ("ALIVE", 3)]


def died(reason: str, text: str = "") -> dict[str, Any]:
    return {"actorDiedErrorContext": {"reason": reason, "errorMessage": text}}


@pytest.mark.parametrize(
    ("cause", "outcome", "kind"),
    [
        (died("WORKER_DIED", "Worker exit type: SYSTEM_ERROR"), "crashed", "system"),
        (died("WORKER_DIED", "Worker exit type: INTENDED_USER_EXIT"), "succeeded", None),
        (died("RAY_KILL", "killed by `ray.kill`."), "cancelled", ""),
        (died("OUT_OF_SCOPE"), "succeeded", None),
        (died("NODE_DIED", "its node has died"), "crashed", "system"),
        ({"oomContext": {"errorMessage": "memory"}}, "crashed", "system"),
        ({"creationTaskFailureContext": {"formattedExceptionString": "  at\nOSError: x"}}, "failed", "user"),
        ({"runtimeEnvFailedContext": {"errorMessage": "pip"}}, "failed", "user"),
        ({}, "failed", ""),
    ],
)
def test_deaths_of_actors(cause: dict[str, Any], outcome: str, kind: str | None) -> None:
    (one,) = attempts(actor(1), actor_states(1, *ALIVE, ("DEAD", 9), **cause))
    assert one.outcome == outcome
    assert (one.attempt.error.kind if one.attempt.error else None) == kind


def test_lives_of_an_actor_are_attempts_under_its_creation() -> None:
    restarts = [("RESTARTING", 10), ("ALIVE", 20), ("RESTARTING", 30), ("ALIVE", 40)]
    created = lifecycle(ray.creation_id(1), [("PENDING_ARGS_AVAIL", 0), ("FINISHED", 4)])
    found = attempts(actor(1), actor_states(1, *ALIVE, *restarts), created)
    lives = [one for one in found if one.attempt.run.kind == "node"]
    assert [(one.attempt.run.attempt, one.outcome) for one in lives] == [(1, "crashed"), (2, "crashed"), (3, "")]
    creation = next(one for one in found if one.attempt.run.kind == "task")
    assert {one.where.parent_span_id for one in lives} == {creation.where.span_id}


def test_a_lone_second_running_of_a_creation_opens_nothing() -> None:
    again = lifecycle(ray.creation_id(1), [("RUNNING", 9)], attempt=1)
    spent = profile(ray.creation_id(1), [("task:execute", 9, 10, {})], attempt=1)
    created = lifecycle(ray.creation_id(1), [("PENDING_ARGS_AVAIL", 0), ("RUNNING", 1), ("FINISHED", 4)])
    (one,) = attempts(created, again, spent)
    assert (one.attempt.run.attempt, one.outcome) == (1, "succeeded")


def test_supervisors_and_their_job_are_rays_own() -> None:
    supervisor = actor(1, name="_ray_internal_job_actor_x", rayNamespace="SUPERVISOR_ACTOR_RAY_NAMESPACE")
    driver = lifecycle(DRIVER, [("RUNNING", 1)])
    assert attempts(supervisor, actor_states(1, *ALIVE), driver) == []
    assert len(attempts(actor(2), actor_states(2, *ALIVE), driver)) == 2
    marked = [event for event in decode(batch(supervisor)) if INTERNAL in event.attributes]
    assert [event.run.kind for event in marked] == ["node", "workflow"]


def node_states(*states: dict[str, Any]) -> dict[str, Any]:
    body = {"nodeId": ray.b64("12" * 28), "stateTransitions": list(states)}
    return ray.event("NODE_LIFECYCLE_EVENT", "nodeLifecycleEvent", body)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("EXPECTED_TERMINATION", "succeeded"),
        ("UNEXPECTED_TERMINATION", "crashed"),
        ("", "failed"),
        ("AUTOSCALER_DRAIN_PREEMPTED", "crashed"),
        ("AUTOSCALER_DRAIN_IDLE", "succeeded"),
    ],
)
def test_lives_of_nodes(reason: str, outcome: str) -> None:
    alive = {"state": "ALIVE", "timestamp": ray.at(1), "resources": {"CPU": 2.0}}
    dead = {"state": "DEAD", "timestamp": ray.at(2), "deathInfo": {"reason": reason, "reasonMessage": "told"}}
    (one,) = attempts(node_states(alive, dead))
    assert (one.attempt.run.id, one.attempt.run.root, one.outcome) == ("12" * 28, "12" * 28, outcome)
    assert one.attempt.attributes["ray.resources"] == '{"CPU":2.0}'


def test_an_event_of_a_type_that_is_not_known_is_kept_as_a_log() -> None:
    (event,) = decode(batch(ray.event("PLATFORM_EVENT", "platformEvent", {"source": {}}, message="disk full")))
    assert isinstance(event, Log)
    assert (event.event_name, event.message, event.run.id) == ("ray.platform_event", "disk full", "")


def test_one_event_alone_is_a_record_too() -> None:
    event = definition(1)
    assert decode(json.dumps(event).encode()) == decode(batch(event))


def test_a_recorded_post_is_its_body() -> None:
    body = [definition(1)]
    post = {"t": 1.5, "path": "/", "status": 500, "headers": {}, "len": 9, "body": body}
    assert decode(json.dumps(post).encode()) == decode(batch(*body))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("serializedRuntimeEnv", '{"env_vars": {"A": "hunter2"}}'),
        ("runtimeEnvInfo", {"serializedRuntimeEnv": '{"env_vars": {"A": "hunter2"}}'}),
    ],
)
def test_a_runtime_environment_is_told_but_not_shown(field: str, value: Any) -> None:
    event = definition(1)
    event["taskDefinitionEvent"].pop("serializedRuntimeEnv")
    event["taskDefinitionEvent"][field] = value
    (found,) = decode(batch(event))
    assert found.attributes["ray.runtime_env"] == "[redacted]"
    assert "hunter2" not in repr(found)


def test_the_runtime_environment_of_a_job_too() -> None:
    event = job()
    event["driverJobDefinitionEvent"]["config"]["serializedRuntimeEnv"] = '{"env_vars": {"A": "hunter2"}}'
    (found,) = decode(batch(event))
    assert found.attributes["ray.runtime_env"] == "[redacted]"
    assert "hunter2" not in repr(found)
