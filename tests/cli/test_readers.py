"""What serve asks: storages by name, attempts recalled from the journal, jobs that are known."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from otel_events.cli.readers import opened
from otel_events.cli.recorded import JournalRecorded
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, SourceError
from otel_events.sources.ray import serve as ray
from otel_events.sources.ray.dashboard import Dashboard, Jobs
from otel_events.sources.ray_workflow import serve as ray_workflow
from otel_events.sources.ray_workflow.decode import decode
from otel_events.sources.ray_workflow.poll import records
from otel_events.sources.ray_workflow.serve import recall, storages
from otel_events.sources.source import LastAttempt, Serving
from tests.sources.ray_workflow_kit import build


def test_storages_are_named(tmp_path: Path) -> None:
    build(tmp_path, only="dag1")
    found = storages([f"old={tmp_path}", str(tmp_path)])
    assert {name: files.url for name, files in found.items()} == {"old": str(tmp_path), "": str(tmp_path)}
    serving = Serving({}, JournalRecorded(tmp_path / "j.db"), 1)
    readers = opened([ray_workflow.Options([f"old={tmp_path}", str(tmp_path)]), ray.Options()], serving)
    assert [polled.name for polled in readers.polled] == [str(tmp_path)] * 2
    assert [files.url for files in readers.storages] == [str(tmp_path)] * 2
    with pytest.raises(ConfigError, match="two storages need names of their own, as NAME=URL"):
        storages([str(tmp_path), str(tmp_path)])
    with pytest.raises(ConfigError, match="no storage of Ray workflows at"):
        storages([f"a={tmp_path}/none"])


def dashboard(token: Path) -> Dashboard:
    serving = Serving({}, JournalRecorded(token.with_name("j.db")), 1)
    readers = opened([ray.Options("http://127.0.0.1:9", "", str(token))], serving)
    [jobs] = [polled.place for polled in readers.polled if isinstance(polled.place, Jobs)]
    return jobs._dashboard


def test_a_token_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    asked = dashboard(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"--ray-token-file .* cannot be read"):
        asked.jobs()
    (tmp_path / "token").write_text("0123456789abcdef\n")
    asked = dashboard(tmp_path / "token")
    with pytest.raises(SourceError, match="cannot be asked"):
        asked.jobs()


def test_the_journal_remembers_attempts_and_jobs(tmp_path: Path) -> None:
    found = [
        event for _, record in records(str(build(tmp_path / "s", only="fail2")), "old") for event in decode(record)
    ]
    path = tmp_path / "j.db"
    with closing(Journal.open(path)) as journal:
        journal.append(found)
    recorded = JournalRecorded(path)
    assert recall(recorded, "old")("fail2") == {
        "fail2": LastAttempt(1, 1795219704307840000, True),
        "fail2/tasks/b": LastAttempt(1, 1795219704320280000, True),
        "fail2/tasks/o": LastAttempt(1, 1795219704317312200, True),
        "fail2/tasks/sum": LastAttempt(1, 0, True),
    }
    assert recall(recorded, "")("fail2") == recall(recorded, "old")("fail") == {}
    asked = (("ray", "old", "fail2"), ("ray", "other", "fail2"), ("ray", "old", "x"), ("flyte", "old", "fail2"))
    assert [recorded.has_root(*key) for key in asked] == [True, False, False, False]
