"""(b) Routes: what lets the registered role, a role with its rights, or a superuser in by another way."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from pgwitness.catalog.findings import Found, Level
from pgwitness.watch.hba import Rule, applying, beyond
from pgwitness.watch.look import Look, RefusedError, Row
from pgwitness.watch.report import Report, key

ROLES: Final = (
    "SELECT rolname, rolsuper, rolcanlogin, rolcreaterole, rolreplication,"
    " COALESCE(rolvaliduntil < now(), false) AS expired FROM pg_roles"
)
MEMBERS: Final = (
    "SELECT pg_get_userbyid(roleid) AS role, pg_get_userbyid(member) AS member FROM pg_auth_members"
)
SETTINGS: Final = (
    "SELECT name, setting FROM pg_settings"
    " WHERE name IN ('listen_addresses', 'port', 'ssl', 'unix_socket_directories')"
)
HERE: Final = (
    "SELECT host(inet_client_addr()) AS client, current_user AS role,"
    " pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS stats"
)
HBA: Final = (
    "SELECT line_number, type, array_to_json(database) AS databases, array_to_json(user_name) AS users,"
    " address, netmask, auth_method, error FROM pg_hba_file_rules ORDER BY line_number"
)
CONNECT: Final = (
    "SELECT datname, has_database_privilege('public', oid, 'CONNECT') AS public FROM pg_database"
    " WHERE datname = current_database()"
)
_WITHOUT_PROOF: Final = {"trust", "ident", "peer"}
NAMED: Final = 10


class Roles:
    """The roles of a server and who is in which."""

    def __init__(self, roles: Iterable[Row], members: Iterable[Row]) -> None:
        self._roles = {str(row["rolname"]): row for row in roles}
        self._above: dict[str, set[str]] = {}
        for row in members:
            self._above.setdefault(str(row["member"]), set()).add(str(row["role"]))
        self.within = {name: frozenset(self._closure(name)) for name in self._roles}
        """Of each role, those that it is in, directly or not."""

    def has(self, name: str, attribute: str) -> bool:
        return self._roles.get(name, {}).get(attribute) == "t"

    def can_log_in(self, name: str) -> bool:
        return self.has(name, "rolcanlogin") and not self.has(name, "expired")

    def superusers(self) -> list[str]:
        return sorted(name for name in self._roles if self.has(name, "rolsuper") and self.can_log_in(name))

    def stand_ins(self, user: str) -> list[str]:
        """Who can log in under another name and has the rights of ``user``."""
        return sorted(
            name
            for name in self._roles
            if user in self.within[name] and name != user and self.can_log_in(name)
        )

    def _closure(self, name: str) -> set[str]:
        found: set[str] = set()
        left = [name]
        while left:
            for above in self._above.get(left.pop(), ()):
                if above not in found:
                    found.add(above)
                    left.append(above)
        return found


async def look(look: Look, user: str, database: str, report: Report) -> None:
    """Raises LookError."""
    look.announce(ROLES, MEMBERS, HERE, SETTINGS, CONNECT, HBA)
    roles = Roles(await look.rows(ROLES), await look.rows(MEMBERS))
    (here,) = await look.rows(HERE)
    settings = {str(row["name"]): row["setting"] for row in await look.rows(SETTINGS)}
    attributes(roles, user, report)
    listening(settings, here["client"], report)
    for row in await look.rows(CONNECT):
        if row["public"] == "t":
            report.add(
                _note(
                    "public",
                    f"every role that can log in may connect to {database} (CONNECT is granted to PUBLIC)",
                )
            )
    try:
        lines = await look.rows(HBA)
    except RefusedError:
        report.limit(
            f"pg_hba.conf cannot be read: as superuser, GRANT SELECT ON pg_hba_file_rules TO {here['role']} "
            f"and GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {here['role']}, or name a connection that "
            "may by --as.",
            "route-hba",
        )
        return
    admission(lines, roles, user, database, here["client"], report)


def attributes(roles: Roles, user: str, report: Report) -> None:
    """What the role itself may do that leads around the gateway."""
    if roles.has(user, "rolsuper"):
        report.add(
            _weakness(
                "superuser",
                f"{user} is a superuser: it can open other ways in, run programs on the server, and "
                "have the watch told anything",
            )
        )
    elif roles.has(user, "rolcreaterole"):
        report.add(_weakness("createrole", f"{user} may create roles, and log in as one of them"))
    if roles.has(user, "rolreplication"):
        report.add(_weakness("replication", f"{user} may stream everything that is written (REPLICATION)"))
    for name in roles.stand_ins(user):
        report.add(_weakness(f"member {name}", f"{name} can log in and has the rights of {user}", role=name))
    others = [name for name in roles.superusers() if name != user]
    if others:
        named = ", ".join(others[:NAMED]) + (
            f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        )
        report.add(_note("superusers", f"superusers that can log in: {named}", superusers=others))


def listening(settings: Mapping[str, str | None], gateway: str | None, report: Report) -> None:
    """Where the server takes connections, against where the gateway comes from."""
    addresses = [part.strip() for part in (settings.get("listen_addresses") or "").split(",") if part.strip()]
    outside = [address for address in addresses if not _loopback(address)]
    if not outside:
        return
    named = ", ".join(outside)
    if gateway is None or _loopback(gateway):
        report.add(
            _weakness(
                "listen",
                f"the server listens on {named}, and the gateway or connector reaches it on its own machine: "
                "nobody needs another address",
            )
        )
    else:
        report.add(
            _note("listen", f"the server listens on {named}: whoever reaches that address can try to log in")
        )


def admission(
    lines: Iterable[Row],
    roles: Roles,
    user: str,
    database: str,
    gateway: str | None,
    report: Report,
) -> None:
    """Rules of pg_hba.conf by which the role, its stand-ins or a superuser get in from elsewhere."""
    rules = []
    for line in lines:
        if line["error"]:
            report.limit(f"Line {line['line_number']} of pg_hba.conf is broken: {line['error']}.")
        elif line["type"]:
            rules.append(_rule(line))
    admitted: dict[Rule, list[str]] = {}
    for name in [user, *roles.stand_ins(user), *roles.superusers()]:
        for rule in applying(rules, name, database, roles.within):
            if beyond(rule, gateway) and name not in admitted.setdefault(rule, []):
                admitted[rule].append(name)
    for rule, names in admitted.items():
        if names:
            report.add(_admitting(rule, names, user))


def _admitting(rule: Rule, names: list[str], user: str) -> Found:
    """A superuser on the server's own machine is how a server is run; the role elsewhere is not."""
    local_only = rule.type == "local" and user not in names and rule.method == "peer"
    level: Level = "note" if local_only else "weakness"
    proof = " without a password" if rule.method in _WITHOUT_PROOF else ""
    return Found(
        key=key("route", "hba", str(rule)),
        kind="route",
        level=level,
        what=f"pg_hba.conf line {rule.line}, {str(rule)!r}, lets in {_some(names)}{proof} beside the gateway",
        details={"line": rule.line, "rule": str(rule), "roles": names, "method": rule.method},
    )


def _rule(line: Row) -> Rule:
    return Rule(
        line=int(line["line_number"] or 0),
        type=str(line["type"]),
        databases=tuple(msgspec.json.decode(line["databases"] or "[]")),
        users=tuple(msgspec.json.decode(line["users"] or "[]")),
        address=line["address"],
        mask=line["netmask"],
        method=str(line["auth_method"]),
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _weakness(name: str, what: str, **details: object) -> Found:
    return Found(
        key=key("route", *name.split(" ", 1)),
        kind="route",
        level="weakness",
        what=what,
        details=dict(details),
    )


def _note(name: str, what: str, **details: object) -> Found:
    return Found(
        key=key("route", *name.split(" ", 1)), kind="route", level="note", what=what, details=dict(details)
    )
