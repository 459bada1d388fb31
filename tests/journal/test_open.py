"""Opening never fails for what is in the file, and always says what stands in the way."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_events.journal import Closing, Journal, OpenReport, schema
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent
from tests.journal.make import event, key

SPREAD = 12
"""Roots, and commits, of the journal that is damaged."""


def write(path: Path, commits: int = SPREAD, size: int = 1_500) -> list[AnyEvent]:
    """A journal of ``commits`` events for each of as many roots; closed in good order."""
    events: list[AnyEvent] = []
    with Journal.open(path, durability="off", clock=lambda: 7) as journal:
        for number in range(commits):
            batch = [event(f"r{root}", number, size) for root in range(commits)]
            journal.append(batch, [b"record"] * commits, {key("r1"): [Closing("r1/a", "task", number)]})
            events += batch
        journal.append([], done=[key("r2")])
        journal.sent_seq = commits - 1
        journal.set("offset", b"42")
        journal.dead("flyte", "in.pb:1", "bad", b"abc")
    return events


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[AnyEvent]]:
    path = tmp_path_factory.mktemp("sound") / "a.journal"
    events = write(path)
    return path.read_bytes(), events


def check(path: Path, events: list[AnyEvent]) -> OpenReport:
    """Open a file that may be damaged, use it, and compare with what was in it."""
    with Journal.open(path, durability="off") as journal:
        report = journal.opened
        readable = [e for _, chunks in journal.commits() for c in chunks.values() for e in c.events]
        assert len(readable) == len({e.id for e in readable})
        assert all(event in events for event in readable)
        if report.quarantined is not None:
            assert report.quarantined.exists()
            assert report.reason
            assert report.salvaged_events == len(readable) == journal.stats().events
            assert report.lost in (None, len(events) - len(readable))
        before = journal.last_seq
        assert journal.append([event("new", 1)]).seq == before + 1
        assert [c.seq for c in journal.root_chunks(key("new"))] == [before + 1]
    with Journal.open(path, durability="off") as again:
        assert again.opened == OpenReport()
    return report


def test_a_new_journal_is_private_and_ours(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.journal"
    with Journal.open(path) as journal:
        assert journal.opened == OpenReport()
        journal.append([event()])
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    (tmp_path / "a.journal").touch()
    assert check(tmp_path / "a.journal", []) == OpenReport()


def test_a_second_writer_is_told_who_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    with Journal.open(path), pytest.raises(JournalError, match=rf"is locked: process {os.getpid()} writes"):
        Journal.open(path)
    Journal.open(path).close()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="is a folder; name a file in it"):
        Journal.open(tmp_path)


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="see that its folder exists"):
        Journal.open(tmp_path / "file" / "a.journal")


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o711])
def test_without_permission_the_next_step_is_told(tmp_path: Path, mode: int) -> None:
    """As a user to whom neither folder nor file belongs (root may do all, so it steps down)."""
    folder = tmp_path / "private"
    folder.mkdir()
    path = folder / "a.journal"
    Journal.open(path).close()
    folder.chmod(mode if os.geteuid() == 0 else 0o500)
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    path.chmod(0o600 if os.geteuid() == 0 else 0o400)
    with stepped_down(), pytest.raises(JournalError, match=r"right|user may"):
        Journal.open(path)
    folder.chmod(0o700)


class stepped_down:  # noqa: N801 - reads as a statement
    """As root: nobody's rights, until the end of the block."""

    def __enter__(self) -> None:
        self.user = os.geteuid()
        if self.user == 0:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        os.seteuid(self.user)


def test_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    write(path, 2)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    with pytest.raises(JournalError, match=f"journal version {schema.VERSION + 1}, this otel_events knows"):
        Journal.open(path)
    assert [file.name for file in tmp_path.iterdir() if "quarantined" in file.name] == []


def test_each_version_can_be_brought_to_this_one() -> None:
    """Every step of MIGRATIONS runs on what the steps before it made."""
    for version in range(schema.VERSION):
        db = sqlite3.connect(":memory:", isolation_level=None)
        for step in schema.MIGRATIONS[:version]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {version}")
        schema.migrate(db)
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        db.close()


def test_a_foreign_file_is_moved_aside_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    path.write_text("these are my notes\n" * 500)
    report = check(path, [])
    assert report.quarantined == tmp_path / "a.journal.quarantined-1"
    assert report.quarantined.read_text() == "these are my notes\n" * 500
    assert (report.salvaged_events, report.reason) == (0, "file is not a database")


