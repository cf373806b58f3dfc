"""Cells of CSV that a spreadsheet shows and does not compute."""

from typing import Any

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What begins with one of these is a formula for spreadsheets."""


def harmless(cell: Any) -> Any:
    """A text of an agent, with a ' before it where it would be a formula. Numbers stay as they are."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
