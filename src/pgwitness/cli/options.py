"""Options that many commands share, and the way from them to the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pgwitness.api.client import Client
    from pgwitness.config import Settings

State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        help="Directory of everything that pgwitness keeps. Default: PGWITNESS_STATE, else ~/.pgwitness.",
    ),
]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]


def load_settings(state: Path | None, config: Path | None) -> Settings:
    """Raises InvalidError."""
    from pgwitness.config import load

    return load(config, state=state)


@contextmanager
def client(state: Path | None, config: Path | None) -> Iterator[Client]:
    """The API, wherever it is. Raises InvalidError, UnavailableError."""
    from pgwitness.api.client import connect

    with connect(load_settings(state, config)) as connected:
        yield connected


def parse_list(text: str) -> list[str] | str:
    """``A,B`` or ``any``, as the API takes it."""
    from pgwitness.catalog.names import parse_names

    names = parse_names(text)
    return names if isinstance(names, str) else list(names)
