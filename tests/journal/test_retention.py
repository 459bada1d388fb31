"""What trim lets go, in which order and for which reason; and a disk that is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.journal import Journal, Trimmed, retain
from otel_events.model.errors import JournalError
from tests.journal.make import SECOND, event, key

HOUR = 3600 * SECOND
MIB = 1 << 20


def trim(journal: Journal, now: int = 0) -> Trimmed:
    """All steps of a trim as one."""
    whole = Trimmed()
    while True:
        step = journal.trim(now)
        whole.events += step.events
        whole.bytes += step.bytes
        whole.roots += step.roots
        for reason, events in step.by_reason.items():
            whole.by_reason[reason] = whole.by_reason.get(reason, 0) + events
        if not step.more:
            return whole


def fill(journal: Journal, name: str, roots: int = 8, size: int = 60_000) -> list[bytes]:
    """A commit for each root, each with one event of ``size`` bytes."""
    for number in range(roots):
        journal.append([event(f"{name}{number}", size=size)])
    return [key(f"{name}{number}") for number in range(roots)]


def left(journal: Journal) -> set[bytes]:
    return {row.key for row in journal.roots()}


def test_by_age_only_what_is_sent_and_done(tmp_path: Path) -> None:
    now = [0]
    with Journal.open(tmp_path / "a.journal", max_age_ns=HOUR, clock=lambda: now[0]) as journal:
        old, still_open, unsent = fill(journal, "a", 3, size=10)
        journal.append([], done=[old, unsent])
        journal.sent_seq = 2
        now[0] = 2 * HOUR
        (young,) = fill(journal, "b", 1, size=10)
        journal.append([], done=[young])
        assert trim(journal, now[0]) == Trimmed(1, {"retention": 1}, [old], False, 0)
        assert left(journal) == {still_open, unsent, young}
        assert (journal.stats().roots, journal.stats().events, journal.stats().open_roots) == (3, 3, 1)
        journal.sent_seq = 4
        assert trim(journal, now[0]).roots == [unsent]


def test_by_bytes_the_oldest_first_and_no_more_than_needed(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a.journal", max_bytes=MIB, clock=lambda: 0) as journal:
        keys = fill(journal, "a", 20)
        journal.append([], done=keys)
        journal.sent_seq = journal.last_seq
        over = journal.stats().bytes - MIB
        assert over > 0
        trimmed = trim(journal)
        assert trimmed.roots == keys[: len(trimmed.roots)]
        assert over <= trimmed.bytes < over + 70_000
        assert trimmed.by_reason == {"retention": len(trimmed.roots)}
        assert trimmed.events == len(trimmed.roots)
        assert journal.stats().bytes <= MIB
        assert left(journal) == set(keys[len(trimmed.roots) :])
        assert trim(journal) == Trimmed()


def test_a_trim_with_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a.journal") as journal:
        journal.append([event()])
        wal = tmp_path / "a.journal-wal"
        before = wal.stat().st_size
        assert journal.trim(0) == Trimmed()
        assert wal.stat().st_size == before


def test_the_unsent_goes_last_and_under_its_own_reason(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a.journal", max_bytes=MIB, clock=lambda: 0) as journal:
        unsent = fill(journal, "a", 10)
        sent = fill(journal, "b", 10)
        journal.append([], done=sent[:2])
        journal.sent_seq = journal.last_seq
        trimmed = trim(journal)
        unsent_gone = len(trimmed.roots) - 2
        assert trimmed.roots == [*sent[:2], *unsent[:unsent_gone]]
        assert trimmed.by_reason == {"retention": 2, "journal_full_unsent": unsent_gone}
        assert journal.stats().open_roots == 18 - unsent_gone
        assert journal.stats().bytes <= MIB


def test_a_dropped_root_is_gone_for_everyone_and_may_come_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a.journal", max_age_ns=0, clock=lambda: 0) as journal:
        (gone,) = fill(journal, "a", 1, size=10)
        journal.append([], done=[gone])
        journal.sent_seq = 1
        assert trim(journal, 1).roots == [gone]
        for order in ("key", "recent"):
            assert list(journal.roots("key" if order == "key" else "recent")) == []
        assert not [*journal.root_chunks(gone), *journal.commits(), *journal.find_run("a0/a")]
        commit = journal.append([event("a0", size=10)])
        assert (commit.seq, commit.duplicates, commit.fresh) == (2, 0, frozenset([gone]))
        assert [c.seq for c in journal.root_chunks(gone)] == [2]
    with Journal.open(tmp_path / "a.journal") as again:
        assert (again.last_seq, again.stats().events) == (2, 1)


def test_a_huge_root_goes_step_by_step_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retain, "STEP", 10)
    with Journal.open(tmp_path / "a.journal", max_age_ns=0, durability="normal", clock=lambda: 0) as journal:
        for number in range(35):
            journal.append([event("huge", number), event("other", number)])
        journal.append([], done=[key("huge")])
        journal.sent_seq = journal.last_seq
        first = journal.trim(1)
        assert (first.roots, first.events, first.more) == ([key("huge")], 35, True)
        assert left(journal) == {key("other")}
        assert all(chunks.keys() == {key("other")} for _, chunks in journal.commits())
        journal.append([event("huge", 1)])
        steps = 1
        while journal.trim(1).more:
            steps += 1
        assert steps == 3
        assert [len(c.events) for c in journal.root_chunks(key("huge"))] == [1]
        assert (journal.stats().roots, journal.stats().events) == (2, 36)


def test_dead_letters_are_few_and_the_oldest_go_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retain, "DEAD_LETTERS", 5)
    with Journal.open(tmp_path / "a.journal", max_bytes=MIB) as journal:
        for batch in range(4):
            for number in range(3):
                journal.dead("flyte", f"{batch}:{number}", "bad", b"abc")
            journal.checkpoint()
        assert [d.where for d in journal.dead_letters()] == ["2:1", "2:2", "3:0", "3:1", "3:2"]
        assert (journal.stats().dead_letters, journal.stats().dead_dropped) == (5, 7)
        journal.dead("flyte", "big", "bad", bytes(MIB))
        journal.checkpoint()
        journal.dead("flyte", "last", "bad", b"abc")
        journal.checkpoint()
        assert [d.where for d in journal.dead_letters()] == ["last"]
        assert (journal.stats().dead_letters, journal.stats().dead_dropped) == (1, 13)


def test_at_its_limit_it_refuses_and_after_a_trim_takes_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a.journal", max_bytes=MIB, durability="normal", clock=lambda: 0) as journal:
        with pytest.raises(JournalError, match=r"call trim\(\) or raise max_bytes"):
            fill(journal, "r", 200, size=100_000)
        seq, events = journal.last_seq, journal.stats().events
        assert seq == events > 10
        assert len(read(journal)) == events
        assert set(trim(journal).by_reason) == {"journal_full_unsent"}
        assert journal.append([event("s")]).seq == seq + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)],  # noqa: S607 - wherever the system has it
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S607 - as above


def test_a_full_disk_refuses_keeps_all_and_heals(small_disk: Path) -> None:
    path, ballast = small_disk / "a.journal", small_disk / "ballast"
    journal = Journal.open(path, clock=lambda: 0)
    acknowledged = [e for n in range(5) for e in journal.append([event(f"r{n}", size=50_000)]).roots[key(f"r{n}")]]
    journal.append([], done=[key("r0"), key("r1")])
    fill_up(ballast)
    refused = 0
    for number in range(60):
        try:
            commit = journal.append([event(f"s{number}", size=100_000)])
        except JournalError as error:
            assert "disk is full" in str(error)  # noqa: PT017 - some are taken, some refused
            refused += 1
        else:
            acknowledged += next(iter(commit.roots.values()))
    assert refused > 30
    assert read(journal) == acknowledged
    assert journal.stats().events == len(acknowledged)
    ballast.unlink()
    acknowledged += next(iter(journal.append([event("back", size=100_000)]).roots.values()))
    journal.close()
    with Journal.open(path) as again:
        assert again.opened.quarantined is None
        assert read(again) == acknowledged


def test_a_full_disk_can_still_be_trimmed(small_disk: Path) -> None:
    journal = Journal.open(small_disk / "a.journal", clock=lambda: 0)
    keys = fill(journal, "r", 15, size=100_000)
    journal.append([], done=keys)
    journal.sent_seq = journal.last_seq
    fill_up(small_disk / "ballast")
    with pytest.raises(JournalError, match="disk is full"):
        fill(journal, "s", 60, size=100_000)
    taken = journal.stats().roots
    trimmed = trim(journal)
    assert set(trimmed.by_reason) == {"disk_full"}
    assert trimmed.roots == keys[: len(trimmed.roots)]
    fill(journal, "t", len(trimmed.roots) - 1, size=90_000)
    assert journal.stats().roots == taken - 1
    journal.close()


def fill_up(ballast: Path) -> None:
    """Leave no free byte on the disk."""
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
        os.fsync(file.fileno())


def read(journal: Journal) -> list[object]:
    return [e for _, chunks in journal.commits() for c in chunks.values() for e in c.events]
