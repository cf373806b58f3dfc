"""What goes wrong, said to a person or to a PostgreSQL client. No message here ever carries a secret.

An error that a client sees has an SQLSTATE; what the administrator sees is the message and, on a second line,
the hint.
"""


class WitnessError(Exception):
    """Any error that pgwitness explains. ``str()`` is one line that says what is wrong; ``hint`` says what to
    do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class NotFoundError(WitnessError):
    """The named thing does not exist."""


class ConflictError(WitnessError):
    """The named thing exists already, or is in use."""


class InvalidError(WitnessError):
    """An argument or a setting does not make sense."""


class ForbiddenError(WitnessError):
    """The caller of the API may not do this."""


class TooManyRequests(WitnessError):
    """The caller of the API asks too often. ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, retry_after: float = 1, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ConnectorRefused(WitnessError):
    """Who dials in as a connector may not be one: its join token or its certificate is not good, and why."""


class UnavailableError(WitnessError):
    """The gateway, or something that the request needs, is not there."""


class RecordBroken(WitnessError):
    """The sealed record, or a part of it, is not what it must be."""


class ClientError(WitnessError):
    """Ends a client's session with a FATAL ErrorResponse."""

    sqlstate = "XX000"


class AuthenticationFailed(ClientError):
    """One message for unknown identity, wrong, expired and revoked token: nobody learns which."""

    sqlstate = "28P01"


class PermissionDenied(ClientError):
    """No grant for this connection, which may not even exist."""

    sqlstate = "42501"


class UnknownDatabase(ClientError):
    """The identity may use any connection, and this one is not registered; or the database is not allowed on
    it."""

    sqlstate = "3D000"


class UpstreamUnreachable(ClientError):
    """PostgreSQL behind the connection does not answer, or refuses the registered credentials."""

    sqlstate = "08001"


class RecordUnwritable(ClientError):
    """The record cannot be written, so nothing may run."""

    sqlstate = "58030"


class SessionKilled(ClientError):
    """Ended by an administrator, a revoked token or a disabled identity."""

    sqlstate = "57P01"


class TooManyClients(ClientError):
    """A limit on connections is reached."""

    sqlstate = "53300"


class ProtocolViolation(ClientError):
    """The client broke the protocol."""

    sqlstate = "08P01"


class NotSupported(ClientError):
    """The client asked for something that this connection does not allow."""

    sqlstate = "0A000"
