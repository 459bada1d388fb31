"""Tables of attributes compiled to bytes: rows that a key determines are encoded once, the others fill slots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic

from otel_events.core.attributes import Scope, Subject, Table
from otel_events.model.event import Scalar
from otel_events.otlp.wire import ATTRIBUTES, Fields

Template = list[bytes]
"""The attributes of a table in order: those that a key determines, with b"" in the slots between them."""

_Attribute = tuple[Mapping[str, Fields], str, Callable[[Subject], Scalar | None]]
"""(fields by name, name, value): ``fields[name][value(subject)]`` is the attribute as a field of its message."""
_Slot = tuple[int, Mapping[str, Fields], str, Callable[[Subject], Scalar | None]]
"""(place in the template, fields by name, name, value)."""


class CompiledTable(Generic[Subject]):
    """A table for what is usual: rows whose scope is ``unusual`` are left out."""

    __slots__ = ("_all", "_groups", "_slots", "is_constant")

    def __init__(self, table: Table[Subject], tag: int, constant: Scope | None = None) -> None:
        """Compile a table.

        Args:
            table: The rows.
            tag: Tag of the message that the attributes are of, a key of ``wire.ATTRIBUTES``.
            constant: The scope whose values are determined by the key under which the caller keeps a template.
        """
        groups: list[list[_Attribute[Subject]]] = [[]]
        slots: list[_Slot[Subject]] = []
        usual = [(row, ATTRIBUTES[tag][row.type]) for row in table.rows if row.scope != "unusual"]
        for row, fields in usual:
            if row.scope == constant:
                groups[-1].append((fields, row.name, row.value))
            else:
                slots.append((2 * len(groups) - 1, fields, row.name, row.value))
                groups.append([])
        self._all = tuple((fields, row.name, row.value) for row, fields in usual)
        self._groups, self._slots = groups, tuple(slots)
        self.is_constant = not slots
        """Whether the caller's key determines the values of all rows."""

    def template(self, subject: Subject) -> Template:
        """The template of all subjects that share this one's values of the constant rows."""
        return [part for group in self._groups for part in (_encoded(group, subject), b"")]

    def fill(self, template: Template, subject: Subject) -> Template:
        """A copy of the template with the slots of this subject filled."""
        parts = template.copy()
        for place, fields, name, value in self._slots:
            scalar = value(subject)
            if scalar is not None:
                parts[place] = fields[name][scalar]
        return parts

    def encode(self, subject: Subject) -> bytes:
        """All attributes of one subject."""
        return _encoded(self._all, subject)


def _encoded(attributes: Iterable[_Attribute[Subject]], subject: Subject) -> bytes:
    parts = []
    for fields, name, value in attributes:
        scalar = value(subject)
        if scalar is not None:
            parts.append(fields[name][scalar])
    return b"".join(parts)
