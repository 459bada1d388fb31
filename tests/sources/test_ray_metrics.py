"""Families of Ray's own, and what the common ones are labelled with: read off a gateway that took captured exports."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import ray_workload
from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.intake.records import Record
from tests.sources import ray_events as ray

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ray"
SECOND = 1_000_000_000

Samples = dict[tuple[str, str, str], float]
"""(kind, name, outcome or phase) -> value."""


class World:
    """A gateway whose clock is ours; it sends nothing."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, 1_795_300_000 * SECOND
        self.gateway = self.open()

    def open(self) -> Gateway:
        return Gateway.open(GatewayConfig(journal=self.path, otlp=None), clock=lambda: self.now)

    def again(self) -> None:
        self.gateway.drain_and_close(0)
        self.gateway = self.open()

    def close(self) -> None:
        self.gateway.drain_and_close(0)

    def take(self, *bodies: bytes) -> None:
        assert self.gateway.ingest("ray", [Record(body) for body in bodies]).refused == []

    def later(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
        self.gateway.tick()

    def samples(self, family: str) -> Samples:
        text = self.gateway.exposition("text/plain")[0].decode()
        found: Samples = {}
        for one in text_string_to_metric_families(text):
            for sample in one.samples:
                labels = sample.labels
                if sample.name == family and sample.value:
                    assert labels.get("namespace", "") == ""
                    last = labels.get("outcome", labels.get("phase", ""))
                    key = labels.get("kind", ""), labels.get("name", ""), last
                    found[key] = found.get(key, 0) + sample.value
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "j.db")
    yield made
    made.close()


def posts(case: str) -> list[bytes]:
    with gzip.open(GOLDEN / case / "posts.jsonl.gz") as lines:
        return list(lines)


def test_actors_alive_their_restarts_and_nodes(world: World) -> None:
    alive = [("DEPENDENCIES_UNREADY", 1), ("ALIVE", 2)]
    node = ray.event("NODE_LIFECYCLE_EVENT", "nodeLifecycleEvent", {"nodeId": ray.b64("12" * 28)})
    node["nodeLifecycleEvent"]["stateTransitions"] = [{"state": "ALIVE", "timestamp": ray.at(1)}]
    world.take(ray.batch(node, ray.job(), *(ray.actor(n) for n in (1, 2, 3))))
    assert world.samples("otel_events_ray_actors") == {}
    world.take(ray.batch(*(ray.actor_states(n, *alive) for n in (1, 2, 3))))
    assert world.samples("otel_events_ray_actors") == {("node", "Counter", ""): 3}
    assert world.samples("otel_events_ray_nodes") == {("", "", ""): 1}
    world.take(ray.batch(ray.actor_states(1, ("RESTARTING", 5)), ray.actor_states(2, ("DEAD", 6))))
    assert world.samples("otel_events_ray_actors") == {("node", "Counter", ""): 1}
    world.later(11)
    world.take(ray.batch(ray.actor_states(1, ("ALIVE", 9))))
    world.again()
    assert world.samples("otel_events_ray_actors") == {("node", "Counter", ""): 2}
    assert world.samples("otel_events_ray_actor_restarts_total") == {("node", "Counter", ""): 1}


def test_runs_of_a_captured_job_once_its_driver_is_gone(world: World) -> None:
    for post in posts("restart"):
        world.take(post)
    assert world.samples("otel_events_runs_active")[("workflow", "restart_workload.py", "finalizing")] == 1
    assert world.samples("otel_events_ray_actors") == {("node", "Store", ""): 1}
    world.later(11)
    world.later(60)
    assert world.samples("otel_events_runs_active") == {("node", "ray.node", "running"): 1}
    assert world.samples("otel_events_ray_actors") == {}
    assert world.samples("otel_events_ray_actor_restarts_total") == {("node", "Store", ""): 1}
    runs = world.samples("otel_events_runs_total")
    assert runs[("task", "mother", "succeeded")] == 1
    assert runs[("workflow", "restart_workload.py", "incomplete")] == 1
    assert runs[("task", "kid", "cancelled")] == 1
    attempts = world.samples("otel_events_attempts_total")
    assert attempts[("task", "mother", "failed")] == 1
    assert world.samples("otel_events_illegal_transitions_total") == {}


def test_rays_own_jobs_are_in_no_count_but_one(world: World) -> None:
    for post in posts("job_submit"):
        world.take(post)
    world.later(11)
    world.later(60)
    assert {name for _, name, _ in world.samples("otel_events_runs_active")} == {"ray.node"}
    assert {name for _, name, _ in world.samples("otel_events_runs_total")} == {"jobok.py", "f"}
    assert world.samples("otel_events_ray_actors") == {}
    assert world.samples("otel_events_dropped_total") == {("", "", ""): 2}  # lives of two JobSupervisors


def test_the_job_names_the_workflow_of_its_tasks_whichever_came_first(world: World) -> None:
    task = ray.batch(ray.definition(1), ray.transitions(1, "RUNNING", "FINISHED"))
    world.take(task)
    world.take(ray.batch(ray.job("python train.py")))
    world.later(11)
    text = world.gateway.exposition("text/plain")[0].decode()
    told = [
        line for line in text.splitlines() if line.startswith("otel_events_runs_total{") and 'name="step_1"' in line
    ]
    assert told
    assert all('workflow="train.py"' in line for line in told)


def series(path: Path, tasks: int) -> set[str]:
    """Names and labels of all that is exposed after a job of so many tasks."""
    with closing(World(path)) as world:
        world.take(*ray_workload.posts(tasks=tasks))
        world.later(20)
        assert world.samples("otel_events_runs_total") == {("task", "f", "succeeded"): tasks}
        text = world.gateway.exposition("text/plain")[0].decode()
    return {line.rpartition(" ")[0] for line in text.splitlines()}


def test_12_201_tasks_have_the_series_of_200(tmp_path: Path) -> None:
    assert series(tmp_path / "many.db", ray_workload.TASKS) == series(tmp_path / "few.db", 200)
