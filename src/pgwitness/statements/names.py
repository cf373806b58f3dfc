"""Which schema a relation without one belongs to, as far as the session's own traffic tells.

In this order: a temporary table that the session made (``pg_temp``), a relation of pg_catalog, else the
first schema of the search path. PostgreSQL 18 reports its search path; before, ``SET search_path`` is
followed. ``"$user"`` is passed over, since a schema by that name is rare, and nothing on the wire tells
whether there is one.
"""

import re

from msgspec import Struct

from pgwitness.statements.catalogs import PG_CATALOG
from pgwitness.statements.sql import Effect, Relation, split_path

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*\Z")
_CACHE_ENTRIES = 4096
_MAX_TEMPORARY = 10_000

_PASSED_OVER = {"$user", "pg_catalog", "pg_temp", ""}


def _first(path: list[str] | tuple[str, ...]) -> str:
    return next((schema for schema in path if schema not in _PASSED_OVER), "public")


def quote_name(name: str) -> str:
    """As PostgreSQL prints it."""
    return name if _PLAIN.match(name) else '"' + name.replace('"', '""') + '"'


class Path(Struct):
    """The schema that unqualified names go to. ``reported``: the server tells of changes itself."""

    default: str = "public"
    schema: str = "public"
    reported: bool = False
    before: str = ""
    """What a rollback of the current transaction goes back to; empty if it set nothing."""
    after: str = ""
    """What its commit leaves, where a SET LOCAL ends with it."""
    temporary: dict[str, bool] = {}


class Names:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._cache: dict[tuple[Relation, ...], list[str]] = {}

    def report(self, search_path: str) -> None:
        """The server reported its search path."""
        self.path.reported = True
        self._use(_first(split_path(search_path)))

    def start(self, search_path: str) -> None:
        """The client asked for this one at log-in."""
        self.path.default = _first(split_path(search_path))
        self._use(self.path.default)

    def _use(self, schema: str) -> None:
        if schema != self.path.schema:
            self.path.schema = schema
            self._cache.clear()

    def apply(self, effect: Effect) -> None:
        """A statement with this effect succeeded."""
        path = self.path
        if effect.kind == "create_temp" and len(path.temporary) < _MAX_TEMPORARY:
            path.temporary.update(dict.fromkeys(effect.names, True))
            self._cache.clear()
        elif effect.kind == "drop" or (effect.kind == "discard" and effect.name in ("all", "temp")):
            for name in effect.names or list(path.temporary):
                path.temporary.pop(name, None)
            self._cache.clear()
        elif effect.kind == "search_path" and not path.reported:
            path.before = path.before or path.schema
            path.after = path.after or path.schema
            self._use(path.default if effect.name == "default" else _first(effect.names))
            if not effect.flag:
                path.after = path.schema

    def transaction_ended(self, committed: bool) -> None:
        path = self.path
        if path.before:
            self._use(path.after if committed else path.before)
            path.before = path.after = ""

    def qualify(self, relations: tuple[Relation, ...]) -> list[str]:
        """The names of ``relations`` with their schemas, quoted as PostgreSQL prints them. Do not
        change the list.
        """
        if not relations:
            return []
        known = self._cache.get(relations)
        if known is None:
            known = list(dict.fromkeys(map(self._qualify, relations)))
            if len(self._cache) >= _CACHE_ENTRIES:
                self._cache.clear()
            self._cache[relations] = known
        return known

    def _qualify(self, relation: Relation) -> str:
        schema, name = relation
        if not schema:
            if name in self.path.temporary:
                schema = "pg_temp"
            else:
                schema = "pg_catalog" if name in PG_CATALOG else self.path.schema
        return f"{quote_name(schema)}.{quote_name(name)}"
