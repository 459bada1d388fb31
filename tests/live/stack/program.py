"""A program with a decorated task in it, which pushes its telemetry, metrics too."""

from __future__ import annotations

import otel_events


@otel_events.task(name="push")
def push(number: int) -> int:
    otel_events.current_context().stats.incr("pushed")
    return number


if __name__ == "__main__":
    otel_events.configure()
    for number in range(10):
        push(number)
