"""Reading records: what is one, where it stands, and that a bad or huge one costs itself only."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.intake.records import Record, Refused, lines, read


def bodies(*paths: Path | str, limit: int = 1000) -> list[bytes]:
    return [one.body for one in read([str(path) for path in paths], limit) if isinstance(one, Record)]


def refused(*paths: Path | str, limit: int = 1000) -> list[Refused]:
    return [one for one in read([str(path) for path in paths], limit) if isinstance(one, Refused)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.txt", "a.log", "a", "a.events", "A.JSONL"])
def test_a_line_is_a_record(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n  \ntwo \n\xff three")
    assert list(read([str(path)])) == [
        Record(b"one", name, f"{path}:1"),
        Record(b"two ", name, f"{path}:4"),
        Record(b"\xff three", name, f"{path}:5"),
    ]


@pytest.mark.parametrize("name", ["001.task.pb", "001.task.json", "001.TASK.JSON"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_a_record(tmp_path: Path, name: str, packed: bool) -> None:
    body = b"\n\x0a\n{\n}\n"
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(body) if packed else body)
    assert list(read([str(path)])) == [Record(body, name, str(path))]


@pytest.mark.parametrize("name", ["a.json", "a.pb", "a.json.gz"])
def test_an_empty_file_of_one_record_is_an_empty_record(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    assert bodies(path) == [b""]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"a": 1}\n{"a": 2}\n', 2),
        ('{"a": 1}\n\nbroken\n', 2),
        ('{"a": 1}\n \n', 1),
        ('{"a":\n 1}\n', 1),
        ('[{"a": 1},\n{"a": 2}]\n', 1),
        ('{"a": 1} {"b": 2}\n{"a": 1}\n', 1),
        ("[" * 900 + "\n" + "]" * 900, 1),
        ('{"a":' * 900 + "\n", 1),
    ],
)
def test_a_json_file_is_read_by_lines_only_where_it_clearly_holds_lines(tmp_path: Path, text: str, count: int) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert len(bodies(path, limit=10_000)) == count


def test_lines_of_a_json_file_go_on_past_what_was_read_ahead(tmp_path: Path) -> None:
    rows = [b'{"number": %d}' % number for number in range(100)]
    path = tmp_path / "a.json"
    path.write_bytes(b"\n".join(rows))
    for limit in range(20, 60):
        assert bodies(path, limit=limit) == rows


def test_folders_are_read_sorted_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.json", "b/1.json", "a.json", "c.json", ".hidden.json", "b/.git/x.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert bodies(tmp_path) == [b"a.json", b"c.json", b"b/1.json", b"b/2.json"]
    assert bodies(tmp_path / "b", tmp_path / "a.json") == [b"b/1.json", b"b/2.json", b"a.json"]


def test_a_folder_without_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (found,) = refused(tmp_path)
    assert found.where == str(tmp_path)
    assert "no files" in found.reason


def test_what_is_not_there_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text("{}\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "dangling").symlink_to(tmp_path / "nowhere")
    found = list(read([str(tmp_path / "missing"), str(tmp_path / "inner"), str(good)]))
    assert [type(one) for one in found] == [Refused, Refused, Record]
    assert all("No such file" in one.reason for one in found if isinstance(one, Refused))


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (found,) = refused(tmp_path)
    assert "pipe" in found.reason


def test_a_folder_that_may_not_be_listed_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "a.jsonl").write_text("{}\n")
    closed.chmod(0)
    if os.access(closed, os.R_OK):
        pytest.skip("this user may list everything")
    (found,) = refused(tmp_path)
    closed.chmod(0o700)
    assert found.where == str(closed)


def test_standard_input_is_read_by_lines() -> None:
    assert list(read(["-"], 1000, io.BytesIO(b"one\n\ntwo"))) == [
        Record(b"one", "", "stdin:1"),
        Record(b"two", "", "stdin:3"),
    ]


def test_a_binary_file_without_a_telling_name_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(b"\n\x08\x00\n\x01\n" * 10)
    (found,) = refused(path)
    assert ".pb" in found.reason
    assert found.head == path.read_bytes()
    assert bodies(path) == []


def test_a_name_that_is_no_utf8_can_be_printed(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.jsonl"
    Path(os.fsdecode(path)).write_text("{}\n")
    (found,) = read([os.fsdecode(path)])
    assert found.where.encode().endswith(b"/\\xff.jsonl:1")


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.integers(1, 8))
def test_lines_over_the_limit_are_refused_and_the_others_come_whole(rows: list[bytes], limit: int) -> None:
    found = list(lines(io.BytesIO(b"\n".join(rows)), "", "x", limit))
    stripped = [row.rstrip(b"\r").removeprefix(b"\xef\xbb\xbf" if not at else b"") for at, row in enumerate(rows)]
    long = {f"x:{at}" for at, row in enumerate(stripped, 1) if len(row) > limit}
    whole = [(f"x:{at}", row) for at, row in enumerate(stripped, 1) if row.strip() and len(row) <= limit]
    told = {one.where for one in found if isinstance(one, Refused)}
    taken = [(one.where, one.body) for one in found if isinstance(one, Record)]
    # Trailing CRs beyond the limit are refused rather than guessed at.
    assert long <= told
    assert [one for one in whole if one[0] not in told] == taken


def test_the_length_and_head_of_what_is_too_long_are_told(tmp_path: Path) -> None:
    line = b"x" * 50_000
    by_line, whole = tmp_path / "a.jsonl", tmp_path / "a.json"
    by_line.write_bytes(b"{}\n" + line + b"\n{}\n")
    whole.write_bytes(line)
    (one,) = refused(by_line, limit=10_000)
    (two,) = refused(whole, limit=10_000)
    assert (one.where, one.length, one.head) == (f"{by_line}:2", 50_000, line[:4096])
    assert (two.where, two.length, two.head) == (str(whole), 50_000, line[:4096])
    assert "10,000 bytes" in one.reason
    assert bodies(by_line) == [b"{}", b"{}"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.gz"])
@pytest.mark.parametrize("body", [b"plain text", gzip.compress(b'{"a": 1}')[:-9], gzip.compress(b"x")[:-1] + b"\1"])
def test_broken_gzip_is_told(tmp_path: Path, name: str, body: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(body)
    (found,) = refused(path)
    assert found.where.startswith(str(path))
    assert "not whole gzip" in found.reason


def test_what_stands_before_the_break_of_a_gzip_file_is_read(tmp_path: Path) -> None:
    rows = [b'{"number": %d, "noise": "%s"}' % (n, os.urandom(40).hex().encode()) for n in range(20_000)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(rows))[:-2000])
    found = list(read([str(path)]))
    whole = [one.body for one in found if isinstance(one, Record)]
    assert whole == rows[: len(whole)]
    assert len(whole) > 1000
    assert isinstance(found[-1], Refused)
    assert found[-1].where == f"{path}:{len(whole) + 1}"


MEASURE = """
import sys
from otel_events.intake.records import read, Record

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

before = peak()
found = [type(one).__name__ for one in read(sys.argv[2:], int(sys.argv[1]))]
print(peak() - before, *found)
"""


def grown(limit: int, path: Path) -> tuple[int, list[str]]:
    """(growth of the largest resident size in KiB, what came), of a fresh process that reads ``path``."""
    command = [sys.executable, "-c", MEASURE, str(limit), str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(told[0]), told[1:]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz"])
def test_100_mb_in_one_line_cost_no_more_than_the_limit(tmp_path: Path, name: str) -> None:
    path, size = tmp_path / name, 100_000_000
    if name.endswith(".gz"):
        with gzip.open(path, "wb", compresslevel=1) as file:
            for _ in range(100):
                file.write(bytes(1_000_000))
            file.write(b"\n{}\n")
    else:
        with path.open("wb") as file:
            file.truncate(size)
            file.seek(size)
            file.write(b"\n{}\n")
    growth, found = grown(1_000_000, path)
    assert found == (["Refused", "Record"] if "jsonl" in name else ["Refused"])
    assert growth < 12_000
