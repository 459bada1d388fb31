"""A task's status: the ways that ClearML server 2.3.0 has, what each leaves behind, queues and models on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from otel_events.clearml_server.store import Owner
from tests.clearml_server.asking import asking, scalar
from tests.clearml_server.test_tasks import STAMP, Client

STATUSES = ("created", "queued", "in_progress", "stopped", "closed", "failed", "completed", "published")
GOES = {  # to the status of the call, from those in the order of STATUSES; the last is one that nobody knows
    "started": ("in_progress", "yyyy..y.."),
    "stopped": ("stopped", ".yyyyy..."),
    "stop": ("stopped", ".yyyyy..."),
    "failed": ("failed", "..yyyy..."),
    "completed": ("completed", "..yy..y.."),
    "close": ("closed", "...yy...."),
    "publish": ("published", "...yyyyy."),
    "reset": ("created", "yyyyyyy.."),
    "enqueue": ("queued", "yy.y.y..."),
}


@pytest.fixture
def client() -> Iterator[Client]:
    with asking() as asked:
        yield Client(asked)


def task_in(client: Client, status: str) -> str:
    task = client.task()
    client.asked.store.documents.put("task", task, {**client.show(task), "status": status})
    return task


@pytest.mark.parametrize("call", GOES)
def test_each_way_and_no_other(client: Client, call: str) -> None:
    to, ways = GOES[call]
    for status, way in zip((*STATUSES, "odd"), ways, strict=True):
        task = task_in(client, status)
        if way == "y":
            assert client(f"tasks.{call}", task=task)["fields"]["status"] == to
        else:
            assert client.refusal(f"tasks.{call}", task=task) == (400, 110), status
            assert client.show(task)["status"] == status
            assert client(f"tasks.{call}", task=task, force=True)["updated"] == 1
        assert client.show(task)["status"] == to


def test_a_start_forgets_the_end_and_is_the_first_one(client: Client) -> None:
    task = client.task()
    client("tasks.started", task=task)
    client.at = 1000
    assert "started" not in client("tasks.started", task=task)["fields"]
    assert client.show(task)["started"] == STAMP
    client("tasks.completed", task=task)
    client.at = 2000
    assert client("tasks.started", task=task)["fields"]["started"] > STAMP
    assert "completed" not in client.show(task)


def test_who_stopped_it(client: Client) -> None:
    task = task_in(client, "in_progress")
    fields = client("tasks.stop", task=task, status_reason="enough")["fields"]
    assert (fields["status_message"], fields["status_reason"], "completed" in fields) == (
        "Stopped by me",
        "enough",
        False,
    )


def test_completed_and_published_at_once(client: Client) -> None:
    model = client("models.create", name="net", uri="", ready=False)["id"]
    task = client.task(models={"output": [{"name": "net", "model": model}], "input": []})
    client("tasks.started", task=task)
    answer = client("tasks.completed", task=task, publish=True)
    assert (answer["published"], answer["fields"]["status"]) == (1, "published")
    assert client.show(task)["status"] == "published"
    assert client("models.get_by_id", model=model)["model"]["ready"] is True


def test_many_tasks_in_one_call_fail_one_by_one(client: Client) -> None:
    first, other = task_in(client, "in_progress"), task_in(client, "queued")
    answer = client("tasks.stop_many", ids=[first, "none", other])
    assert [entry["id"] for entry in answer["succeeded"]] == [first, other]
    assert [(entry["id"], entry["error"]["codes"]) for entry in answer["failed"]] == [("none", [400, 101])]
    assert {client.show(task)["status"] for task in (first, other)} == {"stopped"}


def test_a_task_waits_in_one_queue(client: Client) -> None:
    first, other = (client("queues.create", name=name)["id"] for name in ("one", "other"))
    task = client.task()
    client("tasks.enqueue", task=task, queue=first)
    client("tasks.enqueue", task=task, queue_name="other")
    assert [client("queues.get_num_entries", queue=queue)["num"] for queue in (first, other)] == [0, 1]
    assert client.refusal("tasks.enqueue", task=task, queue=first, queue_name="other") == (400, 12)
    assert client.refusal("queues.delete", queue=other) == (400, 702)
    assert client("tasks.stop", task=task)["fields"]["status"] == "stopped"
    assert client("queues.get_next_task", queue=other) == {}
    assert client("queues.delete", queue=other) == {"deleted": 1}


def test_back_from_a_queue_is_what_it_was(client: Client) -> None:
    task = task_in(client, "stopped")
    client("tasks.enqueue", task=task)
    assert client("tasks.dequeue", task=task)["fields"]["status"] == "stopped"
    assert client("tasks.dequeue", task=task) == {"dequeued": 1, "updated": 0, "fields": {}}
    client("tasks.enqueue", task=task)
    assert client("tasks.dequeue", task=task, new_status="created")["fields"]["status"] == "created"
    assert client.refusal("tasks.dequeue", task=task_in(client, "queued"), new_status="odd") == (400, 12)


def test_the_default_queue_is_there(client: Client) -> None:
    queues = client("queues.get_all", name="^default$")["queues"]
    assert [queue["id"] for queue in queues] == [client("queues.get_default")["id"]]
    assert client.refusal("queues.create", name="default") == (400, 801)
    assert client.refusal("queues.create", name="q") == (400, 800)
    task = client.task()
    assert client("tasks.enqueue", task=task)["fields"]["execution.queue"] == queues[0]["id"]
    queue = client("tasks.enqueue", task=task, queue_name="brand new")["fields"]["execution.queue"]
    assert client("queues.get_by_id", queue=queue)["queue"]["entries"][0]["task"] == task


@pytest.mark.parametrize("call", ["reset", "delete"])
def test_models_of_a_task_that_goes(client: Client, call: str) -> None:
    task, reader = client.task(), client.task()
    ready, used, loose = (
        client("models.create", name=name, uri=f"u/{name}", ready=name == "ready", task=task)["id"]
        for name in ("ready", "used", "loose")
    )
    client("tasks.add_or_update_model", task=reader, name="in", type="input", model=used)
    client.asked.add(scalar(1, 1.0, task=loose, model_event=True))
    answer = client(f"tasks.{call}", task=task)
    assert answer["deleted_models"] == 1
    assert client.refusal("models.get_by_id", model=loose) == (400, 201)
    assert client.asked.store.events.series([Owner(loose, True)]) == []
    for staying in (ready, used):
        assert not client("models.get_by_id", model=staying)["model"].get("task")
    again = client.task()
    last = client("models.create", name="last", uri="u", ready=False, task=again)["id"]
    assert client(f"tasks.{call}", task=again, delete_output_models=False)["deleted_models"] == 0
    assert client("models.get_by_id", model=last)["model"]["name"] == "last"


def test_a_reset_keeps_what_went_in(client: Client) -> None:
    task = client.task(runtime={"a": 1}, script={"repository": "r"})
    artifacts = [{"key": "in", "mode": "input", "uri": "i"}, {"key": "out", "mode": "output", "uri": "o"}]
    client("tasks.add_or_update_artifacts", task=task, artifacts=artifacts)
    client("tasks.enqueue", task=task)
    assert client("tasks.reset", task=task)["dequeued"] == {"removed": 1}
    shown = client.show(task)
    assert [artifact["key"] for artifact in shown["execution"]["artifacts"]] == ["in"]
    assert (shown["runtime"], shown["script"]["repository"], "queue" in shown["execution"]) == ({}, "r", False)
    client("tasks.reset", task=task, clear_all=True)
    assert client.show(task)["script"] == {}


def test_what_may_be_deleted_or_changed_when(client: Client) -> None:
    running = task_in(client, "in_progress")
    assert client.refusal("tasks.delete", task=running) == (400, 123)
    assert client.refusal("tasks.edit", task=running, script={"branch": "b"}) == (400, 110)
    assert client("tasks.edit", task=running, script={"branch": "b"}, force=True)["updated"] == 1
    client("tasks.archive", tasks=[running])
    assert client("tasks.delete", task=running)["deleted"] is True
    client.at = 1000
    published = task_in(client, "published")
    fields: dict[str, Any] = client("tasks.update", task=published, comment="late")["fields"]
    assert set(fields) == {"comment", "last_change", "last_changed_by"}  # no sign of life
    assert client.show(published)["comment"] == "late"


@pytest.mark.parametrize(
    ("call", "data"),
    [
        ("edit_hyper_params", {"hyperparams": [{"section": "Args", "name": "lr", "value": "1"}]}),
        ("delete_hyper_params", {"hyperparams": [{"section": "Args"}]}),
        ("edit_configuration", {"configuration": [{"name": "c", "value": "v"}]}),
        ("delete_configuration", {"configuration": ["c"]}),
        ("add_or_update_artifacts", {"artifacts": [{"key": "a", "uri": "u"}]}),
        ("delete_artifacts", {"artifacts": [{"key": "a"}]}),
    ],
)
def test_parts_are_settled_when_the_task_has_ended(client: Client, call: str, data: dict[str, Any]) -> None:
    client(f"tasks.{call}", task=task_in(client, "created"), **data)
    running = task_in(client, "in_progress")
    assert client.refusal(f"tasks.{call}", task=running, **data) == (400, 110)
    client(f"tasks.{call}", task=running, force=True, **data)
    assert client.refusal(f"tasks.{call}", task=task_in(client, "completed"), force=True, **data) == (400, 110)


def test_properties_and_models_may_come_late(client: Client) -> None:
    task = task_in(client, "published")
    client("tasks.edit_hyper_params", task=task, hyperparams=[{"section": "properties", "name": "n", "value": "1"}])
    client("tasks.add_or_update_model", task=task, name="net", type="output", model="m")
    shown = client.show(task)
    assert (shown["hyperparams"]["properties"]["n"]["value"], shown["models"]["output"][0]["model"]) == ("1", "m")
