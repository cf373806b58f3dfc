"""The reference pages are what the code says, and every command's help has an example."""

from pathlib import Path
from typing import Any

import pytest

from pgwitness.cli import COMMANDS, docs, program

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "make"), [("cli", docs.cli_page), ("settings", docs.settings_page)], ids=["cli", "settings"]
)
def test_the_page_is_up_to_date(page: str, make: Any) -> None:
    assert (ROOT / "docs" / f"{page}.md").read_text() == make(), (
        f"run: pgwitness docs {page} > docs/{page}.md"
    )


def commands(command: Any, path: str = "pgwitness") -> list[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    return [(path, command)] + [
        found for name, each in inner.items() for found in commands(each, f"{path} {name}")
    ]


def test_every_command_has_help_with_an_example() -> None:
    for path, command in commands(program()):
        assert command.help, path
        if not getattr(command, "commands", {}):
            assert f"Example: {path}" in command.help or f"$({path}" in command.help, path


def test_help_lists_the_commands_in_their_order() -> None:
    assert list(program().commands) == list(COMMANDS)


def test_every_option_is_explained() -> None:
    for path, command in commands(program()):
        for parameter in command.params:
            assert getattr(parameter, "help", None), (path, parameter.name)
