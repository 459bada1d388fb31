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
    arguments = "".join(f" {_argument(one)}" for one in command.params if one.param_type_name == "argument")
    rows = "".join(f"| {_name(one)} | {_help(one)} | {_default(one)} |\n" for one in command.params)
    usage = f"    otel-events {name}{arguments} [OPTIONS]\n"
    return f"## {name}\n\n{usage}\n{_prose(command.help)}\n| | | default |\n| --- | --- | --- |\n{rows}"


def _argument(one: Any) -> str:
    return f"{_label(one)}{'...' if one.nargs == -1 else ''}"


def _label(one: Any) -> str:
    return str(one.metavar or one.name).upper()


def _name(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{_argument(one)}`"
    takes = "" if one.is_flag else f" {one.metavar or one.type.name.upper()}"
    return f"`{', '.join(one.opts)}{takes}`"


def _help(one: Any) -> str:
    return str(one.help).replace("|", "\\|")


def _default(one: Any) -> str:
    return "required" if one.required else f"`{one.default}`" if one.default not in ("", None, False) else "-"


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
