"""tasks.*, projects.*, models.*, queues.*: what a client makes, changes, finds and deletes, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.clearml_server import service as clearml
from otel_events.clearml_server.api.base import ApiError, Call, checked
from otel_events.clearml_server.store import Owner
from tests.clearml_server.asking import NOW, Asked, asking, scalar

STAMP = "2023-11-14T22:13:20.000000+00:00"
"""NOW, as the server tells times."""


class Client:
    """Calls of the newest version; ``at``: milliseconds after NOW."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self.at = asked, 0

    def __call__(self, endpoint_name: str, /, **data: Any) -> dict[str, Any]:
        endpoint = max((row for row in clearml.ENDPOINTS if row.name == endpoint_name), key=lambda row: row.version)
        call = Call(
            endpoint_name, (2, 34), checked(endpoint.fields, data), now_ms=NOW + self.at, user="me", company="company"
        )
        answer = endpoint.answer(self.asked.service, call)
        assert isinstance(answer, dict)
        return answer

    def refusal(self, endpoint_name: str, /, **data: Any) -> tuple[int, int]:
        try:
            self(endpoint_name, **data)
        except ApiError as error:
            return error.code, error.subcode
        raise AssertionError(f"{endpoint_name} was answered")

    def task(self, name: str = "train", **data: Any) -> str:
        return str(self("tasks.create", name=name, type="training", **data)["id"])

    def show(self, task: str) -> dict[str, Any]:
        return dict(self("tasks.get_by_id", task=task)["task"])


@pytest.fixture
def client() -> Iterator[Client]:
    with asking() as asked:
        yield Client(asked)


def test_a_task_is_as_the_server_makes_it(client: Client) -> None:
    shown = client.show(client.task(project="p", system_tags=["development"], script={"branch": "main"}))
    assert shown | {"id": ""} == {
        "id": "",
        "company": "company",
        "user": "me",
        "name": "train",
        "type": "training",
        "status": "created",
        "comment": "",
        "report_assets": [],
        "created": STAMP,
        "project": "p",
        "output": {},
        "execution": {"test_split": 0, "parameters": {}, "model_desc": {}, "model_labels": {}, "artifacts": []},
        "tags": [],
        "system_tags": ["development"],
        "script": {"binary": "python", "repository": "", "entry_point": "", "requirements": {}, "branch": "main"},
        "last_update": STAMP,
        "last_change": STAMP,
        "last_changed_by": "me",
        "last_iteration": 0,
        "last_metrics": {},
        "metric_stats": {},
        "hyperparams": {},
        "configuration": {},
        "runtime": {},
        "models": {"input": [], "output": []},
        "container": {},
    }


def test_a_life_of_a_task(client: Client) -> None:
    task = client.task()
    client.at = 1000
    answer = client("tasks.started", task=task)
    later = STAMP.replace("20.0", "21.0")
    assert answer == {
        "started": 1,
        "updated": 1,
        "fields": {
            "status": "in_progress",
            "status_reason": "",
            "status_message": "",
            "status_changed": later,
            "last_update": later,
            "last_change": later,
            "last_changed_by": "me",
            "started": later,
        },
    }
    done = client("tasks.completed", task=task, status_reason="completed", publish=False)
    assert (done["published"], done["fields"]["completed"], done["fields"]["status_reason"]) == (0, later, "completed")
    assert client.show(task)["status"] == "completed"
    assert client("tasks.publish", task=task)["fields"]["status"] == "published"
    assert client.refusal("tasks.edit", task=task, comment="late") == (400, 110)
    assert client("tasks.edit", task=task, comment="late", force=True)["fields"]["comment"] == "late"
    assert client.refusal("tasks.reset", task=task) == (400, 110)


def test_a_reset_takes_the_events_and_the_end_away(client: Client) -> None:
    task = client.task()
    client("tasks.started", task=task)
    client.asked.add(scalar(5, 2.0, task=task))
    client("tasks.failed", task=task, status_reason="Exception boom")
    assert client.show(task)["last_iteration"] == 5
    answer = client("tasks.reset", task=task)
    assert set(answer) == {"updated", "fields", "deleted_models", "dequeued", "events", "urls"}
    shown = client.show(task)
    assert (shown["status"], shown["status_reason"], shown["last_iteration"]) == ("created", "reset", 0)
    assert not {"started", "completed"} & shown.keys()
    assert client.asked.store.events.series([Owner(task, False)]) == []


