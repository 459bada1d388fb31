"""Events of workflow and task runs as OpenTelemetry traces, Prometheus metrics and structured logs.

Importing this package imports nothing else: each public name is loaded from its module when it is first used.
"""

from __future__ import annotations

import atexit
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_events.deck.model import Deck, DeckField
    from otel_events.inprocess.context import current_run, env_context
    from otel_events.instrument.start import configure
    from otel_events.model.errors import OtelEventsError
    from otel_events.model.event import Error, Event, Link, Log, PhaseChange, Report, Run, Stat
    from otel_events.sources import decoder
    from otel_events.tasks.context import current_context
    from otel_events.tasks.decorator import task, workflow
    from otel_events.tasks.options import RecoverableError
    from otel_events.tasks.output import OutputMetadata, SerializableToString
    from otel_events.views.execution_span import ExecutionSpan
    from otel_events.views.metadata import get_metadata

__version__: str

_HOME = {
    "Deck": "deck.model",
    "DeckField": "deck.model",
    "Error": "model.event",
    "Event": "model.event",
    "ExecutionSpan": "views.execution_span",
    "Link": "model.event",
    "Log": "model.event",
    "OtelEventsError": "model.errors",
    "OutputMetadata": "tasks.output",
    "PhaseChange": "model.event",
    "RecoverableError": "tasks.options",
    "Report": "model.event",
    "Run": "model.event",
    "SerializableToString": "tasks.output",
    "Stat": "model.event",
    "configure": "instrument.start",
    "current_context": "tasks.context",
    "current_run": "inprocess.context",
    "decoder": "sources",
    "env_context": "inprocess.context",
    "get_metadata": "views.metadata",
    "task": "tasks.decorator",
    "workflow": "tasks.decorator",
}

__all__ = [
    "Deck",
    "DeckField",
    "Error",
    "Event",
    "ExecutionSpan",
    "Link",
    "Log",
    "OtelEventsError",
    "OutputMetadata",
    "PhaseChange",
    "RecoverableError",
    "Report",
    "Run",
    "SerializableToString",
    "Stat",
    "__version__",
    "configure",
    "current_context",
    "current_run",
    "decoder",
    "env_context",
    "get_metadata",
    "task",
    "workflow",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module(f"{__name__}.model.version").version()
    elif name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _last() -> None:
    # Looked up, not imported: where nothing was configured, nothing is to be sent.
    process = sys.modules.get("otel_events.inprocess.process")
    if process is not None:
        process.last()


atexit.register(_last)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
