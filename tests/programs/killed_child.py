"""A forked child runs tasks and is killed at once, as by the kernel when memory is short."""

from __future__ import annotations

import multiprocessing
import os
import signal

import otel_events
from otel_events import task, workflow
from otel_events.inprocess import process


def work() -> None:
    for number in range(20):
        task(name=f"step {number}")(int)()
    os.kill(os.getpid(), signal.SIGKILL)


@workflow(name="outer")
def outer() -> None:
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


if __name__ == "__main__":
    process.EXIT_SECONDS = 600.0  # on a slow machine too, what the tests look for arrives
    otel_events.configure()
    outer()
