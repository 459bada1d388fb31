"""Reading: every order, page after page, by other processes, with damaged chunks passed over."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.journal import Journal, Reader
from otel_events.journal.retain import RESERVE_BYTES
from otel_events.model.errors import JournalError
from otel_events.model.event import Run
from tests.journal.make import SECOND, event, key, run
from tests.patience import PATIENCE

ROOTS = 600
"""More than two pages of roots."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    path = tmp_path_factory.mktemp("many") / "a.journal"
    with Journal.open(path, durability="off") as journal:
        journal.append([event(f"r{n}") for n in range(ROOTS)])
        for commit in range(1, 80):
            journal.append([event("r5", commit), event(f"r{commit}", 1)])
        journal.append([], done=[key(f"r{n}") for n in range(ROOTS) if n % 3])
    with Journal.reader(path) as reader:
        yield reader


def test_roots_by_key(many: Reader) -> None:
    assert [row.key for row in many.roots()] == sorted(key(f"r{n}") for n in range(ROOTS))


def test_roots_most_recently_written_first(many: Reader) -> None:
    order = [row.root for row in many.roots("recent")]
    assert order[:3] == ["r79", "r5", "r78"]
    assert order[-1] == "r0"
    assert sorted(order) == sorted(f"r{n}" for n in range(ROOTS))


@pytest.mark.parametrize("order", ["key", "recent"])
def test_roots_go_on_after_a_row_and_stop_at_a_limit(many: Reader, order: str) -> None:
    assert order in ("key", "recent")
    everything = list(many.roots("key" if order == "key" else "recent"))
    for limit in (0, 1, 256, 257, ROOTS + 1):
        some = list(many.roots("key" if order == "key" else "recent", limit=limit, after=everything[9]))
        assert some == everything[10 : 10 + limit]


@pytest.mark.parametrize("order", ["key", "recent"])
def test_only_open_roots(many: Reader, order: str) -> None:
    result = {row.root for row in many.roots("key" if order == "key" else "recent", open_only=True)}
    assert result == {f"r{n}" for n in range(0, ROOTS, 3)}


def test_chunks_of_a_root_up_to_a_commit(many: Reader) -> None:
    assert [chunk.seq for chunk in many.root_chunks(key("r5"))] == list(range(1, 81))
    assert [chunk.seq for chunk in many.root_chunks(key("r5"), upto=40)] == list(range(1, 41))
    assert list(many.root_chunks(key("r5"), upto=0)) == []
    assert list(many.root_chunks(b"unknown")) == []


def test_commits_after_a_number(many: Reader) -> None:
    assert many.last_seq == 80
    first, *rest = many.commits()
    assert (first[0], len(first[1])) == (1, ROOTS)
    assert [seq for seq, _ in rest] == list(range(2, 81))
    assert rest[10][1].keys() == {key("r5"), key("r11")}
    assert [seq for seq, _ in many.commits(77)] == [78, 79, 80]
    assert list(many.commits(80)) == []


def test_a_root_is_found_by_its_id_or_how_it_begins(many: Reader) -> None:
    assert [row.root for row in many.find_roots("r5")] == ["r5"]
    assert [row.root for row in many.find_roots("r59")] == ["r59"]
    assert {row.root for row in many.find_roots("r")} <= {f"r{n}" for n in range(ROOTS)}
    assert many.find_roots("x") == many.find_roots("") == many.find_roots("r'5%") == []


def test_a_run_is_found_in_its_roots(tmp_path: Path) -> None:
    def of(root: str, id_: str, number: int) -> Run:
        return run(root, id_)

    with Journal.open(tmp_path / "a.journal") as journal:
        for number, (root, id_) in enumerate([("r1", "x"), ("r2", "y"), ("r3", "x"), ("r3", "x"), ("r4", "xx")]):
            journal.append([type(event())(id=str(number), time=1, run=of(root, id_, number), message="m")])
        assert [row.root for row in journal.find_run("x")] == ["r3", "r1"]
        assert [row.root for row in journal.find_run("r2")] == ["r2"]
        assert journal.find_run("z") == []
        assert journal.find_run("m") == []


def test_stats_are_kept_up_without_a_scan(tmp_path: Path) -> None:
    now = [100 * SECOND]
    with Journal.open(tmp_path / "a.journal", clock=lambda: now[0]) as journal:
        assert journal.stats().oldest_unsent_seconds == 0.0
        journal.append([event("r1"), event("r2")])
        now[0] += 5 * SECOND
        journal.append([event("r1", 1)])
        journal.dead("flyte", "in.pb:3", "not protobuf", b"abc")
        journal.append([], done=[key("r2")])
        result = journal.stats()
        assert (result.events, result.roots, result.open_roots, result.dead_letters) == (3, 2, 1, 1)
        assert (result.last_seq, result.sent_seq, result.oldest_unsent_seconds) == (2, 0, 5.0)
        assert result.bytes > 0
        journal.sent_seq = 1
        assert journal.stats().oldest_unsent_seconds == 0.0
        journal.sent_seq = 2
        journal.checkpoint()
        with Journal.reader(tmp_path / "a.journal") as reader:
            assert reader.stats() == journal.stats()


