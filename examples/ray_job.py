"""A Ray job with a bit of everything: nested tasks, retries, an actor that restarts, a killed worker, cancels.

    otel-events serve &
    export RAY_enable_ray_event=1 RAY_enable_core_worker_ray_event_to_aggregator=1
    export RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR=http://127.0.0.1:4319/ray/v1/events
    export RAY_DASHBOARD_AGGREGATOR_AGENT_EXPOSABLE_EVENT_TYPES=ALL    # a list on Ray before 2.60: see docs/ray.md
    python examples/ray_job.py

With a file as its argument it writes there what Ray's own State API says of its tasks and actors.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

MARKS = Path(tempfile.mkdtemp(prefix="ray-job-"))
"""Files by which a second attempt knows that it is one."""


def first_time(name: str) -> bool:
    try:
        (MARKS / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@ray.remote
def square(x: int) -> int:
    return x * x


@ray.remote
def total(n: int) -> int:
    return sum(ray.get([square.remote(x) for x in range(n)]))


@ray.remote(max_retries=1, retry_exceptions=True)
def flaky(name: str) -> int:
    """Fails the first time, after its child: the child belongs to that attempt."""
    attempt = 0 if first_time(name) else 1
    ray.get(square.options(name=f"child_of_attempt_{attempt}").remote(attempt))
    if not attempt:
        raise OSError("the first attempt always fails")
    return attempt


@ray.remote(max_retries=0)
def hopeless() -> None:
    raise ValueError("no luck")


@ray.remote(max_retries=1)
def killed(name: str) -> str:
    """Its worker dies under it, the first time."""
    if first_time(name):
        time.sleep(1.2)  # a worker that dies sooner takes its own events with it
        os._exit(9)
    return "back"


@ray.remote
def nap(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)  # a plain cancel is noticed between two of these


@ray.remote(max_restarts=1, max_task_retries=1)
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def crash(self, name: str) -> str:
        if first_time(name):
            time.sleep(1.2)
            os._exit(9)
        return "restarted"


@ray.remote(runtime_env={"env_vars": {"PASSPHRASE_OF_THIS_EXAMPLE": "hunter2"}})
def in_environment() -> int:
    """What an environment holds is sent by Ray in clear, and shown nowhere."""
    return len(os.environ["PASSPHRASE_OF_THIS_EXAMPLE"])


def cancelled(force: bool) -> None:
    task = nap.options(name="cancelled by force" if force else "cancelled").remote(30)
    time.sleep(1.2)
    for _ in range(20):  # a cancel that comes while the worker starts is lost
        ray.cancel(task, force=force)
        if ray.wait([task], timeout=1)[0]:
            break
    ray.get(task, timeout=120)


def scenes() -> dict[str, Callable[[], Any]]:
    counter = Counter.options(name="counter").remote()
    return {
        "total": lambda: ray.get(total.remote(3)),
        "flaky": lambda: ray.get(flaky.remote("flaky")),
        "hopeless": lambda: ray.get(hopeless.remote()),
        "killed": lambda: ray.get(killed.remote("killed")),
        "add": lambda: ray.get([counter.add.remote() for _ in range(3)]),
        "crash": lambda: ray.get(counter.crash.remote("crash")),
        "cancelled": lambda: cancelled(force=False),
        "cancelled by force": lambda: cancelled(force=True),
        "environment": lambda: ray.get(in_environment.remote()),
        "many": lambda: len(ray.get([square.remote(x) for x in range(200)])),
    }


def seen_by_ray() -> dict[str, Any]:
    """Tasks and actors as the State API has them."""
    from ray.util.state import list_actors, list_tasks

    tasks = [
        (task.task_id, task.attempt_number, task.func_or_class_name, task.state, task.error_type)
        for task in list_tasks(detail=True, limit=10_000)
    ]
    actors = [(actor.actor_id, actor.class_name, actor.state, actor.num_restarts) for actor in list_actors(detail=True)]
    return {"tasks": tasks, "actors": actors}


def main() -> None:
    ray.init(log_to_driver=False, logging_level="ERROR")
    seen = {}
    for name, play in scenes().items():
        try:
            seen[name] = f"ok: {play()}"
        except Exception as error:  # noqa: BLE001  # its class is printed
            seen[name] = type(error).__name__
        print(f"{name}: {seen[name]}", flush=True)
    if len(sys.argv) > 1:
        time.sleep(2)  # the State API lags behind, too
        context = ray.get_runtime_context()
        ids = {"session": context.get_session_name(), "job": context.get_job_id()}
        Path(sys.argv[1]).write_text(json.dumps({**ids, "seen": seen, **seen_by_ray()}))
    ray.shutdown()


if __name__ == "__main__":
    main()
