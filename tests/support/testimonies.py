"""What an agent tells of what it ran, written in each format that a claims check reads."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Lines = list[dict[str, Any]]


@dataclass
class Told:
    """One statement as the agent tells it."""

    sql: str
    """With ``$1`` for each of ``values``."""
    values: list[Any] = field(default_factory=list)
    rows: int | None = None
    error: str | None = None


Placeholders = Callable[[Told], tuple[str, Any]]
"""The text in a driver's own way, and what stands beside it."""


def numbered(told: Told) -> tuple[str, Any]:
    return told.sql, told.values or None


def in_place(told: Told) -> tuple[str, Any]:
    """Literals where values were bound."""
    return _each(told, lambda number: literal(told.values[number - 1])), None


def percent(told: Told) -> tuple[str, Any]:
    return _each(told, lambda number: "%s"), told.values or None


def question(told: Told) -> tuple[str, Any]:
    return _each(told, lambda number: "?"), told.values or None


def named(told: Told) -> tuple[str, Any]:
    given = {f"p{number}": value for number, value in enumerate(told.values, 1)}
    return _each(told, lambda number: f":p{number}"), given or None


def pyformat(told: Told) -> tuple[str, Any]:
    given = {f"p{number}": value for number, value in enumerate(told.values, 1)}
    return _each(told, lambda number: f"%(p{number})s"), given or None


PLACEHOLDERS: dict[str, Placeholders] = {
    "numbered": numbered,
    "in_place": in_place,
    "percent": percent,
    "question": question,
    "named": named,
    "pyformat": pyformat,
}


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _each(told: Told, text: Callable[[int], str]) -> str:
    sql = told.sql
    for number in range(len(told.values), 0, -1):
        sql = sql.replace(f"${number}", text(number))
    return sql


# --- formats ---


def _arguments(told: Told, write: Placeholders) -> dict[str, Any]:
    sql, given = write(told)
    return {"sql": sql} if given is None else {"sql": sql, "params": given}


def _result(told: Told) -> Any:
    if told.error is not None:
        return {"error": told.error}
    return {"rowcount": told.rows} if told.rows is not None else {"note": "sent"}


def plain(story: Sequence[Told], write: Placeholders) -> bytes:
    lines: Lines = []
    for told in story:
        sql, given = write(told)
        line = {"at": "2026-11-22T06:45:31Z", "query": sql, "params": given, **_result(told)}
        lines.append({name: value for name, value in line.items() if value is not None})
    return _jsonl(lines)


def table(story: Sequence[Told], write: Placeholders) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["at", "statement", "parameters", "rowcount", "error"])
    for told in story:
        sql, given = write(told)
        rows = "" if told.rows is None or told.error else told.rows
        writer.writerow(["06:45", sql, json.dumps(given) if given else "", rows, told.error or ""])
    return out.getvalue().encode()


def openai_chat(story: Sequence[Told], write: Placeholders) -> bytes:
    messages: Lines = [{"role": "user", "content": "void the small orders"}]
    for number, told in enumerate(story):
        function = {"name": "run_sql", "arguments": json.dumps(_arguments(told, write))}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        content = json.dumps(_result(told))
        messages.append({"role": "tool", "tool_call_id": f"call_{number}", "content": content})
    return _json({"model": "gpt", "messages": messages})


def openai_responses(story: Sequence[Told], write: Placeholders) -> bytes:
    items: Lines = []
    for number, told in enumerate(story):
        arguments = json.dumps(_arguments(told, write))
        common = {"call_id": f"call_{number}"}
        items.append({"type": "function_call", "name": "query", "arguments": arguments, **common})
        items.append({"type": "function_call_output", "output": json.dumps(_result(told)), **common})
    return _json({"id": "resp_1", "input": items})


def anthropic(story: Sequence[Told], write: Placeholders) -> bytes:
    messages: Lines = []
    for number, told in enumerate(story):
        use = {"type": "tool_use", "id": f"toolu_{number}", "name": "execute_sql"}
        messages.append({"role": "assistant", "content": [{**use, "input": _arguments(told, write)}]})
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number}"}
        result["content"] = [{"type": "text", "text": told.error or json.dumps(_result(told))}]
        result["is_error"] = told.error is not None
        messages.append({"role": "user", "content": [result]})
    return _json({"messages": messages})


def gemini(story: Sequence[Told], write: Placeholders) -> bytes:
    contents: Lines = []
    for told in story:
        call = {"name": "sql_db_query", "args": _arguments(told, write)}
        contents.append({"role": "model", "parts": [{"functionCall": call}]})
        answer = {"name": "sql_db_query", "response": _result(told)}
        contents.append({"role": "user", "parts": [{"functionResponse": answer}]})
    return _json({"contents": contents})


