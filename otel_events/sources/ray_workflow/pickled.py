"""Type and message of a pickled plain exception, read off its opcodes: nothing is imported, called or built."""

from __future__ import annotations

import pickletools

LARGEST = 64 * 1024
"""Bytes of a pickle that are looked at; LARGEST and more is not read."""
STEPS = 64
"""Opcodes of it; a plain exception has some twenty."""

_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE"})
_SILENT = frozenset({"PROTO", "FRAME", "MEMOIZE"})
_TUPLES = frozenset({"EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})


def plain_exception(body: bytes) -> tuple[str, str]:
    """(class, message) of ``module.Class(text)`` and nothing else; ("", "") for any other pickle."""
    if len(body) > LARGEST:
        return "", ""
    steps: list[tuple[str, object]] = []
    try:
        for code, value, _ in pickletools.genops(body):
            if code.name not in _SILENT:
                steps.append((code.name, value))
            if len(steps) > STEPS:
                return "", ""
    except Exception:  # noqa: BLE001  # bytes of any kind: what pickletools says of bad ones has no common type
        return "", ""
    return _read(steps)


def _read(steps: list[tuple[str, object]]) -> tuple[str, str]:
    names = [name for name, _ in steps]
    if len(steps) < 6 or not set(names[:2]) <= _TEXTS or names[2] != "STACK_GLOBAL":
        return "", ""
    if names[-2:] != ["REDUCE", "STOP"] or names[-3] not in _TUPLES or not set(names[3:-3]) <= _TEXTS:
        return "", ""
    module, kind = str(steps[0][1]), str(steps[1][1])
    message = ", ".join(str(value) for _, value in steps[3:-3])
    return (kind if module == "builtins" else f"{module}.{kind}"), message
