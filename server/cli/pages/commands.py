"""docs/cli.md: every command with its arguments and flags, as click knows them."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator

import click

from server.cli.pages.text import table

__all__ = ["commands", "commands_page"]

_INTRODUCTION = """# Commands

Written by `python -m server.cli.pages` from the commands themselves; do not edit.
`klineserver COMMAND --help` shows the same. The API key of a server that asks for one is read from
`API_KEY`: it is never a flag, as other users of a machine see those. Flags that are
[settings](settings.md) win over the environment.
"""


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with what is typed for it."""
    context = click.Context(group)
    for name in group.commands or group.list_commands(context):  # as they were added
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        whole = f"{path} {name}"
        if isinstance(command, click.Group):
            yield from commands(command, whole)
        else:
            yield whole, command


def commands_page(group: click.Group) -> str:
    """The whole page."""
    found = list(commands(group, "klineserver"))
    rows = [
        (f"[`{whole}`](#{whole.replace(' ', '-')})", _first(command)) for whole, command in found
    ]
    parts = [_INTRODUCTION, table(("command", "what it does"), rows)]
    parts += [_section(whole, command) for whole, command in found]
    return "\n".join(parts)


def _first(command: click.Command) -> str:
    """The first sentence of its help."""
    return re.split(r"(?<=\.)\s", (command.help or "").strip())[0]


def _section(whole: str, command: click.Command) -> str:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    usage = " ".join([whole, *(["[FLAGS]"] if options else []), *map(_argument, arguments)])
    said = [_prose(paragraph) for paragraph in (command.help or "").split("\n\n")]
    part = f"## {whole}\n\n```text\n{usage}\n```\n\n" + "\n".join(said)
    if options:
        part += "\n" + table(("flag", "meaning"), map(_option, options))
    return part


def _prose(paragraph: str) -> str:
    """A paragraph of help; what click is told not to wrap stays as it is."""
    if paragraph.lstrip().startswith("\b"):
        return "```text\n" + inspect.cleandoc(paragraph.replace("\b", "").strip("\n")) + "\n```\n"
    return textwrap.fill(" ".join(paragraph.split()), 100) + "\n"


def _argument(argument: click.Argument) -> str:
    if argument.metavar is not None:  # as its help shows it
        return argument.metavar
    name = (argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> tuple[str, str]:
    names = "`, `".join([*option.opts, *option.secondary_opts])
    said = [option.help.rstrip(".") + "."] if option.help else []
    if isinstance(option.type, click.Choice):
        said.append("One of " + ", ".join(f"`{one}`" for one in option.type.choices) + ".")
    elif isinstance(option.type, click.IntRange | click.FloatRange):
        low, high = option.type.min, option.type.max
        said.append(f"At least {low:g}." if high is None else f"From {low:g} to {high:g}.")
    if option.required:
        elsewhere = f", here or as `{option.envvar}`" if option.show_envvar else ""
        said.append(f"Required{elsewhere}.")
    elif option.show_default and isinstance(option.default, str | int | float):
        said.append(f"Default `{option.default}`.")
    value = "" if option.is_flag else f" {(option.metavar or option.name or '').upper()}"
    return f"`{names}{value}`", " ".join(said)
