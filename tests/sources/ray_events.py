"""Events of Ray's export, made as 2.60 prints them: zero values and all."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

SESSION = "session_2026-01-01_00-00-00_000000_1"
JOB = "01000000"
NOON = "2026-01-01T12:00:00."
_ids = itertools.count(1)

RayEvent = dict[str, Any]


def b64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def task_id(number: int) -> str:
    """Of a task that is no method: 8 bytes, 12 of the actor that there is not, 4 of the job."""
    return f"{number:016x}{'f' * 24}{JOB}"


def actor_id(number: int) -> str:
    return f"{number:024x}{JOB}"


def creation_id(number: int) -> str:
    return "f" * 16 + actor_id(number)


DRIVER = "f" * 40 + JOB


def at(nanos: int) -> str:
    """A time of day, ``nanos`` after noon."""
    return f"2026-01-01T12:{nanos // 60_000_000_000:02}:{nanos // 1_000_000_000 % 60:02}.{nanos % 1_000_000_000:09}Z"


def event(kind: str, field: str, body: RayEvent, time: str = at(0), **more: Any) -> RayEvent:
    """An envelope with its body; each has an id of its own."""
    known = base64.b64encode(next(_ids).to_bytes(28, "big")).decode()
    return {
        "eventId": known,
        "sourceType": "CORE_WORKER",
        "eventType": kind,
        "timestamp": time,
        "severity": "INFO",
        "sessionName": SESSION,
        field: body,
        "nodeId": b64("ab" * 28),
        "message": "",
        **more,
    }


def definition(number: int, attempt: int = 0, parent: str = DRIVER, time: str = at(0), **more: Any) -> RayEvent:
    """A task called ``step_<number % 4>``; ``more``: fields of the body instead of the usual ones."""
    body = {
        "taskId": b64(task_id(number)),
        "taskFunc": {
            "pythonFunctionDescriptor": {
                "moduleName": "flow",
                "functionName": f"step_{number % 4}",
                "functionHash": "0" * 32,
                "className": "",
            }
        },
        "taskName": f"step_{number % 4}",
        "requiredResources": {"CPU": 1.0},
        "jobId": b64(JOB),
        "parentTaskId": b64(parent),
        "placementGroupId": b64("ff" * 18),
        "serializedRuntimeEnv": "{}",
        "taskAttempt": attempt,
        "taskType": "NORMAL_TASK",
        "language": "PYTHON",
        "refIds": {},
        "labelSelector": {},
        "isDetachedActor": False,
    }
    return event("TASK_DEFINITION_EVENT", "taskDefinitionEvent", {**body, **more}, time)


def lifecycle(task: str, states: list[tuple[str, int]], attempt: int = 0, **more: Any) -> RayEvent:
    """(state, ns after noon) of an attempt, by hex id of its task."""
    body = {
        "taskId": b64(task),
        "stateTransitions": [{"state": state, "timestamp": at(time)} for state, time in states],
        "jobId": b64(JOB),
        "taskAttempt": attempt,
        "nodeId": "",
        "workerId": "",
        "workerPid": 0,
        **more,
    }
    time = at(states[-1][1] if states else 0)
    return event("TASK_LIFECYCLE_EVENT", "taskLifecycleEvent", body, time)


def transitions(number: int, *states: str, attempt: int = 0, **more: Any) -> RayEvent:
    """An attempt's states, a second apart."""
    seconds = [(state, (index + 1) * 1_000_000_000) for index, state in enumerate(states)]
    return lifecycle(task_id(number), seconds, attempt, **more)


def profile(task: str, entries: list[tuple[str, int, int, Any]], attempt: int = 0) -> RayEvent:
    """(name, start, end in ns after noon, extra data) of each profile event."""
    noon = 1_767_268_800_000_000_000
    events = [
        {
            "eventName": name,
            "startTime": str(noon + start),
            "endTime": str(noon + end),
            "extraData": json.dumps(extra),
        }
        for name, start, end, extra in entries
    ]
    told = {"componentType": "worker", "componentId": b64("cd" * 28), "nodeIpAddress": "192.0.2.2", "events": events}
    body = {"taskId": b64(task), "jobId": b64(JOB), "attemptNumber": attempt, "profileEvents": told}
    return event("TASK_PROFILE_EVENT", "taskProfileEvents", body)


def job(entrypoint: str = "python flow.py", **metadata: str) -> RayEvent:
    config = {"serializedRuntimeEnv": "{}", "metadata": metadata}
    body = {"jobId": b64(JOB), "driverPid": "7", "driverNodeId": "", "entrypoint": entrypoint, "config": config}
    return event("DRIVER_JOB_DEFINITION_EVENT", "driverJobDefinitionEvent", body)


def job_states(*states: tuple[str, int]) -> RayEvent:
    told = [{"state": state, "timestamp": at(time)} for state, time in states]
    return event("DRIVER_JOB_LIFECYCLE_EVENT", "driverJobLifecycleEvent", {"jobId": b64(JOB), "stateTransitions": told})


def actor(number: int, **more: Any) -> RayEvent:
    body = {
        "actorId": b64(actor_id(number)),
        "jobId": b64(JOB),
        "name": "",
        "rayNamespace": "0d5df45f",
        "serializedRuntimeEnv": "{}",
        "className": "Counter",
        "isDetached": False,
        "requiredResources": {},
        "placementGroupId": "",
        "labelSelector": {},
        "callSite": "",
        "parentId": "",
        "refIds": {},
        **more,
    }
    return event("ACTOR_DEFINITION_EVENT", "actorDefinitionEvent", body)


def actor_states(number: int, *states: tuple[str, int], **cause: Any) -> RayEvent:
    """(state, ns after noon); ``cause``: the deathCause of DEAD."""
    told: list[RayEvent] = [
        {"state": state, "timestamp": at(time), "nodeId": "", "workerId": "", "reprName": "", "pid": 0, "port": 0}
        | {"restartReason": "ACTOR_FAILURE"}
        | ({"deathCause": cause} if state == "DEAD" and cause else {})
        for state, time in states
    ]
    body = {"actorId": b64(actor_id(number)), "stateTransitions": told}
    return event("ACTOR_LIFECYCLE_EVENT", "actorLifecycleEvent", body)


def batch(*events: RayEvent) -> bytes:
    return json.dumps(events).encode()
