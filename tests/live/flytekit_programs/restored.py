"""``uninstrument()`` puts back everything, and a second ``instrument()`` works."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any

from otel_events.instrument.flytekit import HOOKS, FlytekitInstrumentor


def found() -> list[Any]:
    owners = [(import_module(hook.module), hook) for hook in HOOKS]
    return [(getattr(module, hook.owner) if hook.owner else module).__dict__[hook.name] for module, hook in owners]


if __name__ == "__main__":
    lazily = "flytekit" not in sys.modules
    instrumentor = FlytekitInstrumentor()
    instrumentor.instrument()
    instrumented = found()
    instrumentor.uninstrument()
    before = found()
    filters = list(logging.getLogger("user_space").filters)
    instrumentor.instrument()
    again = found()
    instrumentor.uninstrument()
    assert found() == before
    assert logging.getLogger("user_space").filters == filters == []
    assert all(one is not other for one, other in zip(instrumented, before, strict=True))
    assert all(one is not other for one, other in zip(again, before, strict=True))
    assert not any(hasattr(one, "__wrapped__") for one in before if not isinstance(one, property))
    print("restored", lazily)
