"""``otel-events replay clearml``: recorded calls and offline sessions, the same bytes in any order and repeated."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from tests.cli.conftest import Cli
from tests.cli.otlp_files import attributes, incomplete, orphans, spans
from tests.cli.test_replay import replayed, shuffled_twice

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SESSION = GOLDEN / "clearml_offline"


def test_calls_are_the_same_in_any_order(cli: Cli, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.json" for number in range(100)]
    lines = (GOLDEN / "clearml" / "flows" / "records.jsonl").read_bytes().splitlines()
    for path, line in zip(paths, lines, strict=False):
        path.write_bytes(line)
    paths = paths[: len(lines)]
    first = replayed(cli, "clearml", paths, tmp_path / "first")
    again = replayed(cli, "clearml", shuffled_twice(paths), tmp_path / "again")
    assert first == again
    assert sorted((one["name"], attributes(one)["otel_events.attempt"]) for one in spans(tmp_path / "first")) == [
        ("clone", "1"),
        ("clone", "2"),
        ("failing", "1"),
        ("flows", "1"),
    ]
    assert orphans(tmp_path / "first") == []


def test_a_session_is_read_as_a_zip_and_as_a_folder(cli: Cli, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "session.zip", "w") as made:
        for path in sorted(SESSION.iterdir()):
            made.write(path, path.name)
    packed = replayed(cli, "clearml", [tmp_path / "session.zip"], tmp_path / "zip")
    shutil.copytree(SESSION, tmp_path / "session")
    assert replayed(cli, "clearml", [tmp_path / "session"], tmp_path / "folder") == packed
    assert incomplete(tmp_path / "zip") == {"offline-0fbc07307d424515907deaca3b04eff2"}
    page = packed["metrics.prom"].decode()
    assert 'otel_events_stat_loss_train{kind="task",name="corpus offline"' in page
    assert 'otel_events_stat_mloss_x{kind="task",name="corpus offline"' in page
    assert "/srv/" not in packed["traces.jsonl"].decode()


def test_a_zip_that_is_no_session_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "odd.zip").write_bytes(b"no zip")
    ran = cli("replay", "clearml", tmp_path / "odd.zip", "--out", tmp_path / "out")
    assert ran.code == 2
    assert "name the zip of a ClearML offline session" in " ".join(ran.err.split())
