"""What goes: deletion hides at once and frees in steps, retention counts what it drops, kill -9 loses nothing added."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from otel_events.clearml_server.store import LOG, PLOT, SCALAR, Keeper, Limits, Owner, SqliteStore
from otel_events.clearml_server.store.sweep import STEP
from otel_events.model.errors import StoreError
from tests.clearml_server.store.naive import NOW, TASK
from tests.patience import PATIENCE


def points(task: str, count: int, **more: object) -> list[dict[str, Any]]:
    return [
        {"type": SCALAR, "task": task, "metric": "m", "variant": "v", "iter": n, "value": n, "timestamp": NOW} | more
        for n in range(count)
    ]


def counts(store: SqliteStore, *tasks: str) -> list[int]:
    return [sum(s.events for s in store.events.series([Owner(task)])) for task in tasks]


def test_deleting_hides_at_once_and_frees_in_steps(store: SqliteStore) -> None:
    report = {"type": PLOT, "task": "t", "metric": "p", "variant": "v", "iter": 1, "plot_str": "{}"}
    lines = [{"type": LOG, "task": "t", "msg": "x"}] * 10
    empty = store.bytes()
    store.events.add([*points("t", 3 * STEP), report, *lines, *points("u", 5)], worker="w", now_ms=NOW)
    assert store.events.delete(TASK) == 3 * STEP + 11
    assert counts(store, "t", "u") == [0, 5]
    assert store.events.delete(TASK) == 0
    store.events.add(points("t", 2), worker="w", now_ms=NOW)
    steps = 1
    while store.retention.collect():
        steps += 1
    assert steps >= 3
    assert counts(store, "t", "u") == [2, 5]
    assert store.bytes() == empty
    assert store.retention.removed_total() == {"deleted": 3 * STEP + 11}


def test_the_summary_stays_where_it_is_asked_to(store: SqliteStore) -> None:
    store.events.add(points("t", 3), worker="w", now_ms=NOW)
    before = store.events.summary(TASK)
    store.events.delete(TASK, keep_summary=True)
    after = store.events.summary(TASK)
    assert (after.last_metrics, after.last_iteration) == (before.last_metrics, 2)
    assert store.events.series([TASK]) == []
    assert after.metric_stats == {}
    store.events.add(points("t", 1), worker="w", now_ms=NOW)
    [entry] = (variant for metric in store.events.summary(TASK).last_metrics.values() for variant in metric.values())
    assert (entry["count"], entry["max_value"]) == (4, 2)
    store.events.delete(TASK)
    assert store.events.summary(TASK).last_metrics == {}


def test_lines_are_cleared_by_time_and_metric(store: SqliteStore) -> None:
    lines = [
        {"type": LOG, "task": "t", "msg": str(n), "timestamp": NOW + n, "metric": "even" if n % 2 == 0 else "odd"}
        for n in range(10)
    ]
    store.events.add(lines + points("t", 2), worker="w", now_ms=NOW)
    assert store.retention.clear_log(TASK, before_ms=NOW + 4, include=("even",)) == 2
    assert store.retention.clear_log(TASK, before_ms=NOW + 4, exclude=("even",)) == 2
    page, _ = store.events.log(TASK, descending=False)
    assert [line["msg"] for line in page.events] == list("456789")
    assert page.total == 6
    assert store.retention.clear_log(TASK) == 6
    assert store.retention.clear_log(TASK) == 0
    assert counts(store, "t") == [2]
    assert store.retention.removed_total() == {"log_cleared": 10}


def test_retention_by_age_is_counted_from_the_last_event(store: SqliteStore) -> None:
    for number, task in enumerate(("old", "older-but-written", "new")):
        store.events.add(points(task, 4), worker="w", now_ms=NOW + number * 1000)
    store.events.add(points("older-but-written", 1), worker="w", now_ms=NOW + 5000)
    limits = Limits(max_age_ms=2500)
    removed = store.retention.retain(limits, NOW + 4000)
    assert (removed.owners, removed.events) == ([Owner("old")], {"age": 4})
    assert not store.retention.retain(limits, NOW + 4000).owners
    assert store.retention.retain(limits, NOW + 5000).owners == [Owner("new")]
    assert counts(store, "old", "older-but-written", "new") == [0, 4, 0]
    assert store.retention.removed_total() == {"age": 8}


def test_retention_by_bytes_lets_the_least_recently_written_go_and_keeps_the_last(store: SqliteStore) -> None:
    for number, task in enumerate("abcd"):
        store.events.add(points(task, 3_000), worker="w", now_ms=NOW + number)
    limits = Limits(max_bytes=store.bytes() * 3 // 4)
    keeper = Keeper(store.retention, limits, now_ms=lambda: NOW + 10)
    while keeper.step():
        pass
    assert counts(store, "a", "b", "c", "d") == [0, 0, 3_000, 3_000]
    assert store.bytes() <= limits.max_bytes  # type: ignore[operator]  # set two lines above
    assert store.retention.removed_total() == {"bytes": 6_000}
    tiny = Keeper(store.retention, Limits(max_bytes=1), now_ms=lambda: NOW + 10)
    while tiny.step():
        pass
    assert counts(store, "c", "d") == [0, 3_000]


def test_a_keeper_works_by_itself_and_stops(store: SqliteStore) -> None:
    store.events.add(points("t", 2 * STEP), worker="w", now_ms=NOW)
    store.events.delete(TASK)
    freed = threading.Event()

    class Seen:
        def collect(self) -> bool:
            more = store.retention.collect()
            if not more:
                freed.set()
            return more

        def __getattr__(self, name: str) -> Any:
            return getattr(store.retention, name)

    keeper = Keeper(Seen(), Limits())
    keeper.start()
    assert freed.wait(PATIENCE)
    keeper.stop()
    assert not store.retention.collect()


def test_the_file_has_a_limit_and_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db", max_bytes=600_000)
    batches = (store.events.add(points(f"t{batch}", 1_000), worker="w", now_ms=NOW) for batch in range(1000))
    with pytest.raises(StoreError, match="nothing of this batch was kept"):
        list(batches)
    stored = counts(store, *(f"t{n}" for n in range(1000)))
    assert set(stored) == {0, 1000}
    keeper = Keeper(store.retention, Limits(max_bytes=100_000), now_ms=lambda: NOW)
    while keeper.step():
        pass
    assert store.events.add(points("again", 1_000), worker="w", now_ms=NOW).added == 1_000
    store.close()


def test_a_reader_in_the_middle_of_a_read_does_not_hold_up_the_writer(store: SqliteStore) -> None:
    store.events.add(points("t", 10), worker="w", now_ms=NOW)
    series = store.events.series([TASK])
    with store._database.reading() as db:
        rows = db.execute("SELECT iter FROM point")
        rows.fetchone()
        writer = threading.Thread(
            target=store.events.add, args=(points("t", 20),), kwargs={"worker": "w", "now_ms": NOW}
        )
        writer.start()
        writer.join(PATIENCE)
        assert not writer.is_alive()
        assert len(rows.fetchall()) == 9, "what one read sees is of one moment"
    assert len(store.events.page(series, limit=100).events) == 20


def test_many_threads_write_and_read(store: SqliteStore) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(10):
                store.events.add(points(name, 20), worker="w", now_ms=NOW)
                store.events.page(store.events.series([Owner(name)]), limit=5)
                store.events.delete(Owner(name))
                store.retention.collect()
            store.events.add(points(name, 20), worker="w", now_ms=NOW)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test tells it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not failures
    assert counts(store, *"abcd") == [20] * 4


def test_one_writer_for_one_file(tmp_path: Path, store: SqliteStore) -> None:
    with pytest.raises(StoreError, match="is locked"):
        SqliteStore(store.path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.events.add(points("t", 1), worker="w", now_ms=NOW)
    SqliteStore(store.path).close()


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="the file is not a store; name another file"):
        SqliteStore(tmp_path / "s.db")


_WRITER = """
import sys
from pathlib import Path
from otel_events.clearml_server.store import SqliteStore
from tests.clearml_server.store.test_keeping import points
store = SqliteStore(Path(sys.argv[1]))
for batch in range(10_000):
    store.events.add(points(f"t{batch}", 50), worker="w", now_ms=batch)
    print(batch, flush=True)
