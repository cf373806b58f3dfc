"""Options that many commands share, and the way from them to the API."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from pgwitness.errors import WitnessError

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

UNREADABLE = "Part of the tape is unreadable, so this may not be all: see pgwitness index status"


def load_settings(state: Path | None, config: Path | None) -> Settings:
    """Raises InvalidError."""
    from pgwitness.config import load

    return load(config, state=state)


@contextmanager
def client(state: Path | None, config: Path | None, *, new: bool = False) -> Iterator[Client]:
    """The API, wherever it is. ``new``: an empty state directory may be begun. Raises InvalidError,
    UnavailableError.
    """
    from pgwitness.api.client import connect

    with connect(load_settings(state, config), new=new) as connected:
        yield connected


@contextmanager
def record(state: Path | None, config: Path | None) -> Iterator[Client]:
    """As ``client``, for who reads the record. Raises UnavailableError also where there is none."""
    from pgwitness.api.client import connect, no_record

    settings = load_settings(state, config)
    with connect(settings) as connected:
        if not connected.remote and not settings.has_record:
            raise no_record(settings.state)
        yield connected


@contextmanager
def listed(state: Path | None, config: Path | None) -> Iterator[Client]:
    """As ``record``. At the end, also at an error, it is said if a part of the tape could not be read, for
    then what was shown may not be all.
    """
    with record(state, config) as connected:
        try:
            yield connected
        finally:
            with suppress(WitnessError):  # what the gateway said before tells more
                if connected.get("/index")["problems"]:
                    print(UNREADABLE, file=sys.stderr)  # noqa: T201


def parse_list(text: str) -> list[str] | str:
    """``A,B`` or ``any``, as the API takes it."""
    from pgwitness.catalog.names import parse_names

    names = parse_names(text)
    return names if isinstance(names, str) else list(names)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters of a dataclass's type stand for one option a field of it, where they stand,
    so that commands can share a block of options.
    """
    hints = get_type_hints(command, include_extras=True)
    blocks: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}

    def run(**given: Any) -> None:
        for name, block in blocks.items():
            fields = {field.name: given.pop(field.name) for field in dataclasses.fields(block)}
            given[name] = block(**fields)
        command(**given)

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in blocks:
            parameters += _parameters(blocks[parameter.name])
        else:
            named = inspect.Parameter.KEYWORD_ONLY  # the only kind that may be required after one that is not
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=named))
    return with_parameters(run, command, parameters)


def with_parameters(
    run: Callable[..., None], command: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """``run`` with the name and the help of ``command``, and with these options."""
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _parameters(block: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(block, include_extras=True)
    for field in dataclasses.fields(block):
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
