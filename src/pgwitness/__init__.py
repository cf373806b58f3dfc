"""pgwitness: the flight recorder for AI agents on PostgreSQL."""

from importlib.metadata import version

__version__ = version("pgwitness")
