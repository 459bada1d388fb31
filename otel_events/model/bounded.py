"""A dict that serves as a cache with a limit."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(table: dict[K, V], key: K, value: V, limit: int) -> V:
    """Put an entry into a cache, which is emptied first when it is full.

    Emptying costs less than keeping an order of use on each look-up, and the entries in use are back at once. Safe from
    several threads: at worst an entry is computed again.

    Args:
        table: The cache.
        key: Key of the entry.
        value: Value of the entry.
        limit: Entries at which the cache counts as full.

    Returns:
        The value.

    >>> cache = {"a": 1, "b": 2}
    >>> remember(cache, "c", 3, limit=2), cache
    (3, {'c': 3})
    """
    if len(table) >= limit:
        table.clear()
    table[key] = value
    return value
