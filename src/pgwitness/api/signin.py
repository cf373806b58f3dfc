"""Sign-ins of people at the pages: a token was shown once, and a cookie stands for it from then on.

What the cookie holds is random and says nothing. Memory of the gateway holds a hash of it, so a restart signs
everybody out. A sign-in ends with its token, however that ends, and after some hours at the latest.

Whatever is sent with the cookie alone may come from a page of somebody else's: so who changes something sends
the sign-in's second secret too, in a header or a field of the form, which such a page cannot read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import Request, Response

COOKIE: Final = "pgwitness_session"
CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_KEPT = 10_000  # sign-ins; beyond that the oldest end
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in. ``id`` goes into the cookie and nowhere else."""

    token_id: str
    expires_at: datetime
    id: str = field(repr=False)
    csrf: str = field(repr=False)

    def wrote(self, csrf: str | None) -> bool:
        """Whether this second secret is the sign-in's."""
        return csrf is not None and hmac.compare_digest(
            csrf.encode("utf-8", "surrogatepass"), self.csrf.encode()
        )


class SignIns:
    """Those of one process. Safe between threads."""

    def __init__(self, longest: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[str, str, datetime]] = OrderedDict()

    def begin(self, token_id: str, token_ends: datetime | None) -> SignedIn:
        """A new one of this token, which has just been checked."""
        now = self._clock()
        ends = now + self._longest
        begun = SignedIn(
            token_id,
            min(ends, token_ends) if token_ends is not None else ends,
            secrets.token_urlsafe(_RANDOM_BYTES),
            secrets.token_urlsafe(_RANDOM_BYTES),
        )
        with self._lock:
            for old in [key for key, (_, _, ended) in self._kept.items() if ended <= now]:
                del self._kept[old]
            if len(self._kept) >= _KEPT:
                self._kept.popitem(last=False)
            self._kept[_hash(begun.id)] = (token_id, begun.csrf, begun.expires_at)
        return begun

    def find(self, id: str) -> SignedIn | None:
        """The live one that a cookie names. Whether its token lives is for the directory to say."""
        with self._lock:
            kept = self._kept.get(_hash(id))
            if kept is not None and kept[2] <= self._clock():
                del self._kept[_hash(id)]
                kept = None
        return None if kept is None else SignedIn(kept[0], kept[2], id, kept[1])

    def end(self, id: str) -> None:
        """If there is one."""
        with self._lock:
            self._kept.pop(_hash(id), None)


def set_cookie(response: Response, request: Request, signed_in: SignedIn) -> None:
    """Send the sign-in to the browser, for this site's own pages only."""
    left = signed_in.expires_at - datetime.now(UTC)
    response.set_cookie(
        COOKIE,
        signed_in.id,
        max_age=max(0, int(left.total_seconds())),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def clear_cookie(response: Response, request: Request) -> None:
    response.delete_cookie(
        COOKIE, path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )


def _hash(id: str) -> bytes:
    """The id has 256 random bits, so a plain hash hides it."""
    return hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()
