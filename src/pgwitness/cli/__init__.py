"""The commands. ``main`` is the program: it runs one, and turns every error into a line and a number.

A command's module is imported when that command is asked for, so that none pays for another's imports.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from pgwitness.errors import InvalidError, UnavailableError, WitnessError

COMMANDS = {
    "gateway": "gateway",
    "connector": "connector",
    "connection": "connection",
    "identity": "identity",
    "token": "token",
    "session": "session",
    "statements": "statements",
    "tail": "tail",
    "blast": "blast",
    "claims": "claims",
    "reenact": "reenact",
    "undo": "undo",
    "verify": "verify",
    "mcp": "mcp",
    "bundle": "bundle",
    "retention": "retention",
    "events": "events",
    "record": "record",
    "sink": "sink",
    "index": "index",
    "audit": "audit",
    "watch": "watch",
    "demo": "demo",
    "docs": "docs",
}
"""Command to module of this package, in the order of the help. Each module has ``register(app)``."""

OK, FAILED, USAGE, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130

_HELP = """The flight recorder for AI agents on PostgreSQL.

Agents connect through the gateway with an ordinary PostgreSQL client; every statement is on record before the
server sees it, under the identity that sent it.

Example: pgwitness gateway

Exit codes: 0 done; 1 failed, or the answer is no; 2 wrong usage; 3 the gateway, the catalog or the
index is not available. PGWITNESS_DEBUG=1 shows where an error came from.
"""


def build(command: str | None = None) -> typer.Typer:
    """The application with this command, or with all of them."""
    app = typer.Typer(
        name="pgwitness",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,  # it would load every command for each Tab
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    for module in [COMMANDS[command]] if command in COMMANDS else COMMANDS.values():
        import_module(f"pgwitness.cli.{module}").register(app)
    return app


def program(command: str | None = None) -> Any:
    """As ``build``, ready to be called; commands in the order of ``COMMANDS``, help as paragraphs."""
    root = typer.main.get_command(build(command))
    inner: dict[str, Any] = getattr(root, "commands", {})
    order = [name for name in COMMANDS if name in inner]
    ordered = {name: inner[name] for name in order}
    inner.clear()
    inner.update(ordered)
    _fill_paragraphs(root)
    return root


def _fill_paragraphs(command: Any) -> None:
    """Lines of a docstring end where the code's lines do; a terminal's are another matter."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for parameter in command.params:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for each in getattr(command, "commands", {}).values():
        _fill_paragraphs(each)


def main() -> None:
    """The program ``pgwitness``."""
    os.umask(0o077)  # what it writes holds other people's data
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Errors are a line on standard error, and a hint."""
    try:
        result = program(_command(arguments))(list(arguments), prog_name="pgwitness", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else OK
    except BrokenPipeError:
        return _unread()
    except SystemExit as error:  # Typer's own answer to a broken pipe
        return _unread() if isinstance(error.__context__, BrokenPipeError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _explain(error, arguments)


def _unread() -> int:
    """Whoever read the output has had enough, as ``head`` does. Python would complain when it flushes
    at the end.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return OK


def _command(arguments: Sequence[str]) -> str | None:
    """The command, if it is the first argument: options that come before it are rare enough to load
    everything.
    """
    return arguments[0] if arguments else None


def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=lambda on: _version(on), is_eager=True),
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="Directory of everything that pgwitness keeps. Default: ~/.pgwitness.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
) -> None:
    """Options before the command hold for it as the environment does."""
    if state is not None:
        os.environ["PGWITNESS_STATE"] = str(state)
    if config is not None:
        os.environ["PGWITNESS_CONFIG"] = str(config)


def _version(on: bool) -> None:
    if on:
        import pgwitness

        typer.echo(f"pgwitness {pgwitness.__version__}")
        raise typer.Exit


def _explain(error: Exception, arguments: Sequence[str]) -> int:
    """Say what went wrong. Typer's own errors are known by what they offer: where they live changes."""
    if os.environ.get("PGWITNESS_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, WitnessError):
        _say(str(error), error.hint)
        return _code(error)
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        context = getattr(error, "ctx", None)
        message = error.format_message().replace("Value error, ", "")
        if message.strip():  # there is none where the help was printed instead
            _say(_with_value(message, arguments), f"{context.command_path} --help" if context else None)
        return USAGE
    _say(f"internal error: {type(error).__name__}: {error}", "PGWITNESS_DEBUG=1 shows where")
    return FAILED


_PLAIN = {
    "Input should be a valid integer, unable to parse string as an integer": "is not a whole number",
    "Input should be a valid number, unable to parse string as a number": "is not a number",
}
_INVALID = re.compile(r"Invalid value for '(?P<option>--[a-z-]+)[^:]*: (?P<why>.*)")


def _with_value(message: str, arguments: Sequence[str]) -> str:
    """The parser's words for a number that is none do not say which."""
    found = _INVALID.fullmatch(message.rstrip("."))
    if not found or found["why"] not in _PLAIN:
        return message
    option = found["option"]
    values = [each.partition("=")[2] for each in arguments if each.startswith(f"{option}=")]
    values += [after for name, after in pairwise(arguments) if name == option]
    return f"{option}: {values[-1]!r} {_PLAIN[found['why']]}" if values else message


def _code(error: WitnessError) -> int:
    if isinstance(error, InvalidError):
        return USAGE
    return UNAVAILABLE if isinstance(error, UnavailableError) else FAILED


def _say(message: str, hint: str | None) -> None:
    line = " ".join(message.split())
    print(f"error: {line}", file=sys.stderr)  # noqa: T201
    if hint:
        print(f"hint: {hint}", file=sys.stderr)  # noqa: T201
