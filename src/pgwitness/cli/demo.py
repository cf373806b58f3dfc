"""``pgwitness demo``: the product in one command."""

from __future__ import annotations

from typing import Annotated

import typer

from pgwitness.errors import UnavailableError


def register(parent: typer.Typer) -> None:
    parent.command("demo")(demo)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running, to look around, until Ctrl-C.")
    ] = False,
) -> None:
    """Watch an agent make a mistake that nobody saw, and read the record of it.

    Starts a PostgreSQL, a gateway and a connector in temporary directories, and leaves the record there.

    Example: pgwitness demo --keep
    """
    try:
        from pgwitness.demo import run
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the demo needs {error.name}, which is not installed",
            hint="install its extra: pip install '.[demo]' in a clone, else pip install 'pgwitness[demo]'",
        ) from None
    run(keep=keep)
