"""The reader of Ray's workflow storage: Ray's own answers at every stage, hostile ids, half-written and huge files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from otel_events.model.errors import ConfigError, RunNotFound
from otel_events.sources.ray_workflow.files import LARGEST, Files, open_storage
from otel_events.sources.ray_workflow.storage import get_metadata, get_status, list_all
from tests.sources.ray_workflow_kit import CAPTURES, GONE, build, stage

COMPARED = [capture for capture in CAPTURES if capture["label"] not in GONE]


def answer(files: Files, *call: str) -> dict[str, Any]:
    """As a capture has it."""
    try:
        return {"result": get_metadata(files, *call)}
    except ValueError as error:
        return {"error": [f"{type(error).__module__}.{type(error).__qualname__}", str(error)]}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Files]:
    """Label of a capture -> the storage as it was then, each stage written once."""
    made: dict[str, Files] = {}

    def storage(label: str) -> Files:
        changes = stage(label)
        if repr(changes) not in made:
            made[repr(changes)] = open_storage(str(build(tmp_path_factory.mktemp("ray"), changes)))
        return made[repr(changes)]

    return storage


def test_ray_s_own_answer_for_every_capture(stages: Callable[[str], Files]) -> None:
    for capture in COMPARED:
        given = answer(stages(capture["label"]), *capture["call"])
        assert given == {key: capture[key] for key in given}, capture["label"]
    assert (len(CAPTURES), len(COMPARED)) == (89, 88)


def test_keys_come_in_ray_s_order(stages: Callable[[str], Files]) -> None:
    files = stages("seed workflow")
    assert list(get_metadata(files, "trip1")) == ["status", "user_metadata", "stats"]
    assert list(get_metadata(files, "trip1", "trip")) == [
        *("task_id", "task_options", "user_metadata", "workflow_refs", "stats")
    ]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Files]:
    bucket = fsspec.filesystem("memory")
    bucket.put(str(build(tmp_path)) + "/", "/bucket/ray", recursive=True)
    yield open_storage("memory://bucket/ray")
    bucket.rm("/bucket", recursive=True)


def test_a_bucket_gives_the_same_answers(memory: Files, stages: Callable[[str], Files]) -> None:
    folder = stages("")
    for capture in CAPTURES:
        assert answer(memory, *capture["call"]) == answer(folder, *capture["call"]), capture["label"]
    assert list_all(memory) == list_all(folder)


def test_list_all_is_the_index(stages: Callable[[str], Files]) -> None:
    files = stages("")
    assert list_all(files, {"FAILED"}) == [(name, "FAILED") for name in ("fail1", "fail2", "retry2", "sys1")]
    assert list_all(files, "RUNNING") == [("killed1", "RUNNING")]
    assert ("team/wf", "SUCCESSFUL") in list_all(files)
    assert len(list_all(files)) == 22
    with pytest.raises(ValueError, match="'DONE' is not a valid WorkflowStatus: one of RUNNING, "):
        list_all(files, ["DONE"])


def test_an_update_that_was_cut_off_is_settled_by_the_folder(tmp_path: Path) -> None:
    files = open_storage(str(build(tmp_path, {"__status__/dirty/fail1": "", "__status__/dirty/gone": ""})))
    os.rename(tmp_path / "workflows/__status__/FAILED/fail1", tmp_path / "workflows/__status__/RUNNING/fail1")
    assert dict(list_all(files))["fail1"] == "FAILED"
    assert "gone" not in dict(list_all(files))


def test_status_of_one(stages: Callable[[str], Files]) -> None:
    assert get_status(stages(""), "cancel1") == "CANCELED"
    for unknown in ("nope", "team", "q3", "../x", ""):
        with pytest.raises(RunNotFound, match="was referenced but doesn't exist"):
            get_status(stages(""), unknown)


@pytest.mark.parametrize(
    "bad", ["../outside", "trip1/../../outside", "/etc", "//etc", "a\0b", ".", "trip1/.", "x" * 5000, "x/" * 3000]
)
def test_an_id_that_leads_elsewhere_is_unknown(tmp_path: Path, bad: str) -> None:
    build(tmp_path / "storage")
    (tmp_path / "storage" / "outside").mkdir()
    (tmp_path / "storage" / "outside" / "workflow_meta.json").write_text('{"status": "SUCCESSFUL"}')
    files = open_storage(str(tmp_path / "storage"))
    assert answer(files, bad) == {"error": ["builtins.ValueError", f"No such workflow_id '{bad}'"]}
    assert answer(files, "trip1", bad) == {
        "error": ["builtins.ValueError", f"No such task_id '{bad}' in workflow 'trip1'"]
    }


def test_links_out_of_the_storage_are_not_followed(tmp_path: Path) -> None:
    build(tmp_path / "storage")
    build(tmp_path / "other", only="dag1")
    top = tmp_path / "storage" / "workflows"
    (top / "away").symlink_to(tmp_path / "other" / "workflows" / "dag1")
    (top / "near").symlink_to(top / "dag1")
    (top / "loop").symlink_to(top / "loop")
    (top / "cancel1" / "user_run_metadata.json").unlink()
    (top / "cancel1" / "user_run_metadata.json").symlink_to("/etc/hostname")
    files = open_storage(str(tmp_path / "storage"))
    assert answer(files, "away") == {"error": ["builtins.ValueError", "No such workflow_id 'away'"]}
    assert answer(files, "loop") == {"error": ["builtins.ValueError", "No such workflow_id 'loop'"]}
    assert get_metadata(files, "near") == get_metadata(files, "dag1")
    assert get_metadata(files, "cancel1")["user_metadata"] == {}


@pytest.mark.parametrize(
    "half",
    ['{"start_time": 17952', "", "[1, 2]", '"text"', "\ud83d", "[" * 100_000, '{"a": "' + "x" * LARGEST + '"}'],
    ids=["half", "empty", "list", "text", "surrogate", "deep", "huge"],
)
def test_a_file_that_is_not_whole_counts_as_absent(tmp_path: Path, half: str) -> None:
    build(tmp_path, only="dag1")
    for path in tmp_path.rglob("dag1/**/*.json"):
        path.write_bytes(half.encode("utf-8", "surrogatepass"))
    files = open_storage(str(tmp_path))
    assert get_metadata(files, "dag1") == {"user_metadata": {}, "stats": {}}
    assert get_metadata(files, "dag1", "__main__.add") == {"stats": {}}


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    build(tmp_path, only="dag1")
    (tmp_path / "workflows/dag1/pre_run_metadata.json").unlink()
    os.mkfifo(tmp_path / "workflows/dag1/pre_run_metadata.json")
    assert "start_time" not in get_metadata(open_storage(str(tmp_path)), "dag1")["stats"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("/no/such/folder", "no storage of Ray workflows at /no/such/folder"),
        ("nosuch://bucket/x", "is no storage that fsspec reads here"),
    ],
)
def test_a_storage_that_is_none(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_storage(url)
