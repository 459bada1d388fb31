"""Ids follow from natural keys alone, and foreign contexts are read as W3C says."""

from __future__ import annotations

import subprocess
import sys
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_events.model import identity
from otel_events.model.identity import digest, is_sampled, parse_traceparent, span_id, trace_id, traceparent
from otel_events.sources.flyte import own_trace_id
from tests.strategies import words

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))


def test_ids_are_the_digests_that_the_design_names() -> None:
    assert trace_id("ray", "ns", "root") == blake2b(b"ray\0ns\0root", digest_size=16).digest()
    assert span_id("ray", "ns", "run", 2, "task") == blake2b(b"ray\0ns\0run\x002\0task", digest_size=8).digest()


def test_ids_are_the_same_for_ever() -> None:
    # Reckoned with coreutils: printf 'prefect\000\000\060\061a1fb7b' | b2sum -l 128
    assert trace_id("prefect", "", "01a1fb7b").hex() == "97b52c385db988100ce2156477e7a86c"
    assert span_id("flyte", "p/d", "p/d/x/n0/t", 1, "task").hex() == "5811b39e62187e7b"


def test_another_process_finds_the_same_ids() -> None:
    code = (
        "from otel_events.model.identity import *; "
        "print(trace_id('a', 'b', 'c').hex(), span_id('a', 'b', 'c', 1, 'd').hex())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed == [trace_id("a", "b", "c").hex(), span_id("a", "b", "c", 1, "d").hex()]


@given(words, words, words, st.integers(1, 9), st.sampled_from(["workflow", "node", "task"]))
@example("s", "", "\ud800", 1, "task")
def test_each_part_of_the_key_counts(source: str, namespace: str, run: str, attempt: int, kind: str) -> None:
    own = span_id(source, namespace, run, attempt, kind)
    others = {
        span_id(source + "x", namespace, run, attempt, kind),
        span_id(source, namespace + "x", run, attempt, kind),
        span_id(source, namespace, run + "x", attempt, kind),
        span_id(source, namespace, run, attempt + 1, kind),
        span_id(source, namespace, run, attempt, kind + "x"),
    }
    assert len(others) == 5
    assert own not in others
    assert len({trace_id(source, namespace, run), trace_id(source + "x", namespace, run)}) == 2


def test_different_lone_surrogates_are_different_runs() -> None:
    assert trace_id("s", "", "\ud800") != trace_id("s", "", "\ud801") != trace_id("s", "", "?")
    assert len(digest(("o", "p", "d", "\ud800"), b"person")) == 16


def test_a_zero_digest_becomes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zero:
        def __init__(self, _: bytes, digest_size: int, **more: Any) -> None:
            self.size = digest_size

        def digest(self) -> bytes:
            return bytes(self.size)

    monkeypatch.setattr(identity, "blake2b", Zero)
    # Past the caches: nothing of this test may stay in them.
    assert trace_id.__wrapped__("zero", "", "") == bytes(15) + b"\1"
    assert span_id.__wrapped__("zero", "", "", 1, "") == bytes(7) + b"\1"
    assert digest(("zero", "", "", "")) == bytes(15) + b"\1"


def test_a_flyte_2_root_has_the_id_of_its_own_sdk() -> None:
    own = blake2b(b"org\0proj\0dev\0run1", digest_size=16, person=b"flyte.otel.run.v").digest()
    assert own_trace_id("org/proj/dev/run1") == own
    assert own_trace_id("p/d/x") is None
    assert trace_id("flyte", "proj/dev", "org/proj/dev/run1") == own
    assert trace_id("flyte", "p/d", "p/d/x") == blake2b(b"flyte\0p/d\0p/d/x", digest_size=16).digest()
    assert trace_id("ray", "", "a/b/c/d") == blake2b(b"ray\0\0a/b/c/d", digest_size=16).digest()


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_a_traceparent_reads_back(trace: bytes, span: bytes, sampled: bool) -> None:
    text = traceparent(trace, span, sampled)
    valid = any(trace) and any(span)
    assert parse_traceparent(text) == ((trace, span) if valid else None)
    assert is_sampled(text) is sampled


GOOD = traceparent(TRACE, SPAN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GOOD[:-3],
        "ff" + GOOD[2:],
        "0g" + GOOD[2:],
        GOOD + "-more",
        GOOD[:-2] + "zz",
        GOOD.upper(),
        GOOD.replace("0102", "01 2", 1),
        "00-" + "0" * 32 + GOOD[35:],
        GOOD[:36] + "0" * 16 + "-01",
        "00-" + "0\u0661" * 16 + GOOD[35:],
    ],
)
def test_what_is_no_traceparent_is_none(text: str) -> None:
    assert parse_traceparent(text) is None


def test_a_later_version_may_say_more() -> None:
    assert parse_traceparent("cc" + GOOD[2:] + "-what-the-future-brings") == (TRACE, SPAN)
    assert parse_traceparent(f" {GOOD}\n") == (TRACE, SPAN)
    assert is_sampled(GOOD)
    assert is_sampled(GOOD[:-2] + "03")
    assert not is_sampled(GOOD[:-2] + "02")
