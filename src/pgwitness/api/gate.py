"""The gate that requests of strangers come through: tokens, sign-ins, and how often each may ask.

One a process: what it knows is in memory. A wrong token costs its sender's address one of few tries; who has
shown a right one before is let in without a look at the tries, so nobody locks out others who come from the
same address, as all do who come through a proxy or ``ssh -L``.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from fastapi import Request

from pgwitness.api.limits import Buckets, neighbourhood
from pgwitness.api.signin import COOKIE, SignedIn, SignIns
from pgwitness.catalog.store import Catalog
from pgwitness.config import HttpSettings
from pgwitness.errors import AuthenticationFailed, PermissionDenied, TooManyRequests
from pgwitness.identity.directory import Directory, Holder

_log = logging.getLogger(__name__)

_KNOWN = 1000  # tokens that were right before; those used least recently are checked again


class Admitted(NamedTuple):
    """Who a request comes from."""

    holder: Holder
    signed_in: SignedIn | None
    """None: the token itself came with the request."""


class Gate:
    """Methods may be called from any thread but the event loop's: they ask the catalog."""

    def __init__(self, directory: Directory, settings: HttpSettings) -> None:
        self._directory = directory
        self._requests = Buckets(settings.requests_per_second, settings.requests_burst)
        self._tries = Buckets(settings.failures_per_minute / 60, settings.failures_per_minute)
        self._sign_ins = SignIns(timedelta(hours=settings.sign_in_hours))
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def admit(self, request: Request) -> Admitted:
        """By the token of the Authorization header, or else by the cookie. Raises AuthenticationFailed,
        PermissionDenied, TooManyRequests.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        cookie = request.cookies.get(COOKIE)
        if scheme.lower() == "bearer" and token.strip():
            admitted = Admitted(self._check(token.strip(), request), None)
        elif scheme == "" and cookie:
            admitted = self._signed_in(cookie, request)
        else:
            self.pass_by(request)
            raise AuthenticationFailed(
                "a token is needed",
                hint="send the header: Authorization: Bearer TOKEN, with a token of role own, auditor, "
                "operator or admin",
            )
        _take(self._requests, f"token {admitted.holder.token_id}")
        return admitted

    def pass_by(self, request: Request) -> None:
        """Count a request that needs no token. Raises TooManyRequests."""
        _take(self._requests, f"address {_from(request)}")

    def sign_in(self, request: Request, token: str) -> SignedIn:
        """Of who shows this token. Raises AuthenticationFailed, PermissionDenied, TooManyRequests."""
        holder = self._check(token.strip(), request)
        signed_in = self._sign_ins.begin(holder.token_id, holder.expires_at)
        self._catalog.log(
            actor_of(holder, request), "sign-in", holder.identity, ends=signed_in.expires_at.isoformat()
        )
        return signed_in

    def sign_out(self, request: Request) -> None:
        """End the sign-in that came with the request, if one did."""
        cookie = request.cookies.get(COOKIE, "")
        signed_in = self._sign_ins.find(cookie)
        if signed_in is not None:
            self._sign_ins.end(cookie)
            with suppress(AuthenticationFailed):  # of a token that has just ended, and the sign-in with it
                holder = self._directory.holder(signed_in.token_id)
                self._catalog.log(actor_of(holder, request), "sign-out", holder.identity)

    @property
    def _catalog(self) -> Catalog:
        return self._directory.catalog

    def _check(self, token: str, request: Request) -> Holder:
        address = _from(request)
        known = self._recall(token)
        if known is not None:
            try:
                return self._directory.holder(known)
            except (AuthenticationFailed, PermissionDenied):
                self._forget(token)  # from here on it is as wrong as any other
                _take(self._tries, address)
                raise
        _take(self._tries, address)
        try:
            holder = self._directory.bearer(token)
        except (AuthenticationFailed, PermissionDenied) as error:
            _log.warning("a token that came from %s was refused: %s", address, error)
            raise
        self._tries.give_back(address)
        self._remember(token, holder.token_id)
        return holder

    def _signed_in(self, cookie: str, request: Request) -> Admitted:
        signed_in = self._sign_ins.find(cookie)
        if signed_in is None:
            self.pass_by(request)
            raise AuthenticationFailed("the sign-in has ended")
        try:
            return Admitted(self._directory.holder(signed_in.token_id), signed_in)
        except AuthenticationFailed:
            self._sign_ins.end(cookie)
            self.pass_by(request)
            raise

    def _recall(self, token: str) -> str | None:
        with self._lock:
            known = self._known.get(_hash(token))
            if known is not None:
                self._known.move_to_end(_hash(token))
            return known

    def _forget(self, token: str) -> None:
        with self._lock:
            self._known.pop(_hash(token), None)

    def _remember(self, token: str, token_id: str) -> None:
        with self._lock:
            self._known[_hash(token)] = token_id
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)


def actor_of(holder: Holder, request: Request) -> str:
    """In words for the audit: who, by which token, from where."""
    address = f" from {request.client.host}" if request.client and request.client.host else ""
    return f"{holder.identity} (token {holder.token_id}){address}"


def _take(buckets: Buckets, key: str) -> None:
    seconds = buckets.take(key)
    if seconds:
        raise TooManyRequests("too many requests", retry_after=seconds)


def _from(request: Request) -> str:
    return neighbourhood(request.client.host) if request.client and request.client.host else "nowhere"


def _hash(token: str) -> bytes:
    """A token has 256 random bits, so a plain hash hides it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
