"""Items as events of the Open Cybersecurity Schema Framework, version 1.7.0 (https://schema.ocsf.io).

| item | class |
|---|---|
| statement, event of a session, test | 6005 Datastore Activity |
| start and end of a session, refused log-in | 3002 Authentication |
| finding of the watch | 2004 Detection Finding |

What the schema has no attribute for is under ``unmapped.pgwitness``.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import pgwitness
from pgwitness.sinks.items import Address, Item, Who, document, message, nanoseconds
from pgwitness.statements.model import Statement

VERSION: Final = "1.7.0"

DATASTORE_ACTIVITY, AUTHENTICATION, DETECTION_FINDING = 6005, 3002, 2004
_CATEGORIES: Final = {6: "Application Activity", 3: "Identity & Access Management", 2: "Findings"}
_CLASSES: Final = {6005: "Datastore Activity", 3002: "Authentication", 2004: "Detection Finding"}
_OTHER: Final = 99

_ACTIVITIES: Final = {
    1: ("Read", ("COPY TO", "FETCH")),
    2: ("Update", ("UPDATE", "MERGE")),
    3: ("Connect", ()),
    4: ("Query", ("SELECT", "VALUES", "TABLE", "EXPLAIN")),
    5: ("Write", ("INSERT", "COPY FROM", "SELECT INTO", "CREATE TABLE AS")),
    6: ("Create", ()),
    7: ("Delete", ("DELETE", "TRUNCATE", "TRUNCATE TABLE")),
}
_BY_COMMAND: Final = {
    command: number for number, (_, commands) in _ACTIVITIES.items() for command in commands
}
_CREATE, _DELETE = 6, 7

_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = (1, "Informational"), (2, "Low"), (3, "Medium"), (4, "High")
_SUCCESS, _FAILURE = (1, "Success"), (2, "Failure")
_LEVELS: Final = {"alarm": _HIGH, "weakness": _MEDIUM, "note": _INFORMATIONAL}
_CHANGES: Final = {"new": (1, "Create"), "gone": (3, "Close")}
_STATEMENT_FIELDS: Final = {"id", "type", "at", "session", "identity", "database", "sql", "error", "sqlstate"}
"""Of our own document: they have attributes of their own."""


def event(item: Item) -> dict[str, Any]:
    """The item as an event."""
    if item.statement is not None and item.who is not None:
        return _statement(item, item.who, item.statement)
    if item.kind in ("session_started", "session_ended") and item.who is not None:
        return _session(item, item.who)
    if item.kind == "refusal":
        return _refusal(item)
    if item.kind == "finding":
        return _finding(item)
    return _other(item)


def activity(command: str | None, copy: str | None = None) -> tuple[int, str]:
    """activity_id and its caption for one of PostgreSQL's commands; ``copy`` is the direction of a COPY."""
    name = command or ""
    if name == "COPY":
        name = "COPY FROM" if copy == "in" else "COPY TO"
    number = _BY_COMMAND.get(name)
    if number is None and name.startswith("CREATE "):
        number = _CREATE
    elif number is None and name.startswith("DROP "):
        number = _DELETE
    return (number, _ACTIVITIES[number][0]) if number is not None else (_OTHER, name or "Unknown command")