@pytest.mark.parametrize(
    "name", ["get_by_id", "started", "edit", "reset", "delete", "ping", "clone", "enqueue", "dequeue"]
)
def test_an_unknown_task_is_400_101(client: Client, name: str) -> None:
    assert client.refusal(f"tasks.{name}", task="none", **({"name": "x"} if name == "edit" else {})) == (400, 101)


def test_artifacts_are_told_by_key_and_mode(client: Client) -> None:
    task = client.task()
    client("tasks.add_or_update_artifacts", task=task, artifacts=[{"key": "a", "uri": "1"}, {"key": "b", "uri": "2"}])
    client("tasks.add_or_update_artifacts", task=task, artifacts=[{"key": "a", "uri": "3"}])
    artifacts = [
        (artifact["key"], artifact["uri"], artifact["mode"]) for artifact in client.show(task)["execution"]["artifacts"]
    ]
    assert artifacts == [("b", "2", "output"), ("a", "3", "output")]
    created = client.task(execution={"artifacts": [{"key": "i", "mode": "input"}, {"key": "o"}, {"uri": "none"}]})
    assert [artifact["mode"] for artifact in client.show(created)["execution"]["artifacts"]] == ["input", "output"]
    client("tasks.delete_artifacts", task=task, artifacts=[{"key": "b"}])
    assert [artifact["key"] for artifact in client.show(task)["execution"]["artifacts"]] == ["a"]


def test_hyper_parameters_and_configurations(client: Client) -> None:
    task = client.task(hyperparams={"Args": {"lr": {"section": "Args", "name": "lr", "value": "0.1"}}})
    items = [{"section": "Args", "name": "n", "value": "3"}, {"section": "General", "name": "x", "value": "1"}]
    client("tasks.edit_hyper_params", task=task, hyperparams=items)
    parameters = client("tasks.get_hyper_params", tasks=[task])["params"]
    assert [(parameter["section"], parameter["name"]) for parameter in parameters[0]["hyperparams"]] == [
        ("Args", "lr"), ("Args", "n"), ("General", "x"),
    ]  # fmt: skip
    client("tasks.edit_hyper_params", task=task, hyperparams=items[:1], replace_hyperparams="section")
    assert client.show(task)["hyperparams"].keys() == {"Args", "General"}
    assert client.show(task)["hyperparams"]["Args"].keys() == {"n"}
    client(
        "tasks.delete_hyper_params", task=task, hyperparams=[{"section": "General"}, {"section": "Args", "name": "n"}]
    )
    assert client.show(task)["hyperparams"] == {}
    client("tasks.edit_configuration", task=task, configuration=[{"name": "c", "value": "v"}])
    assert client("tasks.get_configuration_names", tasks=[task])["configurations"][0]["names"] == ["c"]
    assert client("tasks.get_configurations", tasks=[task])["configurations"][0]["configuration"][0]["value"] == "v"
    client("tasks.delete_configuration", task=task, configuration=["c"])
    assert client.show(task)["configuration"] == {}
    assert client.refusal("tasks.edit_hyper_params", task=task, hyperparams=[{"name": "n"}]) == (400, 12)


def test_an_edit_keeps_what_it_does_not_name(client: Client) -> None:
    task = client.task(script={"repository": "here"})
    client("tasks.set_requirements", task=task, requirements={"pip": "numpy"})
    fields = client("tasks.edit", task=task, script={"branch": "b"}, force=True)["fields"]
    assert fields["script"] == {
        "binary": "python", "repository": "here", "entry_point": "", "requirements": {"pip": "numpy"}, "branch": "b",
    }  # fmt: skip


