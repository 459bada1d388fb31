"""What append keeps, in which order, and what it knows again: against a plain list as the model."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_events.journal import Closing, Journal, Reader
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent, Log, Run
from tests.journal.make import event, key, run

CLOSED = Closing("r1/a", "task", 1, outcome="succeeded")

Appends = list[tuple[list[tuple[str, int]], bool]]
BATCHES: st.SearchStrategy[Appends] = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["r1", "r2", "r3"]), st.integers(0, 6)), max_size=8),
        st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(batches=BATCHES, seen_limit=st.sampled_from([0, 10, 1000]))
def test_each_event_is_kept_once_in_the_order_it_came(
    tmp_path_factory: pytest.TempPathFactory, batches: Appends, seen_limit: int
) -> None:
    """Also when little is remembered and when the journal is opened again in between."""
    path = tmp_path_factory.mktemp("j") / "a.journal"
    model: dict[bytes, list[AnyEvent]] = defaultdict(list)
    commits: list[dict[bytes, list[AnyEvent]]] = []
    journal = Journal.open(path, durability="normal", seen_limit=seen_limit)
    for batch, reopen in batches:
        if reopen:
            journal.close()
            journal = Journal.open(path, durability="normal", seen_limit=seen_limit)
        events = [event(root, number) for root, number in batch]
        fresh: dict[bytes, list[AnyEvent]] = {}
        for entry in events:
            home = key(entry.run.root)
            if entry not in model[home] and entry not in fresh.get(home, []):
                fresh.setdefault(home, []).append(entry)
        new_roots = {home for home in fresh if not model[home]}
        commit = journal.append(events)
        assert commit.roots == fresh
        assert commit.fresh == new_roots
        assert commit.duplicates == len(events) - sum(map(len, fresh.values()))
        if fresh:
            commits.append(fresh)
            for home, some in fresh.items():
                model[home] += some
        assert commit.seq == journal.last_seq == len(commits)
    read = {row.key: [e for c in journal.root_chunks(row.key) for e in c.events] for row in journal.roots()}
    assert read == {home: some for home, some in model.items() if some}
    assert [{k: c.events for k, c in chunks.items()} for _, chunks in journal.commits()] == commits
    assert journal.stats().events == sum(map(len, model.values()))
    journal.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "a.journal") as opened:
        yield opened


def test_the_same_id_with_other_content_or_run_is_kept(journal: Journal) -> None:
    original = event()
    other_run = Log(id=original.id, time=original.time, run=run(name="other"), message=original.message)
    journal.append([original])
    assert journal.append([event(size=3), other_run, original]).duplicates == 1
    assert journal.stats().events == 3


def test_repeats_are_kept_where_asked_for_and_known_afterwards(journal: Journal) -> None:
    journal.append([event()], dedupe=False)
    assert journal.append([event(), event()], dedupe=False).duplicates == 0
    assert journal.append([event()]).duplicates == 1
    assert journal.stats().events == 3


def test_roots_that_are_not_in_memory_are_known_however_many_a_commit_names(tmp_path: Path) -> None:
    old, young = [[event(f"r{n}") for n in some] for some in (range(150), range(150, 300))]
    with Journal.open(tmp_path / "a.journal") as first:
        first.append(old)
    with Journal.open(tmp_path / "a.journal") as again:
        commit = again.append(old + young)
        assert (commit.duplicates, list(commit.roots)) == (150, [key(f"r{n}") for n in range(150, 300)])
        assert commit.fresh == set(commit.roots)
    with Journal.open(tmp_path / "a.journal") as last:
        assert last.append([event("r0"), event("r1", 1)], dedupe=False).fresh == frozenset()
        assert last.append([event("r1", 1), *old]).duplicates == 151


def test_equal_runs_share_one_row_of_a_chunk_and_others_do_not(journal: Journal) -> None:
    runs = [run(), run(name="other"), run(), run(name="other")]
    events: list[AnyEvent] = [Log(id=str(n), time=n, run=run, message="") for n, run in enumerate(runs)]
    journal.append(events)
    (chunk,) = journal.root_chunks(key())
    assert chunk.events == events
    assert len({id(entry.run) for entry in chunk.events}) == 2


def test_a_closing_of_a_name_that_cannot_be_kept_comes_back_as_its_run_does(journal: Journal) -> None:
    journal.append([event()])
    journal.append([event("r1", 1)], closings={key("r1"): [Closing("\ud800", "task", 1)]})
    assert [c.closings for c in journal.root_chunks(key("r1"))] == [[], [Closing("?", "task", 1)]]


def test_nothing_new_makes_no_transaction(journal: Journal) -> None:
    journal.append([event()])
    before = (journal.path.with_name("a.journal-wal")).stat().st_size
    commit = journal.append([event()])
    assert (commit.seq, commit.roots, commit.duplicates) == (1, {}, 1)
    assert journal.path.with_name("a.journal-wal").stat().st_size == before


def test_records_are_kept_beside_the_events_they_became(journal: Journal) -> None:
    journal.append([event("r1", 1), event("r2", 1), event("r1", 1), event("r1", 2)], [b"a", b"b", b"a", None])
    (chunk,) = journal.root_chunks(key("r1"))
    assert list(zip([e.id for e in chunk.events], chunk.records, strict=True)) == [("r1:1", b"a"), ("r1:2", None)]
    (bare,) = journal.root_chunks(key("r1"), records=False)
    assert (bare.events, bare.records) == (chunk.events, [None, None])


def test_as_many_records_as_events_or_none(journal: Journal) -> None:
    with pytest.raises(ValueError, match="0 records of 1 events"):
        journal.append([event()], [])
    assert journal.append([event()]).seq == 1


def test_closings_are_part_of_the_ledger(journal: Journal) -> None:
    journal.append([event()])
    commit = journal.append([event("r2")], closings={key("r1"): [CLOSED], key("unknown"): [CLOSED]})
    assert set(commit.roots) == {key("r2")}
    first, second = journal.root_chunks(key("r1"))
    assert (first.seq, first.closings, second.seq, second.events, second.closings) == (1, [], 2, [], [CLOSED])
    assert [row.last_seq for row in journal.roots() if row.key == key("r1")] == [2]


def test_a_root_is_open_until_done_and_again_with_a_new_event(journal: Journal) -> None:
    def open_roots() -> tuple[int, list[bytes]]:
        return journal.stats().open_roots, [row.key for row in journal.roots(open_only=True)]

    journal.append([event("r1"), event("r2")])
    assert open_roots() == (2, sorted([key("r1"), key("r2")]))
    seq = journal.append([], done=[key("r1"), key("r2"), key("unknown")]).seq
    assert (seq, open_roots()) == (1, (0, []))
    journal.append([event("r2", 1)], done=[key("r2")])
    assert open_roots() == (1, [key("r2")])


def test_a_root_row_sums_up_its_events(journal: Journal, tmp_path: Path) -> None:
    clock = iter([50, 60])
    with Journal.open(tmp_path / "b.journal", clock=lambda: next(clock)) as other:
        other.append([event("r1", 5), event("r1", 9)])
        other.append([event("r1", 2)])
        (row,) = other.roots()
        assert (row.source, row.namespace, row.root, row.open) == ("events", "prod", "r1", True)
        assert (row.first_time, row.last_time, row.events, row.written) == (1_002, 1_009, 3, 60)


def test_what_cannot_be_kept_as_it_is_comes_back_as_it_is_read(journal: Journal) -> None:
    odd = Log(
        id="\ud800", time=2**70, run=run("r\udfff"), message="\ud83d", attributes={"big": 2**64, "nan": float("inf")}
    )
    commit = journal.append([odd, event("r\udfff")])
    (chunk,) = journal.root_chunks(next(iter(commit.roots)))
    assert list(commit.roots.values()) == [chunk.events]
    first = chunk.events[0]
    assert isinstance(first, Log)
    assert (first.id, first.run.root, first.message, first.attributes["big"]) == ("?", "r?", "?", str(2**64))
    assert journal.append([odd]).duplicates == 1
    assert [row.root for row in journal.find_roots("r\udfff")] == ["r?"]


def test_a_flyte_root_of_four_parts_with_a_lone_surrogate_finds_its_key(journal: Journal) -> None:
    original = Log(id="1", time=1, run=Run("flyte", "workflow", "a", "w", "o/p/d/\ud800"), message="")
    assert journal.append([original]).duplicates == 0
    assert journal.append([original]).duplicates == 1


def test_namespaces_that_share_a_key_are_kept_apart(journal: Journal) -> None:
    """The trace id of a Flyte 2 root holds no namespace."""
    runs = [Run("flyte", "workflow", "a", "w", "o/p/d/n", namespace=namespace) for namespace in ("x", "y", "")]
    events: list[AnyEvent] = [Log(id="1", time=1, run=run, message="") for run in runs]
    assert len(journal.append(events).roots) == 1
    assert [e for _, chunks in journal.commits() for c in chunks.values() for e in c.events] == events


def test_cursors_are_read_at_once_and_on_disk_with_the_next_commit(journal: Journal) -> None:
    journal.set("offset", b"7")
    journal.sent_seq = 3
    journal.set_snapshot(2, b"counters")
    reader = Journal.reader(journal.path)
    with reader:
        _cursors(journal, reader)


def _cursors(journal: Journal, reader: Reader) -> None:
    assert (journal.get("offset"), journal.sent_seq, journal.snapshot) == (b"7", 3, (2, b"counters"))
    assert (reader.get("offset"), reader.sent_seq, reader.snapshot) == (None, 0, None)
    journal.append([event()])
    assert (reader.get("offset"), reader.sent_seq, reader.snapshot) == (b"7", 3, (2, b"counters"))
    journal.set("offset", b"8")
    journal.checkpoint()
    assert reader.get("offset") == b"8"


def test_closed_refuses_and_close_may_come_twice(journal: Journal) -> None:
    journal.set("offset", b"1")
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed; open it again"):
        journal.append([event()])
    with Journal.open(journal.path) as again:
        assert again.get("offset") == b"1"


def test_a_forked_child_is_refused_and_takes_no_lock_along(journal: Journal) -> None:
    journal.append([event()])
    pid = os.fork()
    if pid == 0:
        try:
            journal.append([event("r2")])
        except JournalError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    journal.close()
    with Journal.open(journal.path) as again:
        assert again.stats().events == 1


def test_a_writer_may_move_to_another_thread(journal: Journal) -> None:
    mover = threading.Thread(target=journal.append, args=([event()],))
    mover.start()
    mover.join()
    assert journal.append([event()]).duplicates == 1


def test_a_temporary_journal_goes_with_close(tmp_path: Path) -> None:
    journal = Journal.temporary(tmp_path)
    journal.append([event()])
    assert [c.events for c in journal.root_chunks(key())] == [[event()]]
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_marks_are_held_within_the_limit(tmp_path: Path) -> None:
    """Memory is bounded: 30,000 events of many roots, 2,000 remembered; repeats are known all the same."""
    with Journal.temporary(tmp_path, seen_limit=2_000) as journal:
        journal.append([event("warm")])
        tracemalloc.start()
        for batch in range(15):
            journal.append([event(f"r{batch}-{n % 20}", n) for n in range(2_000)])
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert journal.append([event(f"r3-{n % 20}", n) for n in range(2_000)]).duplicates == 2_000
    assert grown < 2_500_000
