"""The limit on nesting is the same on every Python, and exact."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.model.errors import DecodeError
from otel_events.model.nesting import LEVELS, shallow
from otel_events.sources import decoder, source_names

leaves = st.none() | st.integers() | st.text(alphabet='[]{}"\\ab\u00e4,:', max_size=8)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\k', max_size=4), inner, max_size=4),
    max_leaves=60,
)


def depth(document: Any) -> int:
    """Arrays and objects within each other, counted one by one."""
    if not isinstance(document, list | dict):
        return 0
    inner = document.values() if isinstance(document, dict) else document
    return 1 + max(map(depth, inner), default=0)


def wrapped(document: Any, times: int) -> Any:
    for number in range(times):
        document = [number, document, "]]"] if number % 2 else {'"[[': {"a": [1]}, "b": document}
    return document


@given(documents, st.integers(LEVELS - 12, LEVELS + 3), st.booleans())
def test_what_is_nested_too_deep_is_told_from_what_is_not(document: Any, times: int, ascii_only: bool) -> None:
    whole = wrapped(document, times)
    text = json.dumps(whole, ensure_ascii=ascii_only)
    if depth(whole) > LEVELS:
        with pytest.raises(msgspec.DecodeError, match=f"nested more than {LEVELS} levels deep"):
            shallow(text)
    else:
        assert shallow(text) is text
        assert shallow(text.encode()) == text.encode()


@given(st.text('[]{}"\\x', max_size=400).map(str.encode))
def test_what_is_no_json_is_left_to_its_decoder_or_refused(text: bytes) -> None:
    try:
        assert shallow(text) is text
    except msgspec.DecodeError:
        assert text.count(b"[") + text.count(b"{") > LEVELS


@pytest.mark.parametrize("levels", [LEVELS + 1, 5_000, 200_000])
@pytest.mark.parametrize("source", source_names())
def test_a_record_that_is_nested_too_deep_is_refused_by_every_source(source: str, levels: int) -> None:
    record = b'{"a":' * levels + b"1" + b"}" * levels
    with pytest.raises(DecodeError, match=f"nested more than {LEVELS} levels deep"):
        decoder(source)(record, "")
