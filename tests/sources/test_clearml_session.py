"""Offline sessions as zip and folder: a captured one (tests/golden/clearml_offline), and what should not be in one."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from otel_events.core.traces import close_all
from otel_events.model.errors import ConfigError
from otel_events.model.event import AnyEvent, Log, PhaseChange, Report, Stat
from otel_events.sources.clearml import session as clearml_session
from otel_events.sources.clearml.decode import decode
from otel_events.sources.clearml.session import Part, is_session, records

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "clearml_offline"
TASK = "offline-0fbc07307d424515907deaca3b04eff2"
POINT = {"type": "training_stats_scalar", "task": "offline-1", "metric": "m", "variant": "v", "iter": 1, "value": 1.0}


def zipped(path: Path, members: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


def session(path: Path, *more: tuple[str, bytes]) -> str:
    return zipped(path, {file.name: file.read_bytes() for file in sorted(GOLDEN.iterdir())} | dict(more))


def events(parts: Iterable[Part]) -> list[AnyEvent]:
    decoded = list(parts)
    assert not [part for part in decoded if part.reason]
    return [event for part in decoded for event in decode(part.body)]


def test_a_session_is_one_run_without_an_outcome(tmp_path: Path) -> None:
    decoded = events(records(session(tmp_path / "s.zip")))
    ((attempt,), rest) = close_all(decoded)
    assert rest == []
    assert (attempt.attempt.run.id, attempt.attempt.run.name, attempt.outcome) == (TASK, "corpus offline", "")
    assert attempt.attempt.native == "offline"
    assert attempt.attempt.start == 1_795_220_165_035_000_000  # its first line
    assert attempt.attempt.attributes["clearml.project.name"] == "otel/demo"
    points = {stat.name: stat.attributes.get("clearml.count") for stat in attempt.attempt.stats}
    assert points["loss/train"] == 31
    assert any("hello from stdout" in log.message for log in attempt.attempt.logs)


def test_events_of_models_are_kept_with_the_task(tmp_path: Path) -> None:
    decoded = events(records(session(tmp_path / "s.zip")))
    models = [event for event in decoded if isinstance(event, Stat) and "clearml.model.id" in event.attributes]
    assert {event.name: event.value for event in models} == {"mloss/x": 0.5, "Summary/msv": 4.2}
    assert {event.run.id for event in models} == {TASK}


def test_paths_of_the_machine_become_those_inside_the_session(tmp_path: Path) -> None:
    reports = [
        event for event in events(records(session(tmp_path / "s.zip"))) if isinstance(event, Report) and event.uri
    ]
    assert reports
    assert not [report.uri for report in reports if report.uri.startswith("/")]
    assert "data/otel/demo/corpus offline." + TASK + "/artifacts/art/art.json" in {report.uri for report in reports}


def test_a_folder_tells_the_same_as_its_zip(tmp_path: Path) -> None:
    assert events(records(str(GOLDEN))) == events(records(session(tmp_path / "s.zip")))
    assert is_session(str(GOLDEN))
    assert not is_session(str(tmp_path))


def test_the_script_and_its_inputs_stay_outside() -> None:
    text = json.dumps([str(event) for event in events(records(str(GOLDEN)))])
    assert "canary" not in text
    assert '"lr"' not in text


def test_files_may_be_missing(tmp_path: Path) -> None:
    line = json.dumps([POINT | {"timestamp": 1_790_000_000_000}]).encode()
    alone = events(records(zipped(tmp_path / "a.zip", {"metrics.jsonl": line})))
    assert [event.run.id for event in alone] == ["offline-1", "offline-1"]
    (begun,) = events(records(zipped(tmp_path / "b.zip", {"task.json": b'{"id": "offline-2", "name": "n"}'})))
    assert isinstance(begun, PhaseChange)
    assert (begun.phase, begun.run.id) == ("running", "offline-2")


def test_a_bad_line_costs_itself_only(tmp_path: Path) -> None:
    good = json.dumps([POINT | {"timestamp": 1_790_000_000_000}]).encode()
    path = zipped(tmp_path / "s.zip", {"metrics.jsonl": b"\n".join([good, b"{bad", good.replace(b"1.0", b"2.0")])})
    parts = list(records(path))
    assert [part.where for part in parts] == [f"{path}!metrics.jsonl:{number}" for number in (1, 2, 3)]
    assert [stat.value for part in (parts[0], parts[2]) for stat in decode(part.body) if isinstance(stat, Stat)] == [
        *(1.0, 1),
        *(2.0, 1),
    ]
    with pytest.raises(ValueError, match="not a ClearML record"):
        decode(parts[1].body)


def test_names_that_lead_elsewhere_are_never_opened(tmp_path: Path) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(b"[]")
    names = ("../metrics.jsonl", "/etc/passwd", "a/../../metrics.jsonl", "..\\metrics.jsonl")
    before = sorted(tmp_path.iterdir())
    path = session(tmp_path / "s.zip", *((name, b"odd") for name in names))
    assert len(events(records(path))) == len(events(records(str(GOLDEN))))
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "s.zip"])  # nothing was unpacked


def test_a_bomb_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearml_session, "LONGEST_LINE", 10_000)
    monkeypatch.setattr(clearml_session, "LARGEST", 50_000)
    long = zipped(tmp_path / "long.zip", {"metrics.jsonl": b"[" + b" " * 5_000_000 + b"]"})
    (part,) = records(long)
    assert "a line of more than 10,000 bytes" in part.reason
    assert len(part.body) <= 4096
    many = zipped(tmp_path / "many.zip", {"log.jsonl": b"[]\n" * 1_000_000})
    *_, last = records(many)
    assert "more than 50,000 bytes when unpacked" in last.reason


def test_a_zip_that_is_broken_or_none_is_told(tmp_path: Path) -> None:
    none = tmp_path / "none.zip"
    none.write_bytes(b"PK, but no more")
    with pytest.raises(ConfigError, match="not a zip file"):
        list(records(str(none)))
    with pytest.raises(ConfigError, match="name the zip or folder of a session"):
        list(records(zipped(tmp_path / "other.zip", {"readme": b""})))
    broken = Path(session(tmp_path / "broken.zip"))
    content = bytearray(broken.read_bytes())
    at = content.index(b"log.jsonl") + 20
    content[at : at + 40] = bytes(40)
    broken.write_bytes(content)
    assert [part.reason for part in records(str(broken)) if part.reason]


def test_a_zip_of_too_many_files_is_not_opened(tmp_path: Path) -> None:
    path = Path(session(tmp_path / "s.zip"))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x05\x06")
    content[at + 10 : at + 12] = b"\xff\xff"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="more than 65,534 files"):
        list(records(str(path)))


def test_lines_are_logs_with_the_tasks_trace() -> None:
    logs = [event for event in events(records(str(GOLDEN))) if isinstance(event, Log)]
    assert {log.run.root for log in logs} == {TASK}
    assert {log.severity for log in logs} >= {9, 17}
