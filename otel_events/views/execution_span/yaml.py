"""Data -> YAML, of any depth: the bytes of ``yaml.dump(data, indent=2)`` without its recursion.

flytekit gets its plain scalars by replacing ``Emitter.process_tag`` for the whole process. Here nothing is replaced:
the data holds only dicts and scalars that need no tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

import yaml
from yaml.nodes import ScalarNode

Scalar = str | int | float


def dumped(data: Mapping[Any, Any]) -> str:
    """Block style, keys sorted, two spaces a level; keys and leaves are texts, integers and floats."""
    text: str = yaml.emit(_events(data), indent=2)
    return text


def _events(data: Mapping[Any, Any]) -> Iterator[yaml.Event]:
    dumper: Any = yaml.SafeDumper(StringIO())  # used only for its rules of scalars
    yield yaml.StreamStartEvent()
    yield yaml.DocumentStartEvent(explicit=False)
    yield _begin()
    todo: list[Iterator[tuple[Scalar, Any]]] = [_sorted(data)]
    while todo:
        pair = next(todo[-1], None)
        if pair is None:
            todo.pop()
            yield yaml.MappingEndEvent()
            continue
        key, value = pair
        yield _scalar(dumper, key)
        if isinstance(value, dict):
            yield _begin()
            todo.append(_sorted(value))
        else:
            yield _scalar(dumper, value)
    yield yaml.DocumentEndEvent(explicit=False)
    yield yaml.StreamEndEvent()


def _begin() -> yaml.Event:
    return yaml.MappingStartEvent(None, None, implicit=True, flow_style=False)


def _sorted(data: Mapping[Any, Any]) -> Iterator[tuple[Scalar, Any]]:
    return iter(sorted(data.items(), key=lambda pair: (isinstance(pair[0], str), pair[0])))


def _scalar(dumper: Any, value: Scalar) -> yaml.Event:
    node = dumper.represent_data(value)
    plain = dumper.resolve(ScalarNode, node.value, (True, False))
    quoted = dumper.resolve(ScalarNode, node.value, (False, True))
    return yaml.ScalarEvent(None, node.tag, (node.tag == plain, node.tag == quoted), node.value, style=node.style)
