"""Connectors, the single-use tokens that they join with, and the certificates that they then hold.

A connector is who holds a live certificate: joining again revokes those that it had, removal revokes them
all. Nothing here is secret: of a join token its hash is kept, of a certificate its serial number.
"""

from __future__ import annotations

import hmac
import secrets as random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from pgwitness.catalog.database import Change, Database
from pgwitness.catalog.models import Certificate, Connector, Issued
from pgwitness.catalog.names import check_name
from pgwitness.catalog.tables import CertificateRow, ConnectorRow, JoinTokenRow
from pgwitness.errors import ConflictError, ConnectorRefused, NotFoundError

_KEPT_AFTER_END = timedelta(days=1)


class Connectors:
    """Who may dial in as a connector."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, name: str, *, token_id: str, secret_hash: bytes, lifetime: timedelta, actor: str
    ) -> tuple[Connector, datetime]:
        """A connector that may join by this token until the time that comes back. Raises InvalidError,
        ConflictError.
        """
        check_name("connector", name)
        try:
            with self._database.change(actor) as change:
                row = ConnectorRow(id=random.token_hex(8), name=name, created_at=change.at)
                change.session.add(row)
                ends = _invite(change, row, token_id, secret_hash, lifetime)
                change.log("connector.add", name, token=token_id, expires_at=ends.isoformat())
                return _value(row), ends
        except IntegrityError:
            raise ConflictError(
                f"there is a connector {name!r} already",
                hint=f"if it has to join anew: pgwitness connector rejoin {name}",
            ) from None

    def invite(
        self,
        name: str,
        *,
        token_id: str,
        secret_hash: bytes,
        lifetime: timedelta,
        actor: str,
        revoke: bool = False,
    ) -> tuple[Connector, datetime]:
        """Another token for a connector that there is; an older one that was not used is void, and with
        ``revoke`` its certificates are, at once. Raises NotFoundError.
        """
        with self._database.change(actor) as change:
            row = _row(change.session, name, lock=True)
            unused = JoinTokenRow.connector_id == row.id, JoinTokenRow.used_at.is_(None)
            change.session.execute(delete(JoinTokenRow).where(*unused))
            ends = _invite(change, row, token_id, secret_hash, lifetime)
            if revoke:
                _revoke(change, row, "it was revoked by an administrator")
            told = {"token": token_id, "expires_at": ends.isoformat(), "revoke": revoke}
            change.log("connector.rejoin", name, **told)
            return _value(row), ends

    def join(
        self, token_id: str, secret_hash: bytes, name: str, issue: Callable[[str], Issued]
    ) -> tuple[Certificate, bytes]:
        """Use up a token, for a certificate that ``issue`` makes for the connector's name. Its
        older certificates are revoked. An empty ``name`` stands for the token's.

        Raises ConnectorRefused that tells what is wrong with the token.
        """
        with self._database.change(f"join token {token_id}") as change:
            found = select(JoinTokenRow.connector_id).where(JoinTokenRow.id == token_id)
            row = _locked(change.session, change.session.scalar(found))
            token = change.session.get(JoinTokenRow, token_id)
            if row is None or token is None or not hmac.compare_digest(token.secret_hash, secret_hash):
                raise ConnectorRefused("there is no such join token, or it was replaced by a newer one")
            if token.used_at is not None:
                raise ConnectorRefused(
                    f"the join token was used before, at {token.used_at:%Y-%m-%d %H:%M:%SZ}"
                )
            if token.expires_at <= change.at:
                raise ConnectorRefused(f"the join token expired at {token.expires_at:%Y-%m-%d %H:%M:%SZ}")
            if name not in ("", row.name):
                raise ConnectorRefused("the join token is for a connector of another name")
            token.used_at = change.at
            _revoke(change, row, "the connector joined anew")
            issued = issue(row.name)
            change.log("connector.enrolled", row.name, serial=issued.serial)
            return _certify(change.session, row, issued, change.at), issued.pem

    def renew(
        self, connector_id: str, issue: Callable[[str], Issued], *, held: str | None = None
    ) -> tuple[Certificate, bytes]:
        """One more certificate, as ``join`` makes it, for who shows that of the serial ``held``, unless it
        was revoked meanwhile. Counts as no change. Raises NotFoundError, ConnectorRefused.
        """
        with self._database.write() as session:
            row = _locked(session, connector_id)
            if row is None:
                raise NotFoundError("the connector was removed")
            shown = session.get(CertificateRow, held) if held is not None else None
            if shown is not None and shown.revoked_why is not None:
                raise ConnectorRefused(f"the certificate is revoked: {shown.revoked_why}")
            issued = issue(row.name)
            return _certify(session, row, issued, datetime.now(UTC)), issued.pem

    def remove(self, name: str, *, actor: str) -> None:
        """Revoke its certificates and forget it. Connections go on naming it: they must not become direct
        ones. Raises NotFoundError.
        """
        with self._database.change(actor) as change:
            row = _row(change.session, name, lock=True)
            _revoke(change, row, "the connector was removed")
            change.session.delete(row)
            change.log("connector.remove", name)

    def seen(self, name: str, software: str) -> None:
        """Note that it came online, or went offline, just now. Counts as no change."""
        with self._database.write() as session:
            values = {"software": software, "seen_at": datetime.now(UTC)}
            session.execute(update(ConnectorRow).where(ConnectorRow.name == name).values(values))

    def get(self, name: str) -> Connector:
        """Raises NotFoundError."""
        with self._database.read() as session:
            return _value(_row(session, name))

    def list(self) -> list[Connector]:
        statement = select(ConnectorRow).options(selectinload(ConnectorRow.certificates))
        with self._database.read() as session:
            return [_value(row) for row in session.scalars(statement.order_by(ConnectorRow.name))]

    def certificate(self, serial: str) -> Certificate | None:
        with self._database.read() as session:
            row = session.get(CertificateRow, serial)
            return None if row is None else _certificate(row)


def check_connectors(session: Session, names: Iterable[str]) -> None:
    """Raises NotFoundError that names the first that does not exist."""
    for name in names:
        _row(session, name)


def _locked(session: Session, connector_id: str | None) -> ConnectorRow | None:
    """Until the transaction ends, nobody else joins, renews or removes it: of two that bring one token, one
    must see that it is spent, and no certificate may be made while all are being revoked.
    """
    return session.get(ConnectorRow, connector_id, with_for_update=True) if connector_id else None


def _row(session: Session, name: str, *, lock: bool = False) -> ConnectorRow:
    statement = select(ConnectorRow).where(ConnectorRow.name == name)
    row = session.scalar(statement.with_for_update() if lock else statement)
    if row is None:
        raise NotFoundError(
            f"there is no connector {name!r}", hint="pgwitness connector list shows those there are"
        )
    return row


def _invite(
    change: Change, row: ConnectorRow, token_id: str, secret_hash: bytes, lifetime: timedelta
) -> datetime:
    ends = change.at + lifetime
    change.session.add(
        JoinTokenRow(
            id=token_id, connector=row, secret_hash=secret_hash, created_at=change.at, expires_at=ends
        )
    )
    return ends


def _revoke(change: Change, row: ConnectorRow, why: str) -> None:
    live = CertificateRow.connector_id == row.id, CertificateRow.revoked_at.is_(None)
    change.session.execute(update(CertificateRow).where(*live).values(revoked_at=change.at, revoked_why=why))


def _certify(session: Session, row: ConnectorRow, issued: Issued, now: datetime) -> Certificate:
    """Remember a certificate, and forget those whose end is long enough ago that no clock takes them."""
    session.execute(delete(CertificateRow).where(CertificateRow.not_after < now - _KEPT_AFTER_END))
    certificate = CertificateRow(
        serial=issued.serial,
        connector_id=row.id,
        connector=row.name,
        issued_at=now,
        not_after=issued.not_after,
    )
    session.add(certificate)
    return _certificate(certificate)


def _certificate(row: CertificateRow) -> Certificate:
    return Certificate(
        serial=row.serial,
        connector_id=row.connector_id,
        connector=row.connector,
        not_after=row.not_after,
        revoked_why=row.revoked_why,
    )


def _value(row: ConnectorRow) -> Connector:
    live = [each.not_after for each in row.certificates if each.revoked_at is None]
    return Connector(
        id=row.id,
        name=row.name,
        software=row.software,
        seen_at=row.seen_at,
        certificate_ends=max(live, default=None),
        created_at=row.created_at,
    )
