"""``pgwitness docs``, hidden: the reference pages docs/cli.md and docs/settings.md, made from the code
itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum, StrEnum
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from typer.models import ArgumentInfo

if TYPE_CHECKING:
    from pydantic import BaseModel


class Page(StrEnum):
    cli = "cli"
    settings = "settings"


def register(parent: typer.Typer) -> None:
    parent.command("docs", hidden=True)(docs)


def docs(page: Annotated[Page, typer.Argument(help="Which page.")]) -> None:
    """Print a reference page in Markdown.

    Example: pgwitness docs settings > docs/settings.md
    """
    typer.echo(cli_page() if page is Page.cli else settings_page(), nl=False)


def cli_page() -> str:
    """docs/cli.md. Made from the signatures, so that it does not change with the version of Typer."""
    from pgwitness.cli import COMMANDS, build

    root = build()
    groups = {str(group.name): group for group in root.registered_groups}
    commands = {str(command.name): command for command in root.registered_commands}
    parts = [
        "# Commands",
        "Made by `pgwitness docs cli` from the commands themselves.",
        _text(root.info.help),
    ]
    if root.registered_callback is not None:
        parts += _parameters("pgwitness", root.registered_callback.callback, "COMMAND")
    for name in COMMANDS:
        if name in groups:
            inner = groups[name].typer_instance
            assert inner is not None
            own = inner.registered_callback.callback if inner.registered_callback else None
            parts += [f"## pgwitness {name}", _text(inner.info.help or getattr(own, "__doc__", None))]
            if own is not None:  # a group that is a command too
                parts += _parameters(f"pgwitness {name}", own, "[COMMAND]")
            for command in inner.registered_commands:
                parts += [f"### pgwitness {name} {command.name}", *_command(f"pgwitness {name}", command)]
        elif name in commands and not commands[name].hidden:
            parts += [f"## pgwitness {name}", *_command("pgwitness", commands[name])]
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """docs/settings.md."""
    from pgwitness.config import Settings

    return "\n\n".join([_SETTINGS_HEAD, *_section(Settings, ""), _SETTINGS_FOOT]) + "\n"


_SETTINGS_HEAD = """# Settings

Made by `pgwitness docs settings` from `pgwitness/config/`.

The first that says something wins: an option of the command, the environment variable, the TOML file of
`--config` or `PGWITNESS_CONFIG`, the default. A name in the file that is not listed here is an error.

```toml
port = 6432

[tape]
durability = "disk"
```"""
_SETTINGS_FOOT = """## Other variables of the environment

| variable | meaning |
|---|---|
| `PGWITNESS_CONFIG` | the TOML file, where `--config` does not name one |
| `PGWITNESS_URL` | where commands find the API of a gateway on another machine |
| `PGWITNESS_TOKEN` | a token for it, of role own, auditor, operator or admin |
| `PGWITNESS_DEBUG` | `1`: commands show where an error came from |"""


def _command(path: str, command: Any) -> Iterator[str]:
    yield _text(command.help or command.callback.__doc__)
    yield from _parameters(f"{path} {command.name}", command.callback)


def _parameters(path: str, function: Any, rest: str = "") -> Iterator[str]:
    arguments: list[str] = []
    rows: list[str] = []
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if hints[name] is typer.Context:
            continue
        kind, info = get_args(hints[name])
        default = parameter.default
        if isinstance(info, ArgumentInfo):
            label = info.metavar or name.upper()
            arguments.append(label if default is parameter.empty else f"[{label}]")
            rows.insert(len(arguments) - 1, f"| `{label}` | {_cell(info.help)} |")
        elif not info.hidden:
            rows.append(
                f"| {_flags(name, kind, info)} | {_cell(info.help)}{_variable(info)}{_default(default)} |"
            )
    usage = " ".join([path, "[OPTIONS]", *arguments, rest]).strip()
    yield f"```\n{usage}\n```"
    if rows:
        yield "\n".join(["| | |", "|---|---|", *rows])


def _flags(name: str, kind: Any, info: Any) -> str:
    first = [info.default] if isinstance(info.default, str) and info.default.startswith("-") else []
    declared = [*first, *(info.param_decls or ())] or [f"--{name.replace('_', '-')}"]
    flags = ", ".join(f"`{flag}`" for flag in declared)
    plain: Any = next(each for each in get_args(kind) or [kind] if each is not NoneType)
    if plain is bool:
        return flags
    if info.metavar:
        return f"{flags} {_cell(info.metavar)}"
    if issubclass(plain, Enum):
        return f"{flags} {_cell('|'.join(str(each.value) for each in plain))}"
    return f"{flags} {_VALUES.get(plain, 'TEXT')}"


_VALUES = {int: "N", float: "N", Path: "PATH"}


def _variable(info: Any) -> str:
    return f" Or `{info.envvar}`." if info.envvar else ""


def _default(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return " Required."
    value = getattr(default, "value", default)
    return "" if value in (None, "", False) else f" Default `{value}`."


def _text(help: Any) -> str:
    """A docstring as paragraphs, examples as code."""
    paragraphs = [" ".join(each.split()) for each in inspect.cleandoc(help or "").split("\n\n")]
    return "\n\n".join(
        f"Example: `{each.removeprefix('Example: ')}`" if each.startswith("Example: ") else each
        for each in paragraphs
    )


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _section(model: type[BaseModel], prefix: str) -> Iterator[str]:
    from pydantic import BaseModel

    rows = ["| setting | variable | default | meaning |", "|---|---|---|---|"]
    inner: list[tuple[str, str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            inner.append((name, name, type(field.default)))
            continue
        kinds = _tables(field.annotation)
        inner += [(f"{name}.NAME, kind {kind}", f"{name}.NAME", table) for kind, table in kinds]
        if kinds:
            continue
        if field.is_required() and name == "kind":
            continue  # it is in the title
        full = f"{prefix}{name}"
        variable = "PGWITNESS_" + full.upper().replace(".", "__")
        default = "" if field.default is None else f"`{field.default}`"
        if field.is_required():
            default = "required"
        rows.append(f"| `{full}` | `{variable}` | {default} | {_cell(field.description)} |")
    yield "\n".join(rows)
    for title, name, section in inner:
        yield f"## {title}"
        yield inspect.cleandoc(section.__doc__ or "")
        yield from _section(section, f"{prefix}{name}.")


def _tables(annotation: Any) -> list[tuple[str, type[BaseModel]]]:
    """Where a setting is any number of tables by name, told apart by ``kind``: each kind."""
    from pydantic import BaseModel

    found: list[tuple[str, type[BaseModel]]] = []
    waiting = [annotation]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, type) and issubclass(one, BaseModel):
            if "kind" in one.model_fields:
                found.append((get_args(one.model_fields["kind"].annotation)[0], one))
        else:
            waiting += [each for each in get_args(one) if not isinstance(each, str)]
    return found
