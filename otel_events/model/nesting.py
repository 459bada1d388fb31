"""How deep a JSON document may be nested: the same limit on every Python, before anything is decoded.

The interpreter's own limit is none to rest on: 1,000 levels of C and Python together up to Python 3.11, some ten
thousand levels of C since 3.12, and what the stack holds since 3.14.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

Text = TypeVar("Text", bytes, str)

LEVELS = 100
"""Arrays and objects within each other: as protobuf has it for messages. Real records have less than ten."""

_BRACKETS = b"[]{}"
_REST = bytes(set(range(256)) - set(_BRACKETS))
_TOO_MANY = b"[" * (LEVELS + 1)
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")


def shallow(document: Text) -> Text:
    """``document`` itself, where it is not nested more than ``LEVELS`` deep; else msgspec.DecodeError.

    Whether it is JSON at all is for its decoder to say.

    >>> shallow(b'{"a": [1, 2]}')
    b'{"a": [1, 2]}'
    """
    text = _bytes(document)
    if text.count(b"[") + text.count(b"{") > LEVELS and _is_deep(text):
        raise msgspec.DecodeError(f"nested more than {LEVELS} levels deep")
    return document


def _bytes(document: bytes | str) -> bytes:
    return document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass")


def _is_deep(text: bytes) -> bool:
    """Take away the innermost pairs of brackets, level by level, until nothing is left: some operations in C on bytes
    that get fewer, in place of a look at each bracket."""
    parts = text.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    left = b"".join(parts[::2]).translate(_AS_SQUARE, _REST)  # brackets in strings are none
    for _ in range(LEVELS):
        if _TOO_MANY in left:
            return True
        left, before = left.replace(b"[]", b""), left
        if len(left) == len(before):  # nothing is left, or it is no JSON
            return False
    return b"[]" in left
