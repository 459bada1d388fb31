"""A program with a decorated task in it that pushes its metrics: runs until its standard input ends."""

from __future__ import annotations

import select
import sys

import otel_events


@otel_events.task(name="push")
def push(number: int) -> int:
    otel_events.current_context().stats.incr("pushed")
    return number


def main() -> None:
    otel_events.configure()
    number = 0
    while not select.select([sys.stdin], [], [], 0.5)[0]:
        push(number)
        number += 1


if __name__ == "__main__":
    main()
