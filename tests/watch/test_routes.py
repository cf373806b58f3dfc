"""Ways in, from rows as a server gives them."""

from __future__ import annotations

from pgwitness.watch.look import Row
from pgwitness.watch.report import Report
from pgwitness.watch.routes import Roles, admission, attributes, listening


def role(name: str, *attributes: str) -> Row:
    flags = ("rolsuper", "rolcanlogin", "rolcreaterole", "rolreplication", "expired")
    return {"rolname": name, **{flag: "t" if flag in attributes else "f" for flag in flags}}


def member(name: str, of: str) -> Row:
    return {"role": of, "member": name}


def line(number: int, text: str) -> Row:
    kind, databases, users, *address, method = text.split()
    return {
        "line_number": str(number),
        "type": kind,
        "databases": '["' + databases.replace(",", '","') + '"]',
        "users": '["' + users.replace(",", '","') + '"]',
        "address": address[0] if address else None,
        "netmask": address[1] if len(address) > 1 else None,
        "auth_method": method,
        "error": None,
    }


def keys(report: Report) -> dict[str, str]:
    return {one.key: one.level for one in report.found}


ROLES = Roles(
    [
        role("app", "rolcanlogin"),
        role("twin", "rolcanlogin"),
        role("team"),
        role("late", "rolcanlogin", "expired"),
        role("postgres", "rolcanlogin", "rolsuper"),
        role("owner", "rolsuper"),
    ],
    [member("team", "app"), member("twin", "team"), member("late", "app")],
)


def test_who_stands_in_for_the_role() -> None:
    assert ROLES.stand_ins("app") == ["twin"]
    assert ROLES.superusers() == ["postgres"]
    report = Report()
    attributes(ROLES, "app", report)
    assert keys(report) == {"route-member-twin": "weakness", "route-superusers": "note"}


def test_a_role_that_can_do_too_much() -> None:
    report = Report()
    attributes(Roles([role("app", "rolcanlogin", "rolsuper")], []), "app", report)
    assert keys(report) == {"route-superuser": "weakness"}
    report = Report()
    attributes(Roles([role("app", "rolcreaterole", "rolreplication")], []), "app", report)
    assert keys(report) == {"route-createrole": "weakness", "route-replication": "weakness"}


def test_listening_beside_the_gateway() -> None:
    def levels(addresses: str, gateway: str | None) -> list[str]:
        report = Report()
        listening({"listen_addresses": addresses}, gateway, report)
        return [one.level for one in report.found]

    assert levels("localhost, 127.0.0.1,::1", "127.0.0.1") == []
    assert levels("", None) == []
    assert levels("*", "127.0.0.1") == ["weakness"]
    assert levels("10.0.0.9,localhost", None) == ["weakness"]
    assert levels("10.0.0.9", "10.0.0.5") == ["note"]


def test_a_hardened_server_has_notes_only() -> None:
    report = Report()
    rules = ["local all postgres peer", "hostssl shop app 10.0.0.5/32 scram-sha-256"]
    admission([line(n, text) for n, text in enumerate(rules)], ROLES, "app", "shop", "10.0.0.5", report)
    assert [one.level for one in report.found] == ["note"]


def test_an_open_server_has_weaknesses() -> None:
    report = Report()
    rules = ["local all all trust", "host all all 10.0.0.0/8 scram-sha-256", "host all postgres all reject"]
    admission([line(n, text) for n, text in enumerate(rules, 1)], ROLES, "app", "shop", "10.0.0.5", report)
    local, network = report.found
    assert local.level == network.level == "weakness"
    assert local.details["roles"] == ["app", "twin", "postgres"]
    assert "without a password" in local.what
    assert "line 2, 'host all all 10.0.0.0/8 scram-sha-256'" in network.what
    # a line that moves is the same finding
    again = Report()
    admission([line(9, rules[1])], ROLES, "app", "shop", "10.0.0.5", again)
    assert again.found[0].key == network.key


def test_a_broken_line_is_told() -> None:
    report = Report()
    broken = {**line(3, "host all all 10.0.0.0/8 md5"), "error": "invalid authentication method"}
    admission([broken], ROLES, "app", "shop", "10.0.0.5", report)
    assert report.found == []
    assert report.limits == ["Line 3 of pg_hba.conf is broken: invalid authentication method."]
