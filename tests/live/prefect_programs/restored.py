"""``uninstrument()`` puts back everything, and a second ``instrument()`` works."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import opentelemetry.context

from otel_events.inprocess.context import fallbacks
from otel_events.instrument.prefect import HOOKS, PrefectInstrumentor


def found() -> list[Any]:
    wrapped = [getattr(import_module(hook.module), hook.owner).__dict__[hook.name] for hook in HOOKS]
    return [*wrapped, opentelemetry.context._RUNTIME_CONTEXT, fallbacks()]


if __name__ == "__main__":
    lazily = "prefect" not in sys.modules
    instrumentor = PrefectInstrumentor()
    instrumentor.instrument()
    instrumented = found()
    instrumentor.uninstrument()
    before = found()
    instrumentor.instrument()
    again = found()
    instrumentor.uninstrument()
    assert found() == before
    assert all(one is not other for one, other in zip(instrumented, before, strict=True))
    assert all(one is not other for one, other in zip(again, before, strict=True))
    print("restored", lazily)
