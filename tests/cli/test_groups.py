"""Options in groups: the fields of a Struct are options, in their place."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from otel_events.cli.groups import grouped


class Shape(msgspec.Struct, frozen=True):
    width: Annotated[int, typer.Option("--width", min=1, help="How wide.")] = 2
    names: Annotated[list[str] | None, typer.Option("--name", help="Repeatable.")] = None


seen: list[tuple[str, Shape, bool]] = []


@grouped
def draw(
    title: Annotated[str, typer.Option(help="A title.")] = "none",
    shape: Shape = Shape(),  # noqa: B008 - immutable
    fast: Annotated[bool, typer.Option("--fast")] = False,
) -> None:
    """Draw."""
    seen.append((title, shape, fast))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], ("none", Shape(), False)),
        (["--width", "5", "--fast"], ("none", Shape(5), True)),
        (["--name", "a", "--name", "b", "--title", "t"], ("t", Shape(2, ["a", "b"]), False)),
    ],
)
def test_fields_are_options(arguments: list[str], wanted: tuple[str, Shape, bool]) -> None:
    seen.clear()
    app = typer.Typer()
    app.command()(draw)
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    assert seen == [wanted]


def test_bounds_and_help_are_those_of_the_fields() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(draw)
    assert "--width" in CliRunner().invoke(app, ["--width", "0"]).output
    params = typer.main.get_command(app).params
    assert [one.opts[0] for one in params] == ["--title", "--width", "--name", "--fast"]
    assert draw.__name__ == "draw"
