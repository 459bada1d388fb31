"""kill -9 at any point: what was acknowledged is there, once, in order, and the journal goes on."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from otel_events.journal import Journal
from tests.journal.make import event

WRITER = """
import sys
from otel_events.journal import Closing, Journal
from tests.journal.make import event, key
journal = Journal.open(sys.argv[1], durability=sys.argv[2], max_bytes=8 << 20)
number = int(sys.argv[3])
while True:
    batch = [event(f"r{number % 7}-{n % 5}", number * 100 + n, size=300) for n in range(50)]
    commit = journal.append(batch + batch[:3], closings={key(f"r{number % 7}-0"): [Closing("a", "task", number)]})
    print(number, commit.seq, flush=True)
    number += 1
"""


@pytest.mark.parametrize(("durability", "rounds"), [("full", 10), ("normal", 3)])
def test_nothing_acknowledged_is_missing_or_double(tmp_path: Path, durability: str, rounds: int) -> None:
    path, rng = tmp_path / "a.journal", random.Random(durability)
    acknowledged: dict[int, int] = {}
    for _ in range(rounds):
        acknowledged |= killed_after(rng.randrange(40), path, durability, max(acknowledged, default=-1) + 1)
        with Journal.open(path) as journal:
            assert journal.opened.quarantined is None
            numbers = numbers_by_seq(journal)
            for number, seq in acknowledged.items():
                assert numbers[seq] == [number * 100 + n for n in range(50)]
            everything = [n for numbers in numbers.values() for n in numbers]
            assert len(everything) == len(set(everything)) == journal.stats().events
            assert journal.last_seq == max(numbers, default=0)
            # The batch that was under way is there whole or not at all; offered again, it is there once.
            again = max(acknowledged, default=-1) + 1
            offered = [event(f"r{again % 7}-{n % 5}", again * 100 + n, size=300) for n in range(50)]
            assert journal.append(offered).duplicates in (0, 50)
            acknowledged[again] = next(
                seq for seq, numbers in numbers_by_seq(journal).items() if again * 100 in numbers
            )


def killed_after(lines: int, path: Path, durability: str, start: int) -> dict[int, int]:
    """Start a writer, kill it after that many acknowledgements; {batch: seq} of all that it printed."""
    command = [sys.executable, "-c", WRITER, str(path), durability, str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        printed = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        printed += writer.stdout.readlines()
    return {int(number): int(seq) for number, seq in (line.split() for line in printed if line.endswith("\n"))}


def numbers_by_seq(journal: Journal) -> dict[int, list[int]]:
    return {
        seq: sorted(int(e.id.split(":")[1]) for chunk in chunks.values() for e in chunk.events)
        for seq, chunks in journal.commits(records=False)
    }
