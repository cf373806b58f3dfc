"""``pgwitness docs``, hidden: the reference pages docs/cli.md and docs/settings.md, made from the code
itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    """docs/cli.md."""
    from pgwitness.cli import build

    root = typer.main.get_command(build())
    parts = [
        "# Commands",
        "Made by `pgwitness docs cli` from the commands themselves.",
        *_command("pgwitness", root, top=True),
    ]
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """docs/settings.md."""
    from pgwitness.config import Settings

    return "\n\n".join([_SETTINGS_HEAD, *_section(Settings, ""), _SETTINGS_FOOT]) + "\n"


_SETTINGS_HEAD = """# Settings

Made by `pgwitness docs settings` from `pgwitness/config.py`.

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
| `PGWITNESS_TOKEN` | a token of role admin for it |
| `PGWITNESS_DEBUG` | `1`: commands show where an error came from |"""


def _command(path: str, command: Any, *, top: bool = False) -> Iterator[str]:
    if command.hidden:
        return
    if not top:
        yield f"{'##' if path.count(' ') == 1 else '###'} {path}"
    yield inspect.cleandoc(command.help or "")
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner or top:
        yield from _parameters(path, command)
    for name, each in inner.items():
        yield from _command(f"{path} {name}", each)


def _parameters(path: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    words = " ".join(
        f"[{each.human_readable_name}]" if not each.required else each.human_readable_name
        for each in arguments
    )
    yield f"```\n{path} {words}{' ' if words else ''}[OPTIONS]\n```"
    rows = [f"| `{each.human_readable_name}` | {_cell(each.help)} |" for each in arguments]
    rows += [f"| {_flags(each)} | {_cell(each.help)}{_default(each)} |" for each in options]
    if rows:
        yield "\n".join(["| | |", "|---|---|", *rows])


def _flags(option: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in [*option.opts, *option.secondary_opts])
    if option.is_flag:
        return flags
    choices = getattr(option.type, "choices", None)
    metavar = "\\|".join(str(getattr(each, "value", each)) for each in choices) if choices else option.metavar
    return f"{flags} {_cell(metavar or option.type.name.upper())}"


def _default(option: Any) -> str:
    default = getattr(option.default, "value", option.default)
    if option.required:
        return " Required."
    return "" if default in (None, "", False) or callable(default) else f" Default `{default}`."


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("\\|", "|").replace("|", "\\|")


def _section(model: type[BaseModel], prefix: str) -> Iterator[str]:
    rows = ["| setting | variable | default | meaning |", "|---|---|---|---|"]
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        if hasattr(field.default, "model_fields"):
            inner.append((name, type(field.default)))
            continue
        full = f"{prefix}{name}"
        variable = "PGWITNESS_" + full.upper().replace(".", "__")
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{full}` | `{variable}` | {default} | {_cell(field.description)} |")
    yield "\n".join(rows)
    for name, section in inner:
        yield f"## {name}"
        yield inspect.cleandoc(section.__doc__ or "")
        yield from _section(section, f"{prefix}{name}.")