def test_a_clone_is_the_task_without_what_became_of_it(client: Client) -> None:
    task = client.task(hyperparams={"A": {}}, comment="c")
    client("tasks.started", task=task)
    copy = client.show(client("tasks.clone", task=task, new_task_name="copy", new_task_parent=task)["id"])
    assert (copy["name"], copy["parent"], copy["status"], copy["hyperparams"]) == ("copy", task, "created", {"A": {}})
    assert client("tasks.delete", task=task, force=True)["updated_children"] == 1
    assert "parent" not in client.show(copy["id"])
    assert client.refusal("tasks.get_by_id", task=task) == (400, 101)


def names(client: Client, **query: Any) -> list[str]:
    return [task["name"] for task in client("tasks.get_all", **query)["tasks"]]


def test_tasks_are_found(client: Client) -> None:
    for index, name in enumerate(("alpha", "beta", "Alphabet")):
        client.at = index * 1000
        client.task(name, project=f"p{index % 2}", tags=[f"t{index}", "all"])
    mine = {"tags": ["all"]}
    assert names(client, **mine) == ["alpha", "beta", "Alphabet"]
    assert names(client, name="^alpha$") == ["alpha"]
    assert names(client, name="lpha") == ["alpha", "Alphabet"]
    assert names(client, name="alpha") == ["alpha"]
    assert names(client, project=["p0"]) == ["alpha", "Alphabet"]
    assert names(client, tags=["t0", "t1"]) == ["alpha", "beta"]
    assert names(client, tags=["__$all", "t0", "t1"]) == []
    assert names(client, tags=["all", "-t1"]) == ["alpha", "Alphabet"]
    assert names(client, order_by=["-created"], **mine) == ["Alphabet", "beta", "alpha"]
    assert names(client, order_by=["project", "-name"], **mine) == ["alpha", "Alphabet", "beta"]
    assert names(client, page=1, page_size=2, **mine) == ["Alphabet"]
    assert names(client, created=[">=2023-11-14T22:13:21+00:00"], **mine) == ["beta", "Alphabet"]
    assert names(client, _any_={"fields": ["name", "project"], "pattern": "p1|alphabet"}) == ["beta", "Alphabet"]
    assert names(client, status=["in_progress"]) == []
    shown = client("tasks.get_all", only_fields=["status", "execution.artifacts"], **mine)["tasks"][0]
    assert shown == {"id": shown["id"], "status": "created", "execution": {"artifacts": []}}


@pytest.mark.parametrize("query", [{"name": "("}, {"name": "x" * 1001}, {"created": [">=soon"]}])
def test_a_question_that_cannot_be_asked_is_400_12(client: Client, query: dict[str, Any]) -> None:
    assert client.refusal("tasks.get_all", **query) == (400, 12)


FIELDS = ("id", "name", "project", "tags", "order_by", "page", "page_size", "_any_", "created", "only_fields")
VALUES = st.one_of(st.text(max_size=5), st.integers(), st.lists(st.text(max_size=3), max_size=3), st.none())


@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUES | st.dictionaries(st.sampled_from(["fields", "pattern"]), VALUES))
)
def test_no_question_is_a_fault(query: dict[str, Any]) -> None:
    with asking() as asked:
        client = Client(asked)
        client.task(tags=["a"])
        with suppress(ApiError):  # any other is a fault
            client("tasks.get_all", **query)


# --- projects, models, queues ----------------------------------------------------------------------------------------


def test_projects_make_those_above_them(client: Client) -> None:
    nightly = client("projects.create", name="blue/ nightly/")["id"]
    project = client("projects.get_by_id", project=nightly)["project"]
    above = client("projects.get_all", name="^blue$", only_fields=["id"])["projects"]
    assert (project["basename"], project["parent"], project["path"]) == ("nightly", above[0]["id"], [above[0]["id"]])
    assert client.refusal("projects.create", name="blue") == (400, 801)
    assert client.refusal("projects.create", name="/") == (400, 407)
    assert client.refusal("projects.create", name="a/" * 11) == (400, 409)
    assert client("projects.update", project=nightly, description="d")["fields"]["description"] == "d"
    assert client.refusal("projects.update", project=nightly, name="green/nightly") == (400, 408)
    assert client.refusal("projects.get_by_id", project="none") == (400, 401)
    client("projects.update", project=above[0]["id"], name="red")
    assert [shown["name"] for shown in client("projects.get_all")["projects"]] == ["red", "red/nightly"]


