"""A forked child goes on when the process that configured has ended: it sends for itself then.

The process that is waited for forks the one that configures, and ends when the grandchild has.
"""

from __future__ import annotations

import os
import sys

import otel_events
from otel_events import task, workflow
from otel_events.inprocess import process


@task(name="before")
def before() -> None: ...


@task(name="after")
def after() -> None: ...


@workflow(name="outer")
def outer() -> bool:
    """Whether this is the child."""
    before()
    gone, held = os.pipe()
    if os.fork():
        return False
    os.close(held)
    os.read(gone, 1)  # until the parent has gone: it has the other end
    after()
    return True


if __name__ == "__main__":
    process.EXIT_SECONDS = 600.0  # on a slow machine too, what the tests look for arrives
    ended, last = os.pipe()
    if os.fork():
        os.close(last)
        os.read(ended, 1)
        sys.exit(0)
    otel_events.configure(sys.argv[1])
    outer()
