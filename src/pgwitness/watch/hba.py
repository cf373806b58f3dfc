"""What pg_hba.conf lets in: for one user and one database, the rules that can come to apply, in their order.

PostgreSQL takes the first rule that matches kind of connection, database, user and address, and no other. A
rule behind one that matches all of its connections never applies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_KINDS: Final[dict[str, frozenset[str]]] = {
    "local": frozenset({"local"}),
    "host": frozenset({"tls", "plain", "gss"}),
    "hostssl": frozenset({"tls"}),
    "hostnossl": frozenset({"plain", "gss"}),
    "hostgssenc": frozenset({"gss"}),
    "hostnogssenc": frozenset({"tls", "plain"}),
}
_ALL: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of pg_hba.conf as pg_hba_file_rules shows it."""

    line: int
    type: str
    databases: tuple[str, ...]
    users: tuple[str, ...]
    address: str | None
    mask: str | None
    method: str

    def __str__(self) -> str:
        parts = [self.type, ",".join(self.databases), ",".join(self.users)]
        networks = self.networks
        if networks is not None and len(networks) == 1:
            parts.append(str(networks[0]))
        elif self.address is not None:
            parts.append(self.address)
        return " ".join([*parts, self.method])

    @property
    def networks(self) -> tuple[Network, ...] | None:
        """The addresses it is for; None: the server alone knows (a name, ``samehost``, ``samenet``)."""
        if self.type == "local":
            return ()
        if self.address == "all":
            return _ALL
        try:
            return (ipaddress.ip_network(f"{self.address}/{self.mask}" if self.mask else f"{self.address}"),)
        except ValueError:
            return _v6(self.address, self.mask)

    def names(self, user: str, database: str, roles_of: Mapping[str, frozenset[str]]) -> bool:
        """Whether it is for this user in this database. ``roles_of``: of each role, the roles it is in."""
        return self._user(user, roles_of) and self._database(user, database, roles_of)

    def _user(self, user: str, roles_of: Mapping[str, frozenset[str]]) -> bool:
        groups = roles_of.get(user, frozenset()) | {user}
        return any(
            name in ("all", user)
            or (name.startswith("+") and name[1:] in groups)
            or name.startswith("/")  # a regular expression: it may
            for name in self.users
        )

    def _database(self, user: str, database: str, roles_of: Mapping[str, frozenset[str]]) -> bool:
        groups = roles_of.get(user, frozenset()) | {user}
        return any(
            name in ("all", database)
            or (name == "sameuser" and user == database)
            or (name in ("samerole", "samegroup") and database in groups)
            or name.startswith("/")
            for name in self.databases
        )

    @property
    def certain(self) -> bool:
        """It is known for sure whom it matches."""
        return not any(name.startswith("/") for name in (*self.users, *self.databases))


def applying(
    rules: Iterable[Rule], user: str, database: str, roles_of: Mapping[str, frozenset[str]]
) -> list[Rule]:
    """Those that let this user into this database, from anywhere at all."""
    before: list[Rule] = []
    letting_in = []
    for rule in rules:
        if rule.type not in _KINDS or not rule.names(user, database, roles_of):
            continue
        if any(_covers(earlier, rule) for earlier in before):
            continue
        if rule.certain:
            before.append(rule)
        if rule.method != "reject":
            letting_in.append(rule)
    return letting_in


def beyond(rule: Rule, gateway: str | None) -> bool:
    """Whether it lets anybody in who is not on the gateway's machine. ``gateway``: its address as the server
    sees it; None: the gateway comes by the Unix socket.
    """
    networks = rule.networks
    if rule.type == "local":
        return gateway is not None
    if networks is None:
        return True
    if gateway is None:
        return True
    own = ipaddress.ip_address(gateway)
    return any(network.num_addresses > 1 or own not in network for network in networks)


def _covers(earlier: Rule, later: Rule) -> bool:
    """Every connection that the later one matches, the earlier one matches first."""
    if not _KINDS[later.type] <= _KINDS[earlier.type]:
        return False
    if later.type == "local":
        return True
    above, below = earlier.networks, later.networks
    if above is None or below is None:
        return above == _ALL
    return all(any(_within(one, other) for other in above) for one in below)


def _within(network: Network, other: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return network.subnet_of(other)
    if isinstance(network, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return network.subnet_of(other)
    return False


def _v6(address: str | None, mask: str | None) -> tuple[Network, ...] | None:
    """Python takes a prefix only, PostgreSQL shows a mask."""
    try:
        bits = int(ipaddress.IPv6Address(mask or ""))
        return (ipaddress.IPv6Network(f"{address}/{bits.bit_count()}"),)
    except ValueError:
        return None
