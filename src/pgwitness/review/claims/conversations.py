"""Tool calls and their results in transcripts of conversations, and in logs of MCP.

Each format has two recognisers: what one node of JSON says as a call, and what it says as the result of one.
A walk through the documents in their order asks them of every node, so it does not matter how deep the
messages lie: in a request, a response, a state of a graph, a trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import Struct

from pgwitness.review.claims.arguments import find_sql
from pgwitness.review.claims.documents import Documents
from pgwitness.review.claims.model import Result, Said, Testimony
from pgwitness.review.claims.results import result_of

Node = dict[str, Any]
_DEPTH: Final = 200


class Call(Struct):
    id: Any
    tool: str
    arguments: Any
    result: Result | None = None


class Answer(Struct):
    id: Any
    content: Any
    failed: bool | None = None
    tool: str = ""
    """Whose result it is, where calls have no ids: the oldest call of that tool without a result."""


Recogniser = Callable[[Node], list[Call | Answer]]


def _openai_chat(node: Node) -> list[Call | Answer]:
    """https://platform.openai.com/docs/api-reference/chat, also its older function_call."""
    found: list[Call | Answer] = []
    for call in _list(node.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, dict) and "arguments" in function:
            found.append(Call(call.get("id"), str(function.get("name", "")), function["arguments"]))
    old = node.get("function_call")
    if isinstance(old, dict) and "arguments" in old and "args" not in old:
        found.append(Call(None, str(old.get("name", "")), old["arguments"]))
    if node.get("role") == "tool" and "tool_call_id" in node:
        found.append(Answer(node["tool_call_id"], node.get("content")))
    elif node.get("role") == "function" and "name" in node:
        found.append(Answer(None, node.get("content"), tool=str(node["name"])))
    return found


def _openai_responses(node: Node) -> list[Call | Answer]:
    """https://platform.openai.com/docs/api-reference/responses: items of input and output."""
    kind = node.get("type")
    if kind == "function_call" and "arguments" in node:
        return [Call(node.get("call_id") or node.get("callId"), str(node.get("name", "")), node["arguments"])]
    if kind == "custom_tool_call" and "input" in node:
        return [Call(node.get("call_id"), str(node.get("name", "")), node["input"])]
    if kind in ("function_call_output", "custom_tool_call_output") and "output" in node:
        return [Answer(node.get("call_id") or node.get("callId"), node["output"])]
    if kind == "mcp_call" and "arguments" in node:
        failed = True if node.get("error") else None
        result = result_of(node.get("error") or node.get("output"), failed)
        return [Call(node.get("id"), str(node.get("name", "")), node["arguments"], result)]
    return []


def _anthropic(node: Node) -> list[Call | Answer]:
    """https://docs.anthropic.com/en/api/messages: blocks of content, of the client's and of MCP's tools."""
    kind = node.get("type")
    if kind in ("tool_use", "mcp_tool_use", "server_tool_use") and "input" in node:
        return [Call(node.get("id"), str(node.get("name", "")), node["input"])]
    if kind in ("tool_result", "mcp_tool_result") and "tool_use_id" in node:
        failed = node.get("is_error")
        return [
            Answer(node["tool_use_id"], node.get("content"), failed if isinstance(failed, bool) else None)
        ]
    return []


def _gemini(node: Node) -> list[Call | Answer]:
    """https://ai.google.dev/api/caching#Part, in the spelling of REST and in that of the Python SDK."""
    for name in ("functionCall", "function_call"):
        call = node.get(name)
        if isinstance(call, dict) and "name" in call and "args" in call:
            return [Call(call.get("id"), str(call["name"]), call["args"])]
    for name in ("functionResponse", "function_response"):
        answer = node.get(name)
        if isinstance(answer, dict) and "name" in answer:
            return [Answer(answer.get("id"), answer.get("response"), tool=str(answer["name"]))]
    return []


def _langchain(node: Node) -> list[Call | Answer]:
    """Messages of langchain_core: ``messages_to_dict``, ``model_dump`` and ``dumpd`` (their fields are those
    of the message in each), as LangGraph's states hold them too."""
    found: list[Call | Answer] = []
    for call in _list(node.get("tool_calls")):
        if "args" in call and "name" in call and "function" not in call:
            found += [Call(call.get("id"), str(call["name"]), call["args"])]
    if "tool_call_id" in node and "content" in node and node.get("role") is None and "block_type" not in node:
        failed = {"error": True, "success": None}.get(str(node.get("status")))
        content = (
            node["content"] if node.get("artifact") in (None, "") else [node["content"], node["artifact"]]
        )
        found.append(Answer(node["tool_call_id"], _first(content), failed))
    return found


