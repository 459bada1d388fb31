"""GET /v1/workflows...: the storages' and the journal's answers over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.server.auth import Access
from otel_events.server.metadata import routes
from otel_events.sources.ray_workflow.files import open_storage
from otel_events.views.metadata import get_metadata
from tests.server.serving import Served, events, gateway, serving
from tests.sources.ray_workflow_kit import build


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    more = routes(path, [open_storage(str(place))])
    with gateway(path) as made, serving(made, more=more) as server:
        root = events(1).replace(b'"task"', b'"workflow"').replace(b"nightly/1/train", b"nightly/1")
        assert server.post(root + b"\n" + events(2)).status_code == 200
        yield server


@pytest.mark.parametrize("call", [("dag1",), ("team/wf",), ("flux-é 1", "tâche é"), ("team/wf", "a/b"), ("q3",)])
def test_the_answer_is_ray_s(served: Served, place: Path, call: tuple[str, ...]) -> None:
    told = served.http.get(f"/v1/workflows/{call[0]}/metadata", params=dict(zip(["task"], call[1:], strict=False)))
    assert (told.status_code, told.json()) == (200, get_metadata(*call, storage=str(place)))


def test_recorded_runs_answer_too(served: Served) -> None:
    told = served.http.get("/v1/workflows/nightly/1/metadata").json()
    assert (told["status"], set(told["stats"])) == ("RUNNING", {"start_time"})
    task = served.http.get("/v1/workflows/nightly%2F1/metadata", params={"task": "train"}).json()
    assert task["task_id"] == "train"
    assert served.http.get("/v1/workflows/nightly/1/status").json() == {
        "workflow_id": "nightly/1",
        "status": "RUNNING",
    }


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nope/metadata", "No such workflow_id 'nope'"),
        ("dag1/metadata?task=nope", "No such task_id 'nope' in workflow 'dag1'"),
        ("dag1/metadata?task=../../fail1", "No such task_id '../../fail1' in workflow 'dag1'"),
        ("nightly/1/metadata?task=nope", "No such task_id 'nope' in workflow 'nightly/1'"),
        ("%2e%2e%2fsecret/metadata", "No such workflow_id '../secret'"),
        ("a%00b/metadata", "No such workflow_id 'a\0b'"),
        ("nope/status", "Workflow[id=nope] was referenced but doesn't exist."),
    ],
)
def test_an_unknown_id_is_404_in_ray_s_words(served: Served, path: str, told: str) -> None:
    found = served.http.get(f"/v1/workflows/{path}")
    assert (found.status_code, found.json()) == (404, {"error": told})


def test_the_list(served: Served) -> None:
    every = served.http.get("/v1/workflows").json()
    assert len(every) == 23
    assert {"workflow_id": "nightly/1", "status": "RUNNING"} in every
    some = served.http.get("/v1/workflows?status=RUNNING&status=CANCELED").json()
    assert {one["workflow_id"] for one in some} == {"killed1", "nightly/1", "cancel1", "ghost"}
    wrong = served.http.get("/v1/workflows?status=DONE")
    assert (wrong.status_code, wrong.json()["error"][:33]) == (400, "'DONE' is not a valid WorkflowSta")


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with gateway(path) as made, serving(made, Access(token="x" * 16), more=routes(path)) as server:
        assert server.http.get("/v1/workflows").status_code == 401
        known = {"Authorization": f"Bearer {'x' * 16}"}
        assert server.http.get("/v1/workflows", headers=known).json() == []