"""


def test_kill_9_loses_nothing_that_was_added_and_leaves_no_half_batch(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        last_added = -1
        for line in process.stdout:
            last_added = int(line)
            if last_added == 12:
                process.kill()
    store = SqliteStore(path)
    stored = counts(store, *(f"t{n}" for n in range(last_added + 2)))
    assert stored[: last_added + 1] == [50] * (last_added + 1)
    assert stored[last_added + 1] in (0, 50)
    store.close()


def test_documents(store: SqliteStore) -> None:
    store.documents.put("task", "b", {"id": "b", "project": "p", "n": 1})
    store.documents.put("task", "a", {"id": "a", "project": "p", "n": None})
    store.documents.put("model", "a", {"id": "a"})
    store.documents.put("task", "b", {"id": "b", "project": "q", "n": 2})
    assert store.documents.get("task", "b") == {"id": "b", "project": "q", "n": 2}
    assert store.documents.get("task", "zz") is None
    assert [document["id"] for document in store.documents.find("task")] == ["b", "a"]
    assert [document["id"] for document in store.documents.find("task", where={"project": "p"})] == ["a"]
    assert [document["id"] for document in store.documents.find("task", where={"n": None})] == ["a"]
    assert store.documents.find("task", ids=["a", "zz"], where={"project": "q"}) == []
    assert store.documents.change("task", "b", lambda task: task | {"n": task["n"] + 1}) == {
        "id": "b",
        "project": "q",
        "n": 3,
    }
    assert store.documents.change("task", "b", lambda task: None) is None
    assert store.documents.change("task", "zz", lambda task: task) is None
    assert store.documents.remove("task", "b")
    assert not store.documents.remove("task", "b")
    assert store.documents.find("task", ids=["b"]) == []
