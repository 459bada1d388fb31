"""Records as Prefect's server makes them, of what this process sees first; and errors, which only it sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from otel_events.inprocess.exceptions import error_of
from otel_events.instrument.prefect.context import flow_run, prefect_run, task_run
from otel_events.model.event import Error, Log, PhaseChange, Run
from otel_events.sources.prefect.fields import FLOW_RUN, PARENTS, TRACEPARENT

_FACTS = {
    *("id", "name", "created", "tags", "labels", "flow_id", "flow_version", "deployment_id"),
    *("parent_task_run_id", "work_queue_name", "work_pool_name"),
}
_REASONS = {"prefect.deployment": "deployment_id", "prefect.task-run": "parent_task_run_id"}


def flow_state(run: Any, flow: str, state: Any, before: Any) -> bytes:
    """The event that the server makes of this state (server/models/events.py of 3.8): the state's id is the event's."""
    when = state.timestamp.isoformat()
    related = [_role("prefect.flow", run.flow_id, "flow", flow)]
    related += [
        _role(kind, getattr(run, field), kind.removeprefix("prefect."))
        for kind, field in _REASONS.items()
        if getattr(run, field, None)
    ]
    related += [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in run.tags]
    resource = {
        "prefect.resource.id": f"{FLOW_RUN}{run.id}",
        "prefect.resource.name": run.name,
        "prefect.run-count": str(run.run_count or 0),
        "prefect.state-message": state.message or "",
        "prefect.state-name": state.name or "",
        "prefect.state-timestamp": when,
        "prefect.state-type": state.type.value,
    }
    payload = {"initial_state": _payload(before), "validated_state": _payload(state)}
    return msgspec.json.encode(
        {
            "occurred": when,
            "event": f"{FLOW_RUN}{state.name}",
            "resource": resource,
            "related": related,
            "payload": payload,
            "id": str(state.id),
        }
    )


def _role(kind: str, id_: Any, role: str, name: str = "") -> dict[str, str]:
    resource = {"prefect.resource.id": f"{kind}.{id_}", "prefect.resource.role": role}
    return resource | ({"prefect.resource.name": name} if name else {})


def _payload(state: Any) -> dict[str, str] | None:
    if state is None:
        return None
    payload = {"type": state.type.value, "name": state.name or "", "message": state.message or ""}
    if state.is_paused():
        payload["pause_reschedule"] = str(state.state_details.pause_reschedule).lower()
    return payload


def begun(run: Any) -> Iterator[bytes]:
    """Answers as the REST API would give them: the span that Prefect's telemetry has for the run, and its caller."""
    answer = run.model_dump(mode="json", include=_FACTS)
    yield msgspec.json.encode({"flow_runs": {str(run.id): answer | {"updated": "instrumentor"}}})
    caller = prefect_run()
    if run.parent_task_run_id is None or caller is None or caller.id == run.id:
        return
    is_task = hasattr(caller, "task_key")
    dummy = {
        "id": str(run.parent_task_run_id),
        "created": answer["created"],
        "flow_run_id": str(caller.flow_run_id if is_task else caller.id),
        "task_inputs": {PARENTS: [{"input_type": "task_run", "id": str(caller.id)}]} if is_task else {},
        "state": {"state_details": {"child_flow_run_id": str(run.id)}},
    }
    yield msgspec.json.encode({"task_runs": {dummy["id"]: dummy}})


def again(run: Any, flow: str, state: Any) -> Log | None:
    """Another attempt of a flow is on the same span of Prefect's; None where Prefect's telemetry has none."""
    context = run.labels.get(TRACEPARENT)
    if not context:
        return None
    return Log(
        id=f"{state.id}:attempt",
        time=int(state.timestamp.timestamp() * 1_000_000) * 1_000 + 1_000,  # after the state, which begins the attempt
        run=flow_run(run.id, flow),
        attributes={"traceparent": context},
        message=f"flow run {run.name} runs again",
        event_name="prefect.flow-run.attempt",
    )


# --- errors -----------------------------------------------------------------------------------------------------------


def failure(engine: Any, error: BaseException, time: int) -> PhaseChange | Log:
    """The event of an error.

    Of an attempt of a task that is tried again it is the outcome, which Prefect's events do not have. The end of any
    other attempt is in Prefect's own events: then it is a log with the exception.
    """
    task = getattr(engine, "task_run", None)
    run = task_run(task) if task is not None else flow_run(engine.flow_run.id, str(engine.flow.name))
    state = (task or engine.flow_run).state
    described = error_of(error)
    before = (time // 1000 - 1) * 1000  # Prefect's times are in microseconds, and the next state has to be later
    if task is not None and not state.is_final():
        phase = "timed_out" if isinstance(error, TimeoutError) else "failed"
        return PhaseChange(
            id=f"{run.id}:{before}:failed",
            time=before,
            run=run,
            phase=phase,
            native=type(error).__name__,
            error=described,
        )
    return _log(run, before, described)


def _log(run: Run, time: int, error: Error) -> Log:
    return Log(
        id=f"{run.id}:{time}:exception",
        time=time,
        run=run,
        attributes={
            "exception.type": error.type,
            "exception.message": error.message,
            "exception.stacktrace": error.stack,
        },
        message=f"{error.type}: {error.message}",
        severity=17,
        event_name="exception",
    )