def _base(
    item: Item,
    class_uid: int,
    activity_id: tuple[int, str],
    severity: tuple[int, str],
    status: tuple[int, str] | None,
) -> dict[str, Any]:
    number, name = activity_id
    metadata = {
        "version": VERSION,
        "product": {"name": "pgwitness", "vendor_name": "pgwitness", "version": pgwitness.__version__},
        "uid": item.id,
        "log_name": item.kind,
        "original_time": item.at,
    }
    run = item.who.session.run if item.who else None
    if run:
        metadata["correlation_uid"] = run
    made: dict[str, Any] = {
        "category_uid": class_uid // 1000,
        "category_name": _CATEGORIES[class_uid // 1000],
        "class_uid": class_uid,
        "class_name": _CLASSES[class_uid],
        "activity_id": number,
        "activity_name": name,
        "type_uid": class_uid * 100 + number,
        "type_name": f"{_CLASSES[class_uid]}: {name}",
        "severity_id": severity[0],
        "severity": severity[1],
        "time": item.milliseconds,
        "message": message(item),
        "metadata": metadata,
    }
    if status is not None:
        made["status_id"], made["status"] = status
    return made


def _statement(item: Item, who: Who, statement: Statement) -> dict[str, Any]:
    failed = statement.status in ("error", "cancelled")
    status = _FAILURE if failed else _SUCCESS if statement.status == "ok" else (_OTHER, statement.status)
    made = _base(
        item,
        DATASTORE_ACTIVITY,
        activity(statement.command, statement.copy.direction if statement.copy else None),
        _LOW if failed else _INFORMATIONAL,
        status,
    )
    made["metadata"]["sequence"] = statement.seq
    made["metadata"]["is_truncated"] = statement.truncated
    made["start_time"] = item.milliseconds
    if statement.duration_us is not None:
        made["end_time"] = (nanoseconds(item.at) + statement.duration_us * 1000) // 1_000_000
        made["duration"] = statement.duration_us // 1000
    if statement.sqlstate:
        made["status_code"] = statement.sqlstate
    if statement.error:
        made["status_detail"] = statement.error
    if statement.sql:
        made["query_info"] = {"uid": f"{statement.session}/{statement.seq}", "query_string": statement.sql}
        if statement.result is not None:
            made["query_info"]["bytes"] = statement.result.bytes
    made |= _where(who)
    if statement.tables:
        made["table"] = {"name": statement.tables[0]}
    kept = {name: value for name, value in document(item).items() if name not in _STATEMENT_FIELDS}
    return made | {"unmapped": {"pgwitness": kept}}


def _session(item: Item, who: Who) -> dict[str, Any]:
    ended = item.kind == "session_ended"
    made = _base(item, AUTHENTICATION, (2, "Logoff") if ended else (1, "Logon"), _INFORMATIONAL, _SUCCESS)
    where = _where(who)
    made |= {
        "user": where["actor"]["user"],
        "session": where["actor"]["session"],
        "actor": where["actor"],
        "src_endpoint": where["src_endpoint"],
        "dst_endpoint": where["dst_endpoint"],
        "service": {"name": who.session.connection or "postgresql"},
        "is_remote": True,
    }
    if who.authentication:
        made |= {"auth_protocol_id": _OTHER, "auth_protocol": who.authentication}
    if ended and who.session.end_reason:
        made["status_detail"] = who.session.end_reason
    return made | _unmapped(item)


def _refusal(item: Item) -> dict[str, Any]:
    said = item.details
    made = _base(item, AUTHENTICATION, (1, "Logon"), _MEDIUM, _FAILURE)
    user = str(said.get("identity") or said.get("user") or "unknown")
    made |= {
        "user": {"name": user},
        "actor": {"user": {"name": user}},
        "src_endpoint": _endpoint(Address.parse(said.get("address"))),
        "service": {"name": str(said.get("connection") or said.get("database") or "postgresql")},
        "is_remote": True,
        "status_detail": str(said.get("reason") or said.get("detail") or "refused"),
    }
    return made | _unmapped(item)


def _finding(item: Item) -> dict[str, Any]:
    said = item.details
    change = _CHANGES.get(str(said.get("change")), (2, "Update"))
    status = (4, "Resolved") if said.get("change") == "gone" else (1, "New")
    level = str(said.get("level"))
    made = _base(item, DETECTION_FINDING, change, _LEVELS.get(level, _INFORMATIONAL), status)
    about: dict[str, Any] = {
        "uid": f"{said.get('connection')}/{said.get('key')}",
        "title": str(said.get("what") or said.get("key")),
        "types": [str(said.get("kind"))],
    }
    for ours, theirs in (("first_seen", "first_seen_time"), ("last_seen", "last_seen_time")):
        if said.get(ours):
            about[theirs] = nanoseconds(str(said[ours])) // 1_000_000
    return made | {"finding_info": about, "is_alert": level == "alarm"} | _unmapped(item)


def _other(item: Item) -> dict[str, Any]:
    name = str(item.details.get("event") or item.kind).replace("_", " ")
    severity = _MEDIUM if item.details.get("event") == "kill_requested" else _INFORMATIONAL
    made = _base(item, DATASTORE_ACTIVITY, (_OTHER, name), severity, None)
    if item.who is not None:
        return made | _where(item.who) | _unmapped(item)
    nowhere = {"name": "pgwitness"}
    return made | {
        "actor": {"app_name": "pgwitness"},
        "src_endpoint": nowhere,
        "database": nowhere | {"type_id": 1, "type": "Relational"},
    }


def _where(who: Who) -> dict[str, Any]:
    """Who, from where, to which database."""
    session = who.session
    actor: dict[str, Any] = {
        "user": _user(session.identity, session.kind),
        "session": {
            "uid": session.session,
            "created_time": nanoseconds(session.started_at) // 1_000_000,
            "is_remote": True,
        },
    }
    if who.application:
        actor["app_name"] = who.application
    database = {"name": session.database or session.connection or "unknown"}
    return {
        "actor": actor,
        "src_endpoint": _endpoint(who.client),
        "dst_endpoint": _endpoint(who.server) | {"svc_name": session.connection or "postgresql"},
        "database": database | {"type_id": 1, "type": "Relational"},
    }


def _user(identity: str | None, kind: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {"name": identity or "unknown"}
    if kind == "service":
        made |= {"type_id": 4, "type": "Service"}
    elif kind == "human":
        made |= {"type_id": 1, "type": "User"}
    return made


def _endpoint(address: Address) -> dict[str, Any]:
    if address.host is None:
        return {"name": "unknown"}
    made: dict[str, Any] = {"ip" if _is_ip(address.host) else "hostname": address.host}
    if address.port is not None:
        made["port"] = address.port
    return made


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _unmapped(item: Item) -> dict[str, Any]:
    kept = {name: value for name, value in document(item).items() if name not in ("id", "type", "at")}
    return {"unmapped": {"pgwitness": kept}}