def _llama_index(node: Node) -> list[Call | Answer]:
    """llama_index.core: ToolCallBlock of a ChatMessage, ToolCall and ToolCallResult of a workflow; a message
    of role tool has its call's id in ``additional_kwargs``."""
    if "tool_kwargs" in node and "tool_name" in node:
        identity = node.get("tool_call_id") or node.get("tool_id")
        output = node.get("tool_output")
        result = None
        if isinstance(output, dict):
            failed = output.get("is_error")
            content = (
                output.get("raw_output") if output.get("raw_output") is not None else output.get("content")
            )
            result = result_of(content, failed if isinstance(failed, bool) else None)
        return [Call(identity, str(node["tool_name"]), node["tool_kwargs"], result)]
    kwargs = node.get("additional_kwargs")
    if node.get("role") == "tool" and "tool_call_id" not in node and isinstance(kwargs, dict):
        content = node.get("content")
        if content is None:
            content = [block for block in _list(node.get("blocks")) if "text" in block]
        return [Answer(kwargs["tool_call_id"], content)] if "tool_call_id" in kwargs else []
    return []


def _crewai(node: Node) -> list[Call | Answer]:
    """crewai.events: tool_usage_finished and tool_usage_error; what only started is told by neither."""
    kind = node.get("type")
    if kind == "tool_usage_finished" and "tool_args" in node:
        failed = True if node.get("failure") else None
        result = result_of(node.get("output"), failed)
        return [Call(None, str(node.get("tool_name", "")), node["tool_args"], result)]
    if kind == "tool_usage_error" and "tool_args" in node:
        return [
            Call(None, str(node.get("tool_name", "")), node["tool_args"], result_of(node.get("error"), True))
        ]
    return []


def _autogen(node: Node) -> list[Call | Answer]:
    """autogen_agentchat: the content of ToolCallRequestEvent and ToolCallExecutionEvent; autogen_core: of
    AssistantMessage and FunctionExecutionResultMessage."""
    kind = node.get("type")
    content = _list(node.get("content"))
    if kind in ("ToolCallRequestEvent", "AssistantMessage"):
        calls = [each for each in content if "arguments" in each]
        return [Call(each.get("id"), str(each.get("name", "")), each["arguments"]) for each in calls]
    if kind in ("ToolCallExecutionEvent", "FunctionExecutionResultMessage"):
        answers = [each for each in content if "call_id" in each]
        return [Answer(each["call_id"], each.get("content"), each.get("is_error")) for each in answers]
    return []


def _vercel(node: Node) -> list[Call | Answer]:
    """AI SDK: parts of UIMessage (4: tool-invocation, 5 and later: tool-NAME and dynamic-tool) and of
    ModelMessage (tool-call, tool-result)."""
    kind = str(node.get("type", ""))
    inner = node.get("toolInvocation") if kind == "tool-invocation" else None
    if isinstance(inner, dict):
        return _vercel_old(inner)
    if "toolCallId" not in node:
        return []
    identity, name = node["toolCallId"], str(node.get("toolName") or kind.removeprefix("tool-"))
    if kind == "tool-result":
        output = node.get("output", node.get("result"))
        failed = True if node.get("isError") else None
        if isinstance(output, dict) and str(output.get("type", "")).startswith("error"):
            failed = True
        value = output.get("value") if isinstance(output, dict) and "value" in output else output
        return [Answer(identity, value, failed)]
    if kind == "tool-call":
        return [Call(identity, name, node.get("input", node.get("args")))]
    if kind.startswith("tool-") or kind == "dynamic-tool":
        state = node.get("state")
        result = None
        if state == "output-available":
            result = result_of(node.get("output"))
        elif state == "output-error":
            result = result_of(node.get("errorText"), True)
        return [Call(identity, name, node.get("input"), result)]
    return _vercel_old(node)


def _vercel_old(inner: Node) -> list[Call | Answer]:
    if "toolName" not in inner or "args" not in inner:
        return []
    result = result_of(inner["result"]) if inner.get("state") == "result" and "result" in inner else None
    return [Call(inner.get("toolCallId"), str(inner["toolName"]), inner["args"], result)]


