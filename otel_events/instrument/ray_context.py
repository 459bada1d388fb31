"""Inside Ray: the attempt at hand is that of the Ray task which runs here, whose span the gateway sends.

    @ray.remote
    def train():
        attach_ray_task()
        with tracer.start_as_current_span("epoch"):     # a child of the attempt's span
            log.info("read", path=path)                 # with its trace id, span id, run id and attempt

or for every task of a job, without a line in any:

    ray.init(runtime_env={"worker_process_setup_hook": "otel_events.instrument.ray_context.attach_ray_task"})

Ids follow from the session, the task's id and the number of the attempt (docs/ray.md), so nothing is sent between the
worker and the gateway. Ray is neither imported nor changed here: what it knows of the task at hand is asked each time.
"""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.context import attach

from otel_events.inprocess.context import Asked, OwnSpan, current_context, enter
from otel_events.inprocess.queue import fault
from otel_events.model.event import Run
from otel_events.sources.ray.fields import job_run, task_run


def attach_ray_task() -> None:
    """Make the Ray task at hand the current run of this thread, and of what is called from it: for ``current_run``,
    stats, logs, ``@task``, and for OpenTelemetry. For all tasks that this thread carries out from now on; methods of
    actors that run in threads (``max_concurrency``) or as coroutines call it each. Raises nothing, does nothing twice,
    and outside of Ray does nothing."""
    try:
        at_hand = current_context()
        if at_hand.run is None and not isinstance(at_hand, Asked):
            context = Asked(ray_run)
            if enter(context)[1] is None:  # no task yet: the setup hook of a worker
                attach(trace.set_span_in_context(OwnSpan(context)))
    except Exception as ours:  # noqa: BLE001  # the host's task must not fail of it (law 5)
        fault("the context of the Ray task", ours)


def ray_run() -> Run | None:
    """The run of the Ray task that runs here, of the job in its driver, else None. Raises nothing."""
    ray: Any = sys.modules.get("ray")
    try:
        if ray is None or not ray.is_initialized():
            return None
        known = ray.get_runtime_context()
        session = known.get_session_name()
        if known.worker.mode != ray.WORKER_MODE:
            return job_run(session, known.get_job_id())
        task = known.get_task_id()
        return task_run(session, task, _attempt(known), known.get_task_name() or "") if task else None
    except Exception as ours:  # noqa: BLE001  # as above; Ray's own part may be of another version
        fault("what Ray knows of its task", ours)
        return None


def _attempt(known: Any) -> int:
    """Number of the attempt, from 0. Ray tells it in no public way; where it no longer does, all are the first."""
    ask = getattr(getattr(known.worker, "core_worker", None), "get_current_task_attempt_number", None)
    return int(ask()) if ask is not None else 0
