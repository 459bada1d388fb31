"""The stream that both sides take: Flyte task events as binary protobuf, about 300 B each, five to a task run.

Task number t is never reused, so no cache can know a run from an earlier round. Windows of 500 task runs: all events of
step 0, then all of step 1, and so on, as a busy cluster interleaves them.
"""

from __future__ import annotations

from flyteidl.core.execution_pb2 import TaskLog
from flyteidl.core.identifier_pb2 import Identifier, NodeExecutionIdentifier, WorkflowExecutionIdentifier
from flyteidl.event.event_pb2 import TaskExecutionEvent, TaskExecutionMetadata
from google.protobuf.timestamp_pb2 import Timestamp

STEPS = (
    (1, 0, "task submitted"),
    (6, 0, "pod initializing"),
    (2, 0, "started"),
    (2, 1, "running: new logs"),
    (3, 0, "done"),
)
"""(phase number, phase_version, reason)."""

WINDOW = 500
START = 1_760_000_000


def event(t: int, step: int) -> bytes:
    """Serialised event of task run ``t`` at ``step`` (0 to 4)."""
    phase, version, reason = STEPS[step]
    project, execution, node = f"proj-{t % 5}", f"f{t // 10:019x}", f"n{t % 10}"
    data = f"s3://bucket/metadata/{execution}/{node}/data"
    run = WorkflowExecutionIdentifier(project=project, domain="production", name=execution)
    task = Identifier(
        resource_type=1, project=project, domain="production", name=f"pkg.tasks.step_{t % 40}", version=f"v{t % 7}"
    )
    message = TaskExecutionEvent(
        task_id=task,
        parent_node_execution_id=NodeExecutionIdentifier(node_id=node, execution_id=run),
        retry_attempt=t % 3,
        phase=phase,
        producer_id="propeller",
        occurred_at=Timestamp(seconds=START + t + 3 * step, nanos=123_456_000),
        input_uri=f"{data}/inputs.pb",
        phase_version=version,
        reason=reason,
        task_type="python-task",
        metadata=TaskExecutionMetadata(generated_name=f"{execution}-{node}-0", plugin_identifier="container"),
    )
    if step == 3:
        message.logs.append(TaskLog(uri=f"https://logs/{t}", name="Kubernetes Logs", message_format=2))
    if step == 4:
        message.output_uri = f"{data}/0/outputs.pb"
    serialised: bytes = message.SerializeToString()
    return serialised


def stream(first: int, runs: int, steps: int = len(STEPS)) -> list[bytes]:
    """``steps`` events of each of ``runs`` task runs from number ``first`` on, window by window."""
    return [
        event(t, step)
        for window in range(first, first + runs, WINDOW)
        for step in range(steps)
        for t in range(window, min(window + WINDOW, first + runs))
    ]