def _mcp(node: Node) -> list[Call | Answer]:
    """JSON-RPC of https://modelcontextprotocol.io: tools/call, its result or its error."""
    params = node.get("params")
    if node.get("method") == "tools/call" and isinstance(params, dict):
        return [Call(node.get("id"), str(params.get("name", "")), params.get("arguments"))]
    if node.get("jsonrpc") == "2.0" and "method" not in node and node.get("id") is not None:
        if "error" in node:
            return [Answer(node["id"], node["error"], True)]
        result = node.get("result")
        if isinstance(result, dict):
            failed = result.get("isError")
            content = result.get("structuredContent") or result.get("content")
            return [Answer(node["id"], content, failed if isinstance(failed, bool) else None)]
    return []


FORMATS: Final[dict[str, Recogniser]] = {
    "openai-chat": _openai_chat,
    "openai-responses": _openai_responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "langchain": _langchain,
    "llama-index": _llama_index,
    "crewai": _crewai,
    "autogen": _autogen,
    "vercel": _vercel,
    "mcp": _mcp,
}


def read_conversation(documents: Documents, format: str | None = None) -> Testimony | None:
    """Of one of ``FORMATS``; without it, of that with the most calls. None if there is none."""
    if format is not None:
        return _read(documents, format, FORMATS[format])
    made = [_read(documents, name, recogniser) for name, recogniser in FORMATS.items()]
    found = [each for each in made if each.said or each.others]
    return max(found, key=_telling, default=None)


def _telling(testimony: Testimony) -> tuple[int, int, int]:
    results = sum(each.result.status is not None for each in testimony.said)
    return len(testimony.said), results, testimony.others


def _read(documents: Documents, name: str, recogniser: Recogniser) -> Testimony:
    testimony = Testimony(name, problems=list(documents.problems))
    calls: list[tuple[Call, list[Said]]] = []
    waiting: dict[Any, int] = {}
    for place, node in _nodes(documents):
        for found in recogniser(node):
            if isinstance(found, Call):
                said = [Said(place, sql, given) for sql, given in find_sql(found.arguments, found.tool)]
                if name != "mcp" and _repeats(found, calls, waiting):
                    continue  # the history of a conversation, told again with the next message
                waiting[_key(found.id)] = len(calls)
                calls.append((found, said))
                testimony.said += said
                testimony.others += not said
                if found.result is not None:
                    _answer(said, found.result)
            else:
                at = _asked(found, calls, waiting)
                if at is not None:
                    calls[at][0].result = result_of(found.content, found.failed)
                    _answer(calls[at][1], calls[at][0].result)
    return testimony


def _repeats(call: Call, calls: list[tuple[Call, list[Said]]], waiting: dict[Any, int]) -> bool:
    if call.id is None or _key(call.id) not in waiting:
        return False
    before = calls[waiting[_key(call.id)]][0]
    return before.tool == call.tool and before.arguments == call.arguments


def _asked(answer: Answer, calls: list[tuple[Call, list[Said]]], waiting: dict[Any, int]) -> int | None:
    """The call that it answers."""
    if answer.id is not None:
        return waiting.get(_key(answer.id))
    return next(
        (at for at, (call, _) in enumerate(calls) if call.tool == answer.tool and call.result is None), None
    )


def _key(identity: Any) -> str:
    return repr(identity)


def _answer(said: list[Said], result: Result | None) -> None:
    """Of several texts in one call, a result tells of the last."""
    if said and result is not None:
        said[-1].result = result


def _nodes(documents: Documents) -> Iterator[tuple[str, Node]]:
    """Every object of the documents with its place, in their order. A string that holds JSON is looked into
    where transcripts have such: a message of a log."""
    for document in documents.items:
        root = f"line {document.line}" if documents.lines else ""
        stack: list[tuple[str, Any, int]] = [(root, document.value, 0)]
        while stack:
            place, value, depth = stack.pop()
            if depth > _DEPTH:
                continue
            if isinstance(value, dict):
                yield place or "the document", value
                inner: list[tuple[str, Any, int]] = [
                    (f"{place}.{key}" if place and not documents.lines else place or key, each, depth + 1)
                    for key, each in value.items()
                    if isinstance(each, dict | list)
                ]
                stack.extend(reversed(inner))
            elif isinstance(value, list):
                numbered = [
                    (place if documents.lines else f"{place}[{at}]", each, depth + 1)
                    for at, each in enumerate(value)
                ]
                stack.extend(reversed(numbered))


def _list(value: Any) -> list[Node]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _first(content: Any) -> Any:
    """The content, or what the tool gave beside it for programs, if that says more."""
    if isinstance(content, list) and len(content) == 2 and not isinstance(content[0], dict):
        text, artifact = content
        return text if result_of(text).rows is not None else artifact
    return content
