"""A training with ClearML's SDK, whose task is a trace: its phases, scalars and lines, with spans of your own in it.

    pip install 'otel-events[clearml]' clearml
    export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317
    python examples/clearml_training.py --offline

Without ``--offline`` it needs a ClearML server, as clearml.conf or CLEARML_API_HOST names it. Without the two lines of
otel-events in ``main``: ``opentelemetry-instrument python ...``.
"""

from __future__ import annotations

import logging
import sys

from clearml import Task
from opentelemetry import trace

import otel_events
from otel_events.instrument.clearml import ClearMLInstrumentor

EPOCHS = 3
QUIET = {"detect_repository": False}
"""Git is not read."""


@otel_events.task
def evaluate(loss: float) -> float:
    return 1 - loss


def train(task: Task) -> float:
    logger, tracer, accuracy = task.get_logger(), trace.get_tracer("training"), 0.0
    for epoch in range(EPOCHS):
        with tracer.start_as_current_span("epoch") as span:
            span.set_attribute("epoch", epoch)
            loss = 1 / (epoch + 2)
            accuracy = evaluate(loss)
            logger.report_scalar("loss", "train", value=loss, iteration=epoch)
            logger.report_scalar("accuracy", "validation", value=accuracy, iteration=epoch)
            logging.getLogger("training").warning("epoch %d: loss %.3f", epoch, loss)
    logger.report_single_value("best", accuracy)
    return accuracy


def main() -> None:
    otel_events.configure()
    ClearMLInstrumentor().instrument()
    Task.set_offline(offline_mode="--offline" in sys.argv)
    task = Task.init("otel-events", "training", reuse_last_task_id=False, auto_connect_frameworks=QUIET)
    print(f"task {task.id}", flush=True)
    print(f"accuracy {train(task):.3f}", flush=True)
    if "--fail" in sys.argv:
        raise ValueError("the data is bad")
    task.close()


if __name__ == "__main__":
    main()
