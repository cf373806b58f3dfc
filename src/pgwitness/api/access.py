"""Who asks, and what they may: the one place that every route gets this from.

A route says who may use it with one of ``May``: ``APIRouter(dependencies=[May.read])`` or per route. One that
says nothing fails a test. What a reader may see is a matter of the route, which narrows what it looks up:
``reader.restrict(filters)`` for listings, ``reader.check_session`` before anything of one session,
``reader.check_connection`` before anything of one connection. What is out of reach does not exist: no answer
differs from that for a thing that is not there.
"""

# No ``from __future__ import annotations`` here: FastAPI cannot resolve those of a callable object.

import getpass
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from fastapi import Depends, Request

from pgwitness.catalog.models import ANY, Names
from pgwitness.errors import AuthenticationFailed, ForbiddenError, NotFoundError
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.store import IndexReader

Role = Literal["own", "auditor", "operator", "admin"]

RANKS: Final[tuple[Role, ...]] = ("own", "auditor", "operator", "admin")
"""Each may do all that those before it may."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks."""

    actor: str
    """In words for the audit: who, by which token, from where."""
    role: Role
    identity: str | None = None
    """None: the user who owns the state directory, on its machine."""
    connections: tuple[str, ...] | None = None
    """The only connections that the token is for; None: all."""
    token_id: str | None = None

    @property
    def scope(self) -> Scope | None:
        """What of the record is there for this reader; None: all of it."""
        identity = self.identity if self.role == "own" else None
        return Scope(identity, self.connections) if identity or self.connections is not None else None

    @property
    def sees_all(self) -> bool:
        return self.scope is None

    def may(self, role: Role) -> bool:
        """Whether the role of this reader includes that one's rights."""
        return RANKS.index(self.role) >= RANKS.index(role)

    def restrict(self, filters: Filters) -> Filters:
        """The same question, of what this reader may see."""
        scope = self.scope
        if scope is None:
            return filters
        only = scope.connections[0] if scope.connections and len(scope.connections) == 1 else None
        return replace(
            filters,
            scope=scope,
            # So that a search begins at these; where another is asked for, the scope leaves nothing.
            identity=filters.identity or scope.identity,
            connection=filters.connection or only,
        )

    def check_session(self, index: IndexReader, session: str) -> str:
        """The full id of a session that this reader may see. Raises NotFoundError, ConflictError."""
        return index.resolve(session, self.scope)

    def reaches(self, connection: str | None) -> bool:
        """Whether the token is for this connection."""
        return self.connections is None or connection in self.connections

    def check_connection(self, name: str) -> None:
        """Raises NotFoundError for a connection that is not this reader's, as if there were none."""
        if not self.reaches(name):
            raise NotFoundError(
                f"there is no connection {name!r}", hint="pgwitness connection list shows those there are"
            )


def get_reader(request: Request) -> Reader:
    """Raises AuthenticationFailed, PermissionDenied.

    That an application is local is said where it is made, by who knows on what it will be served;
    nothing in a request can make it so.
    """
    if request.app.state.local:
        return Reader(f"local:{_user()}", "admin")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthenticationFailed(
            "a token is needed",
            hint="send the header: Authorization: Bearer TOKEN, with a token of role own, auditor, operator "
            "or admin",
        )
    holder = request.app.state.services.directory.bearer(token.strip())
    address = f" from {request.client.host}" if request.client and request.client.host else ""
    actor = f"{holder.identity} (token {holder.token_id}){address}"
    return Reader(actor, holder.role, holder.identity, _scope(holder.connections), holder.token_id)


ReaderHere = Annotated[Reader, Depends(get_reader)]


class Permission:
    """A dependency that lets some in. ``role`` is the least that it takes; ``everything``: also that the
    reader may see all there is."""

    def __init__(self, role: Role, *, everything: bool) -> None:
        self.role = role
        self.everything = everything

    def __call__(self, reader: ReaderHere) -> None:
        """Raises ForbiddenError."""
        if not reader.may(self.role):
            raise ForbiddenError(
                f"a token of role {reader.role} may not do this",
                hint=f"it takes the role {' or '.join(RANKS[RANKS.index(self.role) :])}",
            )
        if self.everything and not reader.sees_all:
            raise ForbiddenError(
                "a token for some connections may not do this",
                hint="it takes a token that is not narrowed to connections",
            )


class May:
    """Who may use a route."""

    read = Depends(Permission("own", everything=False))
    """Whoever has a token. The route narrows what it gives."""
    review = Depends(Permission("auditor", everything=False))
    """Auditor, operator and admin; the route narrows to connections."""
    oversee = Depends(Permission("auditor", everything=True))
    """The same, and not narrowed to connections: what is about the whole gateway."""
    operate = Depends(Permission("operator", everything=False))
    """Operator and admin; the route narrows to connections."""
    administer = Depends(Permission("admin", everything=True))
    """Admin, not narrowed to connections."""


def _scope(names: Names) -> tuple[str, ...] | None:
    return None if names == ANY else names


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in /etc/passwd, as in some containers
        return "unknown"
