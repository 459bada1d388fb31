"""Inside Ray: the current attempt is that of the Ray task which runs here, and whose span the gateway sends.

    @ray.remote
    def train():
        attach_ray_task()
        with tracer.start_as_current_span("epoch"):     # a child of the attempt's span
            log.info("read", path=path)                 # with its trace id, span id, run id and attempt

or for every task of a job, without a line in any:

    ray.init(runtime_env={"worker_process_setup_hook": "otel_events.instrument.ray_context.attach_ray_task"})

Ids follow from the session, the task's id and the number of the attempt (docs/ray.md), so nothing is sent between the
worker and the gateway. Ray is neither imported nor changed here: the current task is looked up on each access.
"""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.context import attach

from otel_events.inprocess.context import AttemptSpan, enter
from otel_events.inprocess.faults import fault
from otel_events.model.event import Run
from otel_events.sources.ray.fields import job_run, task_run
from otel_events.tasks.context import DynamicContext, current_context


def attach_ray_task() -> None:
    """Make the current Ray task the current run of this thread: for ``current_run``, stats, logs, ``@task``, and for
    OpenTelemetry.

    This holds for all tasks that this thread carries out from now on. Methods of actors that run in threads
    (``max_concurrency``) or as coroutines have to call it themselves. Raises nothing; a second call does nothing, and
    outside of Ray there is no run.
    """
    try:
        attempt = current_context()
        if attempt.run is None and not isinstance(attempt, DynamicContext):
            context = DynamicContext(ray_run)
            if enter(context)[1] is None:  # no task yet: the setup hook of a worker
                attach(trace.set_span_in_context(AttemptSpan(context)))
    except Exception as error:  # noqa: BLE001  # the host's task must not fail of it (law 5)
        fault("the context of the Ray task", error)


def ray_run() -> Run | None:
    """The run of the Ray task that runs here; in a driver that of the job; else None. Raises nothing."""
    ray: Any = sys.modules.get("ray")
    try:
        if ray is None or not ray.is_initialized():
            return None
        runtime = ray.get_runtime_context()
        session = runtime.get_session_name()
        if runtime.worker.mode != ray.WORKER_MODE:
            return job_run(session, runtime.get_job_id())
        task = runtime.get_task_id()
        return task_run(session, task, _attempt(runtime), runtime.get_task_name() or "") if task else None
    except Exception as error:  # noqa: BLE001  # parts of Ray that differ between versions
        fault("what Ray knows of its task", error)
        return None


def _attempt(runtime: Any) -> int:
    """Number of the attempt, from 0. Ray has no public way to get it; where this one is gone, all are the first."""
    number = getattr(getattr(runtime.worker, "core_worker", None), "get_current_task_attempt_number", None)
    return int(number()) if number is not None else 0