def test_another_programs_database_is_moved_aside_and_the_next_one_too(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    for number in (1, 2):
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE chunk(id, body)")
        db.close()
        report = check(path, [])
        assert report.quarantined == tmp_path / f"a.journal.quarantined-{number}"
        assert report.reason == "not a journal of otel_events"


def test_what_can_be_read_of_a_damaged_journal_is_kept_with_its_numbers(
    tmp_path: Path, sound: tuple[bytes, list[AnyEvent]]
) -> None:
    """One page in the middle of the chunks is overwritten: all others come through."""
    raw, events = sound
    path = tmp_path / "a.journal"
    middle = len(raw) // schema.PAGE_SIZE // 2 * schema.PAGE_SIZE
    path.write_bytes(raw[:middle] + os.urandom(schema.PAGE_SIZE) + raw[middle + schema.PAGE_SIZE :])
    with Journal.open(path) as journal:
        report = journal.opened
        assert len(events) * 0.9 < report.salvaged_events < len(events)
        assert report.lost == len(events) - report.salvaged_events
        assert (journal.last_seq, journal.sent_seq, journal.get("offset")) == (SPREAD, SPREAD - 1, b"42")
        assert [d.record for d in journal.dead_letters()] == [b"abc"]
        assert {row.root: (row.open, row.written) for row in journal.roots()} == {
            f"r{n}": (n != 2, 7) for n in range(SPREAD)
        }
        assert {r for c in journal.root_chunks(key("r1")) for r in c.records} == {b"record"}
        assert all(c.closings for c in journal.root_chunks(key("r1")))
        assert journal.append(events).duplicates == report.salvaged_events


def test_salvage_also_reads_what_was_still_in_the_wal(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    with Journal.open(path) as journal:
        journal.append([event()])
        wal, main = path.with_name("a.journal-wal").read_bytes(), path.read_bytes()
    path.write_bytes(main)
    path.with_name("a.journal-wal").write_bytes(wal)
    with sqlite3.connect(path) as db:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('counters', x'ff')")
        assert path.with_name("a.journal-wal").stat().st_size
        with Journal.open(tmp_path / "other") as other:
            assert other.opened == OpenReport()
    db.close()
    with Journal.open(path) as journal:
        assert (journal.opened.salvaged_events, journal.opened.lost) == (1, None)
        assert journal.stats().events == 1


def test_truncated_anywhere(tmp_path: Path, sound: tuple[bytes, list[AnyEvent]]) -> None:
    raw, events = sound
    rng = random.Random(1)
    cuts = {1, 99, 100, 512, schema.PAGE_SIZE - 1, schema.PAGE_SIZE, len(raw) - 1, len(raw) - schema.PAGE_SIZE}
    for number, cut in enumerate(sorted(cuts | {rng.randrange(1, len(raw)) for _ in range(20)})):
        path = tmp_path / f"{number}.journal"
        path.write_bytes(raw[:cut])
        report = check(path, events)
        assert report.quarantined is not None, cut
        assert cut < len(raw) * 3 // 4 or report.salvaged_events > len(events) // 3, cut


def test_a_salvage_that_was_cut_off_is_made_again(tmp_path: Path, sound: tuple[bytes, list[AnyEvent]]) -> None:
    """Killed while it wrote the new file, or between the two renames."""
    raw, events = sound
    path, new = tmp_path / "a.journal", tmp_path / "a.journal-salvaged"
    path.write_bytes(raw[:-1])
    new.write_bytes(raw[: len(raw) // 2])
    assert check(path, events).salvaged_events == len(events)
    path.rename(new)
    with Journal.open(path) as journal:
        assert journal.stats().events == len(events) + 1
    assert not new.exists()


def test_a_commit_that_is_missing_among_the_commits_is_damage_and_its_events_are_kept(tmp_path: Path) -> None:
    """As one flipped bit of its number leaves the file, which SQLite finds in order."""
    events = write(tmp_path / "a.journal")
    with closing(sqlite3.connect(tmp_path / "a.journal")) as db:
        db.execute("UPDATE batch SET seq = 0 WHERE seq = (SELECT max(seq) FROM batch)")
        db.commit()
    report = check(tmp_path / "a.journal", events)
    assert (report.salvaged_events, report.reason) == (len(events), "events of commit 12, though the last one is 11")


@settings(max_examples=40, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 7)), min_size=1, max_size=8))
def test_with_bits_flipped_anywhere(
    tmp_path_factory: pytest.TempPathFactory, sound: tuple[bytes, list[AnyEvent]], flips: list[tuple[int, int]]
) -> None:
    raw, events = bytearray(sound[0]), sound[1]
    for at, bit in flips:
        raw[at % len(raw)] ^= 1 << bit
    path = tmp_path_factory.mktemp("flips") / "a.journal"
    path.write_bytes(raw)
    check_or_refused(path, events)


@pytest.mark.parametrize("seed", range(4))
def test_with_every_byte_of_the_header_changed(tmp_path: Path, sound: tuple[bytes, list[AnyEvent]], seed: int) -> None:
    rng = random.Random(seed)
    for at in range(seed, 100, 4):
        raw = bytearray(sound[0])
        raw[at] ^= rng.randrange(1, 256)
        path = tmp_path / f"{at}.journal"
        path.write_bytes(raw)
        check_or_refused(path, sound[1])


def check_or_refused(path: Path, events: list[AnyEvent]) -> None:
    """Damage that looks like a later version is refused as one: never taken for ours, never moved."""
    try:
        check(path, events)
    except JournalError as error:
        assert "use the newer otel_events" in str(error)  # noqa: PT017 - either outcome is right
