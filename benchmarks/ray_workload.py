"""What Ray 2.60 sends of 12,201 no-op tasks: 48,082 events, 46 MB of JSON in 73 POSTs.

Made after a captured stream (tests/golden/ray/again_and_done has a part of it), the same each time: the owner of the
tasks sends definitions and ends, the workers what they ran and their profile.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

TASKS = 12_201
EVENTS = 48_082
BATCH = 666
"""Events a POST: as captured, 72 of them."""

START = 1_790_000_000_000_000_000
SPACING = 500_000
"""Nanoseconds from task to task."""

RayEvent = dict[str, Any]


def _b64(number: int, size: int, rest: bytes = b"") -> str:
    return base64.b64encode(number.to_bytes(size, "big") + rest).decode()


def _time(nanos: int) -> str:
    """RFC 3339 of a time on the day of START (2026-09-21T14:13:20Z)."""
    seconds, fraction = divmod(nanos - START, 1_000_000_000)
    second = 14 * 3600 + 13 * 60 + 20 + seconds
    return f"2026-09-21T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{fraction:09}Z"


NODE = _b64(7, 28)
LOGS = "/srv/ray/{session}/logs/worker-{worker:056x}-ffffffff-{pid}.{kind}"


class Stream:
    """The events of one session; ``round_`` makes ids that no other round has."""

    def __init__(self, round_: int = 0, tasks: int = TASKS) -> None:
        self.session = f"session_2026-09-21_14-13-20_000000_{round_}"
        self.round, self.tasks, self._ids = round_, tasks, 0

    def _event(self, kind: str, field: str, body: RayEvent, time: int, source: str = "CORE_WORKER") -> RayEvent:
        self._ids += 1
        return {
            "eventId": _b64(self.round << 32 | self._ids, 28),
            "sourceType": source,
            "eventType": kind,
            "timestamp": _time(time),
            "severity": "INFO",
            "sessionName": self.session,
            field: body,
            "nodeId": NODE,
            "message": "",
        }

    def _task(self, number: int) -> str:
        return _b64(self.round << 32 | number, 8, b"\xff" * 12 + b"\x01\x00\x00\x00")

    def job(self) -> RayEvent:
        config = {"serializedRuntimeEnv": "{}", "metadata": {}}
        body = {"jobId": "AQAAAA==", "driverPid": "1", "driverNodeId": NODE, "entrypoint": "python perf.py"}
        return self._event(
            "DRIVER_JOB_DEFINITION_EVENT", "driverJobDefinitionEvent", {**body, "config": config}, START, "GCS"
        )

    def definition(self, number: int, time: int) -> RayEvent:
        function = {"moduleName": "perf", "functionName": "f", "functionHash": "4cf041dab7074c70a13f335473b831fe"}
        body = {
            "taskId": self._task(number),
            "taskFunc": {"pythonFunctionDescriptor": {**function, "className": ""}},
            "taskName": "f",
            "requiredResources": {"CPU": 1.0},
            "jobId": "AQAAAA==",
            "parentTaskId": "//////////////////////////8BAAAA",
            "placementGroupId": "////////////////////////",
            "serializedRuntimeEnv": "{}",
            "taskAttempt": 0,
            "taskType": "NORMAL_TASK",
            "language": "PYTHON",
            "refIds": {},
            "labelSelector": {},
            "isDetachedActor": False,
        }
        return self._event("TASK_DEFINITION_EVENT", "taskDefinitionEvent", body, time)

    def _lifecycle(self, number: int, states: list[tuple[str, int]], **more: Any) -> RayEvent:
        body = {
            "taskId": self._task(number),
            "stateTransitions": [{"state": state, "timestamp": _time(time)} for state, time in states],
            "jobId": "AQAAAA==",
            "taskAttempt": 0,
            "nodeId": "",
            "workerId": "",
            "workerPid": 0,
            **more,
        }
        return self._event("TASK_LIFECYCLE_EVENT", "taskLifecycleEvent", body, states[-1][1])

    def owned(self, number: int, time: int) -> RayEvent:
        states = ("PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER", "FINISHED")
        times = (time, time + 31_000, time + 412_000, time + 1_903_000)
        return self._lifecycle(
            number, list(zip(states, times, strict=True)), nodeId=NODE, workerId=_b64(number % 2 + 1, 28)
        )

    def ran(self, number: int, time: int) -> RayEvent:
        worker, pid = number % 2 + 1, 5266 + number % 2
        files = {
            f"{name}File": LOGS.format(session=self.session, worker=worker, pid=pid, kind=kind)
            for name, kind in (("stdout", "out"), ("stderr", "err"))
        }
        at = {f"{name}{end}": "862" for name in ("stdout", "stderr") for end in ("Start", "End")}
        return self._lifecycle(number, [("RUNNING", time + 521_000)], workerPid=pid, taskLogInfo={**files, **at})

    def profile(self, number: int, time: int) -> RayEvent:
        spent = [("task:deserialize_arguments", 521, 523), ("task:execute", 524, 530)]
        spent += [("task:store_outputs", 531, 560), ("task::f", 520, 561)]
        extra = json.dumps({"name": "__main__.f", "task_id": base64.b64decode(self._task(number)).hex()})
        events = [
            {
                "startTime": str(time + first * 1_000),
                "endTime": str(time + last * 1_000),
                "extraData": extra if "::" in name else "{}",
                "eventName": name,
            }
            for name, first, last in spent
        ]
        profile = {
            "componentType": "worker",
            "componentId": _b64(1, 28),
            "nodeIpAddress": "192.0.2.2",
            "events": events,
        }
        body = {"taskId": self._task(number), "jobId": "AQAAAA==", "profileEvents": profile, "attemptNumber": 0}
        return self._event("TASK_PROFILE_EVENT", "taskProfileEvents", body, time + 561_000)

    def events(self) -> Iterator[RayEvent]:
        """The job, then window by window what the owner and then the workers send; EVENTS of them for TASKS."""
        yield self.job()
        profiled = round(self.tasks * (EVENTS - 3 * TASKS - 1) / TASKS)
        for first in range(0, self.tasks, 250):
            window = [(n, START + n * SPACING) for n in range(first, min(first + 250, self.tasks))]
            for number, time in window:
                yield self.definition(number, time)
                yield self.owned(number, time)
            for number, time in window:
                yield self.ran(number, time)
                if number < profiled:
                    yield self.profile(number, time)


def posts(round_: int = 0, tasks: int = TASKS) -> list[bytes]:
    """The bodies that Ray POSTs."""
    events = list(Stream(round_, tasks).events())
    return [json.dumps(events[at : at + BATCH]).encode() for at in range(0, len(events), BATCH)]


def count(stream: Sequence[bytes]) -> int:
    """Ray events in a stream."""
    return sum(body.count(b'"eventId"') for body in stream)
