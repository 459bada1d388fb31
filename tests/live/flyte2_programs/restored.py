"""``uninstrument()`` puts back everything, and a second ``instrument()`` works."""

from __future__ import annotations

from typing import Any

from flyte import _observe, _run
from flyte._persistence._recorder import RunRecorder

from otel_events.instrument.flyte2 import HOOKS, Flyte2Instrumentor


def found() -> list[Any]:
    run = _run._Runner.__dict__["_run_local"]
    return [RunRecorder.__dict__[hook.name] for hook in HOOKS] + [run, *_observe._observers]


if __name__ == "__main__":
    before = found()
    instrumentor = Flyte2Instrumentor()
    for _ in range(2):
        instrumentor.instrument()
        assert all(one is not other for one, other in zip(found(), before, strict=False))
        assert len(_observe._observers) == 1
        instrumentor.uninstrument()
        assert found() == before
    print("restored")
