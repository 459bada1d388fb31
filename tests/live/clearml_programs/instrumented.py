"""A task with the instrumentor; what it saw goes into the file that is named. Further words: ``offline``, ``fail``,
``fork`` (reports from a child too), ``plain`` (without otel-events)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from clearml import Task
from clearml.backend_interface.base import InterfaceBase
from clearml.backend_interface.metrics.reporter import Reporter
from clearml.backend_interface.task.log import TaskHandler
from opentelemetry import context, trace

import otel_events
from otel_events.instrument.clearml import ClearMLInstrumentor

QUIET = {"detect_repository": False}
"""The SDK would fork while a thread of its own runs git, and now and then wait for that for ever (2 of 6 runs here)."""
SEAMS = ((InterfaceBase, "send"), (Reporter, "_report"), (TaskHandler, "emit"))


def seams() -> list[object]:
    return [of.__dict__[name] for of, name in SEAMS] + [context._RUNTIME_CONTEXT]


def report(task: Task) -> None:
    for step in range(200):
        task.get_logger().report_scalar("loss", "train", value=1 / (step + 1), iteration=step)
    task.get_logger().report_single_value("best", 0.5)
    task.get_logger().report_scatter2d("scatter", "pairs", scatter=[(0, 1), (2, 3)], iteration=1)


def child(task: Task) -> None:
    """A fork of the user's, whose lines and calls are the task's too."""
    pid = os.fork()
    if pid == 0:
        otel_events.current_context().logging.warning("from a child")
        otel_events.task(name="in the child")(lambda: None)()
        os._exit(0)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    before = seams()
    if "plain" not in sys.argv:
        otel_events.configure()
        ClearMLInstrumentor().instrument()
    if "offline" in sys.argv:
        Task.set_offline(offline_mode=True)
    task = Task.init("live tests", "instrumented", reuse_last_task_id=False, auto_connect_frameworks=QUIET)
    run = otel_events.current_run()
    with trace.get_tracer("user").start_as_current_span("mine") as span:
        where = span.get_span_context()
        print("a printed line")
    report(task)
    if "fork" in sys.argv:
        child(task)
    told = {
        "task": task.id,
        "run": run.id if run else "",
        "trace": f"{where.trace_id:032x}",
        "span": f"{where.span_id:016x}",
    }
    told["session"] = str(task.get_offline_mode_folder() or "")
    Path(sys.argv[1]).write_text(json.dumps(told))
    if "fail" in sys.argv:
        raise ValueError("the data is bad")
    task.close()
    told["after"] = otel_events.current_run() is None
    if "plain" not in sys.argv:
        ClearMLInstrumentor().uninstrument()
    told["restored"] = seams() == before
    Path(sys.argv[1]).write_text(json.dumps(told))
