"""On Ray 2.47.1: workflows at every stage; at each, Ray's own get_metadata and ours side by side. Prints JSON."""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import ray  # noqa: E402 - it warns of itself
from ray import workflow  # noqa: E402 - as above

from otel_events import get_metadata  # noqa: E402 - as above

STORAGE, FLAG = sys.argv[1], Path(sys.argv[2])
told: list[dict[str, Any]] = []


def answer(ask: Any, *call: str) -> dict[str, Any]:
    try:
        return {"result": ask(*call)}
    except ValueError as error:
        return {"error": [type(error).__module__, type(error).__qualname__, str(error)]}


def ours(*call: str) -> dict[str, Any]:
    return get_metadata(*call, storage=STORAGE)


def compare(stage: str, *call: str) -> None:
    """Until Ray's answer stands still: a task may end in between."""
    while True:
        before = answer(workflow.get_metadata, *call)
        mine = answer(ours, *call)
        if before == answer(workflow.get_metadata, *call):
            break
    told.append({"stage": stage, "call": call, "ray": before, "ours": mine})


def options(task: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = workflow.options(task_id=task, **more)
    return found


def until(seen: Any) -> None:
    while not seen():
        time.sleep(0.02)


def begun(*call: str) -> bool:
    return "start_time" in answer(workflow.get_metadata, *call).get("result", {"stats": {}})["stats"]


@ray.remote
def trip() -> None:
    pass


@ray.remote
def wait(file: str) -> int:
    until(Path(file).exists)
    return 1


@ray.remote
def add(left: int, right: int) -> int:
    return left + right


@ray.remote
def boom(number: int) -> int:
    raise ValueError(f"boom {number}")


@ray.remote
def need(file: str) -> int:
    if not Path(file).exists():
        raise FileNotFoundError(file)
    return 1


@ray.remote
def factorial(number: int, so_far: int = 1) -> Any:
    if number <= 1:
        return so_far
    return workflow.continuation(factorial.bind(number - 1, so_far * number))


@ray.remote(max_retries=0)
def die() -> None:
    import os

    os._exit(3)


def fails(bound: Any, name: str) -> None:
    try:
        workflow.run(bound, workflow_id=name)
    except Exception:  # noqa: BLE001 - of several types, by what failed
        return
    raise AssertionError(f"{name} did not fail")


def main() -> None:
    compare("before any", "trip1")
    seed = trip.options(**options("trip", metadata={"k1": "v1"})).bind()
    workflow.run(seed, workflow_id="trip1", metadata={"k2": "v2"})
    for call in (("trip1",), ("trip1", "trip"), ("nope",), ("nope", "x"), ("trip1", "nope"), ("", "")):
        compare("the seed", *call)
    print(ours("trip1"))
    print(ours("trip1", "trip"))

    first = wait.options(**options("wait", metadata={"s": 1})).bind(str(FLAG))
    running = workflow.run_async(add.options(**options("after")).bind(first, 1), workflow_id="run1", metadata={"r": 1})
    until(lambda: begun("run1", "wait"))
    for call in (("run1",), ("run1", "wait"), ("run1", "after")):
        compare("running", *call)
    FLAG.touch()
    assert ray.get(running) == 2
    for call in (("run1",), ("run1", "wait"), ("run1", "after")):
        compare("done", *call)
    FLAG.unlink()

    fails(add.options(**options("sum")).bind(boom.options(**options("b")).bind(1), 2), "fail1")
    for call in (("fail1",), ("fail1", "b"), ("fail1", "sum")):
        compare("failed", *call)

    workflow.run_async(wait.options(**options("slow")).bind(str(FLAG)), workflow_id="cancel1")
    until(lambda: begun("cancel1", "slow"))
    compare("before the cancel", "cancel1")
    workflow.cancel("cancel1")
    for call in (("cancel1",), ("cancel1", "slow")):
        compare("cancelled", *call)

    fails(need.options(**options("need")).bind(str(FLAG)), "resume1")
    for call in (("resume1",), ("resume1", "need")):
        compare("to be resumed", *call)
    time.sleep(1.0)  # for the poller to see it failed
    FLAG.touch()
    assert workflow.resume("resume1") == 1
    for call in (("resume1",), ("resume1", "need")):
        compare("resumed", *call)

    assert workflow.run(factorial.options(**options("root")).bind(4), workflow_id="team/dyn é") == 24
    for task in ("root", "__main__.factorial", "__main__.factorial_2", "outputs.json"):
        compare("continuations", "team/dyn é", task)
    compare("continuations", "team")
    fails(die.options(**options("die")).bind(), "sys1")
    for call in (("sys1",), ("sys1", "die")):
        compare("worker died", *call)
    print(json.dumps(told))


ray.init(
    num_cpus=2, storage=STORAGE, include_dashboard=False, logging_level="ERROR", log_to_driver=False,
    object_store_memory=80_000_000, _temp_dir=sys.argv[3],
)  # fmt: skip
main()
ray.shutdown()
