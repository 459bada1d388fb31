"""What serve asks: storages by name, attempts recalled from the journal, jobs that are known."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from otel_events.cli.pollers import dashboard, known, places, recall, storages
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, SourceError
from otel_events.sources.ray_workflow.decode import decode
from otel_events.sources.ray_workflow.poll import Known, records
from tests.sources.ray_workflow_kit import build


def test_storages_are_named(tmp_path: Path) -> None:
    build(tmp_path, only="dag1")
    found = storages([f"old={tmp_path}", str(tmp_path)])
    assert {name: files.url for name, files in found.items()} == {"old": str(tmp_path), "": str(tmp_path)}
    assert [one.name for one in places(found, None, tmp_path / "j.db", 1)] == [str(tmp_path)] * 2
    with pytest.raises(ConfigError, match="two storages need names of their own, as NAME=URL"):
        storages([str(tmp_path), str(tmp_path)])
    with pytest.raises(ConfigError, match="no storage of Ray workflows at"):
        storages([f"a={tmp_path}/none"])


def test_a_token_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    asked = dashboard("http://127.0.0.1:9", "", str(tmp_path / "none"))
    assert asked is not None
    with pytest.raises(ConfigError, match=r"--ray-token-file .* cannot be read"):
        asked.jobs()
    (tmp_path / "token").write_text("0123456789abcdef\n")
    asked = dashboard("http://127.0.0.1:9", "", str(tmp_path / "token"))
    assert asked is not None
    with pytest.raises(SourceError, match="cannot be asked"):
        asked.jobs()


def test_the_journal_remembers_attempts_and_jobs(tmp_path: Path) -> None:
    found = [
        event for _, record in records(str(build(tmp_path / "s", only="fail2")), "old") for event in decode(record)
    ]
    path = tmp_path / "j.db"
    with closing(Journal.open(path)) as journal:
        journal.append(found)
    assert recall(path, "old")("fail2") == {
        "fail2": Known(1, 1795219704307840000, True),
        "fail2/tasks/b": Known(1, 1795219704320280000, True),
        "fail2/tasks/o": Known(1, 1795219704317312200, True),
        "fail2/tasks/sum": Known(1, 0, True),
    }
    assert recall(path, "")("fail2") == recall(path, "old")("fail") == {}
    assert (known(path, "old", "fail2"), known(path, "other", "fail2"), known(path, "old", "x")) == (True, False, False)