def test_dead_letters_are_kept_verbatim_and_read_on(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a.journal", clock=lambda: 5) as journal:
        for number in range(70):
            journal.dead("flyte", f"in.pb:{number}", "not \ud800 protobuf", bytes([number]) * 3)
        journal.append([])
        result = list(journal.dead_letters())
        assert [(d.id, d.where, d.record) for d in result] == [
            (n + 1, f"in.pb:{n}", bytes([n]) * 3) for n in range(70)
        ]  # fmt: skip
        assert (result[0].time, result[0].source, result[0].reason, result[0].length) == (
            5,
            "flyte",
            "not ? protobuf",
            3,
        )
        assert [d.id for d in journal.dead_letters(after=68)] == [69, 70]


def test_of_a_huge_record_the_beginning_is_kept(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a.journal") as journal:
        journal.dead("flyte", "in.pb:1", "too long", b"a" * (3 << 20))
        journal.checkpoint()
        (letter,) = journal.dead_letters()
        assert (letter.length, letter.record) == (3 << 20, b"a" * (1 << 20))


def test_a_flood_of_dead_letters_does_not_stay_in_memory(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a.journal") as journal, Journal.reader(tmp_path / "a.journal") as reader:
        for _ in range(9):
            journal.dead("flyte", "in.pb:1", "bad", bytes(1 << 20))
        assert reader.stats().dead_letters >= 8


def test_a_damaged_chunk_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    with Journal.open(path) as journal:
        for number in range(3):
            journal.append([event("r1", number), event("r2", number)])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE chunk SET body = x'00112233445566' WHERE id = ?", (2 << 20,))
    db.close()
    with Journal.open(path) as journal:
        assert [c.seq for c in journal.root_chunks(key("r1"))] == [1, 3]
        assert journal.unreadable == 1
        assert [(seq, len(chunks)) for seq, chunks in journal.commits()] == [(1, 2), (2, 1), (3, 2)]
        assert journal.find_run("nobody") == []
        assert journal.append([event("r1", 0), event("r1", 1)]).duplicates == 1


def test_no_journal_and_no_journal_of_ours(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no journal at"):
        Journal.reader(tmp_path / "none")
    (tmp_path / "text").write_text("hello" * 1000)
    with pytest.raises(JournalError, match="name another file"):
        Journal.reader(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE chunk(id)")
    db.close()
    with pytest.raises(JournalError, match="not a journal of otel_events"):
        Journal.reader(tmp_path / "other")


def test_a_reader_of_another_version_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    Journal.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match="journal version 99"):
        Journal.reader(path)


def test_readers_read_while_the_writer_writes_and_the_wal_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_events.journal.retain._READERS_MS", int(PATIENCE * 1000))  # on a busy machine too
    path, stop, trouble = tmp_path / "a.journal", threading.Event(), list[BaseException]()
    journal = Journal.open(path, durability="normal")
    journal.append([event("r0")])

    def read() -> None:
        with Journal.reader(path) as reader:
            while not stop.is_set():
                try:
                    seqs = [seq for seq, _ in reader.commits()]
                    assert seqs == list(range(1, len(seqs) + 1))
                except BaseException as error:  # noqa: BLE001 - handed to the test below
                    trouble.append(error)
                    return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    largest = 0
    for batch in range(50):
        journal.append([event(f"r{batch}-{n}", n, size=8_000) for n in range(100)])
        largest = max(largest, path.with_name("a.journal-wal").stat().st_size)
    stop.set()
    for reader in readers:
        reader.join()
    journal.close()
    assert trouble == []
    assert path.stat().st_size > 35 << 20
    assert largest < 2 * RESERVE_BYTES


def test_a_reader_that_stays_delays_the_writer_little_and_loses_nothing(tmp_path: Path) -> None:
    """Another program holds a snapshot: the WAL has to grow; it is begun anew once that reader is gone."""
    path = tmp_path / "a.journal"
    with Journal.open(path, durability="normal") as journal:
        journal.append([event("r0")])
        other = sqlite3.connect(path)
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM chunk").fetchone() == (1,)
        for batch in range(1, 30):
            journal.append([event(f"r{batch}", n, size=9_000) for n in range(100)])
        grown = path.with_name("a.journal-wal").stat().st_size
        other.close()
        for batch in range(30, 60):
            journal.append([event(f"r{batch}", n, size=9_000) for n in range(100)])
        assert grown > RESERVE_BYTES
        assert path.with_name("a.journal-wal").stat().st_size < RESERVE_BYTES
        assert journal.last_seq == 60
