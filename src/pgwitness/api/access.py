"""Who asks, and what they may: the one place that every route gets this from.

A route says who may use it with one of ``May``: ``APIRouter(dependencies=[May.read])`` or per route. One that
says nothing fails a test. What a reader may see is a matter of the route, which narrows what it looks up:
``reader.restrict(filters)`` for listings, ``reader.check_session`` before anything of one session,
``reader.check_connection`` before anything of one connection. What is out of reach does not exist: no answer
differs from that for a thing that is not there.
"""

# No ``from __future__ import annotations`` here: FastAPI cannot resolve those of a callable object.

import getpass
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer

from pgwitness.api.gate import Gate, actor_of
from pgwitness.api.signin import COOKIE, CSRF_FIELD, CSRF_HEADER, SAFE_METHODS
from pgwitness.catalog.models import ANY
from pgwitness.errors import ForbiddenError, NotFoundError
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.store import IndexReader

Role = Literal["own", "auditor", "operator", "admin"]

RANKS: Final[tuple[Role, ...]] = ("own", "auditor", "operator", "admin")
"""Each may do all that those before it may."""

_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token, but not of role client"
)
_SIGN_IN: Final = APIKeyCookie(
    name=COOKIE,
    auto_error=False,
    scheme_name="sign-in",
    description=f"Of the pages. What changes something takes the header {CSRF_HEADER}, too",
)
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


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
    csrf: str | None = field(default=None, repr=False)
    """What the forms of a sign-in's pages send back; None: the token itself came with the request."""

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


async def sent_csrf(request: Request) -> str | None:
    """The second secret of a sign-in, as the request's header or as a field of its form."""
    sent = request.headers.get(CSRF_HEADER)
    if sent is not None or request.method in SAFE_METHODS or COOKIE not in request.cookies:
        return sent
    if not request.headers.get("content-type", "").startswith(_FORMS):
        return None
    field = (await request.form()).get(CSRF_FIELD)
    return field if isinstance(field, str) else None


def get_reader(
    request: Request,
    csrf: Annotated[str | None, Depends(sent_csrf)],
    _bearer: Annotated[object, Depends(HTTPBearer(auto_error=False, scheme_name="token"))] = None,
    _cookie: Annotated[
        object, Depends(APIKeyCookie(name=COOKIE, auto_error=False, scheme_name="sign-in"))
    ] = None,
) -> Reader:
    """By the token of the Authorization header, or by the cookie of a sign-in. Raises AuthenticationFailed,
    PermissionDenied, ForbiddenError, TooManyRequests.

    That an application is local is said where it is made, by who knows on what it will be served;
    nothing in a request can make it so. The last two parameters are for the OpenAPI document.
    """
    if request.app.state.local:
        return Reader(f"local:{_user()}", "admin")
    gate: Gate = request.app.state.gate
    holder, signed_in = gate.admit(request)
    if signed_in is not None and request.method not in SAFE_METHODS and not signed_in.wrote(csrf):
        raise ForbiddenError(
            "this does not come from a page of your sign-in", hint="reload the page and try again"
        )
    return Reader(
        actor=actor_of(holder, request),
        role=holder.role,
        identity=holder.identity,
        connections=None if holder.connections == ANY else holder.connections,
        token_id=holder.token_id,
        csrf=signed_in.csrf if signed_in is not None else None,
    )


def count_request(request: Request) -> None:
    """For routes that anybody may use. Raises TooManyRequests."""
    if not request.app.state.local:
        request.app.state.gate.pass_by(request)


Counted = Annotated[None, Depends(count_request)]
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


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in /etc/passwd, as in some containers
        return "unknown"