def test_a_project_goes_with_those_below(client: Client) -> None:
    project = client("projects.create", name="blue/nightly")["id"]
    above = client("projects.get_by_id", project=project)["project"]["parent"]
    task = client.task(project=project)
    assert client.refusal("projects.delete", project=above) == (400, 402)
    answer = client("projects.delete", project=above, force=True)
    assert (answer["deleted"], answer["disassociated_tasks"]) == (2, 1)
    assert "project" not in client.show(task)
    assert client.refusal("projects.get_by_id", project=project) == (400, 401)
    other = client("projects.create", name="other")["id"]
    client("models.create", name="net", uri="u", project=other)
    assert client.refusal("projects.delete", project=other) == (400, 405)
    assert client("tasks.move", ids=[task], project_name="green/deep")["updated"] == 1
    assert [shown["name"] for shown in client("projects.get_all", name="green")["projects"]] == ["green", "green/deep"]


def test_a_model_of_a_task(client: Client) -> None:
    task = client.task()
    model = client("models.create", name="net", uri="file:///a", labels={}, ready=False, task=task)
    assert model["created"] is True
    answer = client("models.edit", model=model["id"], name="net-1", framework="PyTorch")
    assert answer["fields"]["framework"] == "PyTorch"
    assert client("models.get_by_task_id", task=task)["model"]["name"] == "net-1"
    client("models.add_or_update_metadata", model=model["id"], metadata=[{"key": "k", "type": "str", "value": "v"}])
    shown = client("models.get_by_id", model=model["id"])["model"]
    assert shown["metadata"] == {"k": {"key": "k", "type": "str", "value": "v"}}
    client("tasks.started", task=task)
    client("tasks.completed", task=task)
    ready = client("models.set_ready", model=model["id"], publish_task=True)
    assert ready["published_task"]["id"] == task
    assert client.show(task)["status"] == "published"
    assert client.refusal("models.set_ready", model=model["id"]) == (400, 203)
    assert client.refusal("models.delete", model=model["id"]) == (400, 206)
    assert client("models.delete", model=model["id"], force=True)["deleted"] is True
    assert client.refusal("models.get_by_id", model=model["id"]) == (400, 201)
    assert client.refusal("models.create", name="ab") == (400, 800)
    linked = client("models.update_for_task", task=task, uri="file:///b", name="best")
    assert linked["created"] is True
    assert client("models.update_for_task", task=task, uri="file:///b", iteration=7)["id"] == linked["id"]


def test_a_model_that_is_taken_in_stays(client: Client) -> None:
    model = client("models.create", name="net", uri="u")["id"]
    client.task(models={"input": [{"name": "net", "model": model}], "output": []})
    assert client.refusal("models.delete", model=model) == (400, 205)
    assert client("models.delete", model=model, force=True)["deleted"] is True


def test_events_are_a_sign_of_life(client: Client) -> None:
    client.at = -5000
    task = client.task()
    assert client.show(task)["last_update"] < STAMP
    client.asked.add(scalar(1, 1.0, task=task))
    shown = client.show(task)
    assert (shown["last_update"], shown["last_change"]) == (STAMP, STAMP)


def test_a_queue_gives_what_waits_longest(client: Client) -> None:
    queue = client("queues.create", name="gpu")["id"]
    tasks = [client.task(), client.task()]
    for task in tasks:
        answer = client("tasks.enqueue", task=task, queue_name="gpu")
        assert (answer["queued"], answer["fields"]["status"], answer["fields"]["execution.queue"]) == (
            1,
            "queued",
            queue,
        )
    assert client("tasks.dequeue", task=tasks[0])["dequeued"] == 1
    assert client("queues.get_next_task", queue=queue)["entry"]["task"] == tasks[1]
    assert client("queues.get_next_task", queue=queue) == {}
    assert client.refusal("tasks.enqueue", task=tasks[0], queue="none") == (400, 701)
    assert client("queues.get_default") == client("queues.get_default")


def test_who_and_what_the_server_is(client: Client) -> None:
    assert client("server.info")["version"] == "2.3.0"
    assert client("users.get_current_user")["user"]["id"] == "me"
    assert client("workers.get_all") == {"workers": []}