def langchain(story: Sequence[Told], write: Placeholders) -> bytes:
    messages: Lines = []
    for number, told in enumerate(story):
        call = {
            "name": "sql_db_query",
            "args": _arguments(told, write),
            "id": f"c{number}",
            "type": "tool_call",
        }
        messages.append({"type": "ai", "data": {"content": "", "tool_calls": [call], "type": "ai"}})
        data = {"content": json.dumps(_result(told)), "tool_call_id": f"c{number}", "type": "tool"}
        data["status"] = "error" if told.error else "success"
        messages.append({"type": "tool", "data": data})
    return _json(messages)


def llama_index(story: Sequence[Told], write: Placeholders) -> bytes:
    lines: Lines = []
    for number, told in enumerate(story):
        output = {
            "content": str(_result(told)),
            "raw_output": _result(told),
            "is_error": told.error is not None,
        }
        call = {"tool_name": "sql", "tool_kwargs": _arguments(told, write), "tool_id": f"t{number}"}
        lines.append({**call, "tool_output": output, "return_direct": False})
    return _jsonl(lines)


def crewai(story: Sequence[Told], write: Placeholders) -> bytes:
    lines: Lines = []
    for told in story:
        event = {"tool_name": "postgres", "tool_args": _arguments(told, write), "agent_role": "clerk"}
        lines.append({"type": "tool_usage_started", **event})
        if told.error:
            lines.append({"type": "tool_usage_error", **event, "error": told.error})
        else:
            lines.append({"type": "tool_usage_finished", **event, "output": _result(told)})
    return _jsonl(lines)


def autogen(story: Sequence[Told], write: Placeholders) -> bytes:
    messages: Lines = []
    for number, told in enumerate(story):
        call = {"id": f"c{number}", "name": "db", "arguments": json.dumps(_arguments(told, write))}
        messages.append({"type": "ToolCallRequestEvent", "source": "clerk", "content": [call]})
        result = {"call_id": f"c{number}", "name": "db", "is_error": told.error is not None}
        result["content"] = told.error or json.dumps(_result(told))
        messages.append({"type": "ToolCallExecutionEvent", "source": "clerk", "content": [result]})
    return _json({"messages": messages, "stop_reason": None})


def vercel(story: Sequence[Told], write: Placeholders) -> bytes:
    parts: Lines = []
    for number, told in enumerate(story):
        part = {"type": "tool-query", "toolCallId": f"c{number}", "input": _arguments(told, write)}
        if told.error:
            parts.append({**part, "state": "output-error", "errorText": told.error})
        else:
            parts.append({**part, "state": "output-available", "output": _result(told)})
    return _json([{"id": "m1", "role": "assistant", "parts": parts}])


def mcp(story: Sequence[Told], write: Placeholders) -> bytes:
    lines: Lines = [{"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}]
    lines.append({"jsonrpc": "2.0", "id": 0, "result": {"serverInfo": {"name": "pg"}}})
    for number, told in enumerate(story, 1):
        params = {"name": "query", "arguments": _arguments(told, write)}
        lines.append({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        text = told.error or json.dumps(_result(told))
        result = {"content": [{"type": "text", "text": text}], "isError": told.error is not None}
        lines.append({"jsonrpc": "2.0", "id": number, "result": result})
    return _jsonl(lines)


def otlp(story: Sequence[Told], write: Placeholders) -> bytes:
    spans: Lines = []
    for number, told in enumerate(story):
        sql, given = write(told)
        attributes: dict[str, Any] = {"db.system.name": "postgresql", "db.query.text": sql}
        named_values = given.items() if isinstance(given, dict) else enumerate(given or ())
        attributes |= {f"db.query.parameter.{name}": value for name, value in named_values}
        if told.rows is not None and not told.error:
            attributes["db.response.returned_rows"] = told.rows
        if told.error:
            attributes["error.type"] = told.error
        spans.append(
            {
                "spanId": f"{number:016x}",
                "name": "query",
                "startTimeUnixNano": str(1_790_000_000_000_000_000 + number * 1000),
                "attributes": [
                    {"key": name, "value": _any_value(value)} for name, value in attributes.items()
                ],
                "status": {"code": 2} if told.error else {"code": 1},
            }
        )
    spans.reverse()  # exporters promise no order
    return _json({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]})


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": value}


FORMATS: dict[str, Callable[[Sequence[Told], Placeholders], bytes]] = {
    "jsonl": plain,
    "csv": table,
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "langchain": langchain,
    "llama-index": llama_index,
    "crewai": crewai,
    "autogen": autogen,
    "vercel": vercel,
    "mcp": mcp,
    "otel": otlp,
}


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode()


def _jsonl(lines: Lines) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
