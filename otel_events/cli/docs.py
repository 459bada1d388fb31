"""The page docs/cli.md: every command as its ``--help`` has it, from the same objects."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any


def cli_docs(top: Any) -> str:
    """The page, in Markdown, of a group of commands (what ``typer.main.get_command`` gives)."""
    parts = [f"# Command line\n\n{_prose(top.help)}"]
    parts += [_command(name, command) for name, command in top.commands.items()]
    return "\n".join(parts)


def _command(name: str, command: Any) -> str:
    positional = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    arguments = "".join(f" {_argument(parameter)}" for parameter in positional)
    cells = ((_name(parameter), _help(parameter), _default(parameter)) for parameter in command.params)
    rows = "".join(f"| {' | '.join(row)} |\n" for row in cells)
    usage = f"    otel-events {name}{arguments} [OPTIONS]\n"
    return f"## {name}\n\n{usage}\n{_prose(command.help)}\n| | | default |\n| --- | --- | --- |\n{rows}"


def _argument(parameter: Any) -> str:
    return f"{_label(parameter)}{'...' if parameter.nargs == -1 else ''}"


def _label(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name).upper()


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    takes = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.upper()}"
    return f"`{', '.join(parameter.opts)}{takes}`"


def _help(parameter: Any) -> str:
    return str(parameter.help).replace("|", "\\|")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return f"`{parameter.default}`" if parameter.default not in ("", None, False) else "-"


def _prose(text: str) -> str:
    """Help text as Markdown: what is indented is shell."""
    return "\n".join(_blocks(cleandoc(text).split("\n\n")))


def _blocks(blocks: list[str]) -> Iterator[str]:
    for block in blocks:
        if block.startswith("    "):
            lines = (line.removeprefix("    ") for line in block.split("\n"))
            yield "```sh\n" + "\n".join(lines) + "\n```\n"
        else:
            yield block + "\n"
