"""An MCP server with one of everything, for the official conformance suite to call.

    python everything_server.py PORT [older]

With `older` it answers as a server that does not know the 2026-07-28 revision.
It is written on the SDK's low-level server, with plain JSON results, so that what the
suite sees through the gateway is what stands here. The names are the suite's.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
import secrets
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel
from servicekit.mcp_mount import ChangingServer, McpMount
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

Context = ServerRequestContext[Any, Any]
Result = dict[str, Any]
Tool = Callable[[Context, Mapping[str, Any]], Awaitable[Result]]

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
MISSING_CAPABILITY = -32021
STATE_KEY = secrets.token_bytes(32)
STEP_SECONDS = 0.05


def _png() -> str:
    """Return one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    image = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + image).decode()


def _wav() -> str:
    """Return eight samples of silence."""
    samples = bytes(8)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16,
                       1, 1, 8000, 8000, 1, 8, b"data", len(samples))  # fmt: skip
    return base64.b64encode(head + samples).decode()


PNG, WAV = _png(), _wav()
EMPTY = {"type": "object", "properties": {}}
COMPLETE = {"resultType": "complete"}
FRESH = {**COMPLETE, "ttlMs": 1000, "cacheScope": "private"}


def text(value: str) -> Result:
    return {"type": "text", "text": value}


def image() -> Result:
    return {"type": "image", "data": PNG, "mimeType": "image/png"}


def resource(uri: str, content: str, kind: str = "text/plain") -> Result:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": content}}


def content(*blocks: Result) -> Result:
    return {"content": list(blocks)}


# --- questions to the client ---


def elicitation(message: str, properties: Result, required: list[str] | None = None) -> Result:
    schema: Result = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema},
    }


def sampling(prompt: str, tokens: int = 100) -> Result:
    message = {"role": "user", "content": text(prompt)}
    return {
        "method": "sampling/createMessage",
        "params": {"messages": [message], "maxTokens": tokens},
    }


ROOTS: Result = {"method": "roots/list", "params": {}}
NAME = elicitation("What is your name?", {"name": {"type": "string"}}, ["name"])
NEEDED = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
QUESTIONS: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResult),
    "elicitation/create": (types.ElicitRequest, types.ElicitResult),
    "roots/list": (types.ListRootsRequest, types.ListRootsResult),
}


def is_modern(ctx: Context) -> bool:
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def declared(ctx: Context) -> Mapping[str, Any]:
    if is_modern(ctx):
        return dict(ctx.meta or {}).get(CAPABILITIES) or {}
    capabilities = ctx.session.client_capabilities
    return capabilities.model_dump(by_alias=True, exclude_none=True) if capabilities else {}


def answers(ctx: Context) -> Mapping[str, Any]:
    given = (ctx.params or {}).get("inputResponses")
    return given if isinstance(given, Mapping) else {}


def input_required(questions: Result, state: str | None = None) -> Result:
    result: Result = {"resultType": "input_required", "inputRequests": questions}
    return result | ({"requestState": state} if state else {})


class Unanswered(Exception):
    """The client has to answer first; carries the interim result."""

    def __init__(self, result: Result) -> None:
        super().__init__("input required")
        self.result = result


async def ask(ctx: Context, key: str, question: Result) -> Mapping[str, Any]:
    """Ask in the client's era: at once, or by an interim result."""
    needed = NEEDED[question["method"]]
    if needed not in declared(ctx):
        raise MCPError(
            MISSING_CAPABILITY,
            f"The client did not declare {needed}",
            {"requiredCapabilities": {needed: {}}},
        )
    if is_modern(ctx):
        answer = answers(ctx).get(key)
        if not isinstance(answer, Mapping) or not _fits(question, answer):
            raise Unanswered(input_required({key: question}))
        return answer
    request, result = QUESTIONS[question["method"]]
    reply = await ctx.session.send_request(
        request.model_validate(question),  # type: ignore[arg-type]  # one of three by the table
        result,
        metadata=ServerMessageMetadata(related_request_id=ctx.request_id),
    )
    return reply.model_dump(by_alias=True, mode="json", exclude_none=True)


def _fits(question: Result, answer: Mapping[str, Any]) -> bool:
    match question["method"]:
        case "elicitation/create":
            return answer.get("action") in {"accept", "decline", "cancel"}
        case "roots/list":
            return isinstance(answer.get("roots"), list)
        case _:
            return isinstance(answer.get("content"), Mapping)


def sealed(state: str) -> str:
    return state + "." + hmac.new(STATE_KEY, state.encode(), hashlib.sha256).hexdigest()


def unsealed(ctx: Context) -> str | None:
    """Return the echoed state; refuse one that is not ours."""
    token = (ctx.params or {}).get("requestState")
    if token is None:
        return None
    state, _, _ = str(token).rpartition(".")
    if not hmac.compare_digest(sealed(state), str(token)):
        raise MCPError(types.INVALID_PARAMS, "The request state is not authentic")
    return state


# --- tools ---

TOOLS: dict[str, tuple[Result, Tool]] = {}


def tool(name: str, description: str, schema: Result | None = None) -> Callable[[Tool], Tool]:
    def register(function: Tool) -> Tool:
        TOOLS[name] = (
            {"name": name, "description": description, "inputSchema": schema or EMPTY},
            function,
        )
        return function

    return register


def takes(argument: str) -> Result:
    properties = {argument: {"type": "string"}}
    return {"type": "object", "properties": properties, "required": [argument]}


def fixed(name: str, description: str, result: Result, schema: Result | None = None) -> None:
    @tool(name, description, schema)
    async def answer(_: Context, __: Mapping[str, Any]) -> Result:
        return result


fixed("test_simple_text", "Text", content(text("This is a simple text response for testing.")))
fixed("test_image_content", "An image", content(image()))
fixed("test_audio_content", "Audio",
      content({"type": "audio", "data": WAV, "mimeType": "audio/wav"}))  # fmt: skip
fixed(
    "test_embedded_resource",
    "A resource",
    content(resource("test://embedded-resource", "This is an embedded resource content.")),
)
fixed(
    "test_multiple_content_types",
    "Several kinds of content",
    content(
        text("Multiple content types test:"),
        image(),
        resource(
            "test://mixed-content-resource", '{"test":"data","value":123}', "application/json"
        ),
    ),
)
fixed(
    "test_error_handling",
    "Always fails",
    {**content(text("This tool intentionally returns an error for testing")), "isError": True},
)
fixed(
    "test_headers",
    "Takes an argument that is mirrored into a header",
    content(text("The headers fit.")),
    {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "required": ["region"],
    },
)
ADDRESS = {"street": {"type": "string"}, "city": {"type": "string"}}
fixed(
    "json_schema_2020_12_tool",
    "Tool with JSON Schema 2020-12 features",
    content(text("The schema fits.")),
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": ADDRESS}},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
)


async def log(ctx: Context, message: str) -> None:
    if is_modern(ctx) and LOG_LEVEL not in dict(ctx.meta or {}):
        return
    params = types.LoggingMessageNotificationParams(level="info", data=message)
    await ctx.session.send_notification(
        types.LoggingMessageNotification(params=params), related_request_id=ctx.request_id
    )


@tool("test_tool_with_logging", "Sends three log messages")
async def with_logging(ctx: Context, _: Mapping[str, Any]) -> Result:
    for number, message in enumerate(
        ("execution started", "processing data", "execution completed")
    ):
        await asyncio.sleep(STEP_SECONDS if number else 0)
        await log(ctx, f"Tool {message}")
    return content(text("Three messages were logged."))


@tool("test_logging_tool", "Sends one log message")
async def one_log(ctx: Context, _: Mapping[str, Any]) -> Result:
    await log(ctx, "One message")
    return content(text("One message was logged."))


@tool("test_tool_with_progress", "Reports progress")
async def with_progress(ctx: Context, _: Mapping[str, Any]) -> Result:
    for progress in (0, 50, 100):
        await ctx.session.report_progress(progress, 100)
        await asyncio.sleep(STEP_SECONDS)
    return content(text("All progress was reported."))


@tool("test_sampling", "Asks the client's model", takes("prompt"))
async def with_sampling(ctx: Context, arguments: Mapping[str, Any]) -> Result:
    answer = await ask(ctx, "answer", sampling(str(arguments["prompt"])))
    return content(text(f"LLM response: {answer['content'].get('text', '')}"))


@tool("test_elicitation", "Asks the user", takes("message"))
async def with_elicitation(ctx: Context, arguments: Mapping[str, Any]) -> Result:
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    question = elicitation(str(arguments["message"]), fields, ["username", "email"])
    answer = await ask(ctx, "user", question)
    given = json.dumps(answer.get("content"))
    return content(text(f"User response: action: {answer['action']}, content: {given}"))


async def _elicited(ctx: Context, message: str, fields: Result) -> Result:
    answer = await ask(ctx, "form", elicitation(message, fields))
    given = json.dumps(answer.get("content"))
    return content(text(f"Elicitation completed: action={answer['action']}, content={given}"))


@tool("test_elicitation_sep1034_defaults", "Asks with defaults")
async def with_defaults(ctx: Context, _: Mapping[str, Any]) -> Result:
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    }
    return await _elicited(ctx, "Please check the defaults", fields)


def _titled(*pairs: tuple[str, str]) -> list[Result]:
    return [{"const": value, "title": title} for value, title in pairs]


@tool("test_elicitation_sep1330_enums", "Asks with five kinds of choices")
async def with_enums(ctx: Context, _: Mapping[str, Any]) -> Result:
    options = ["option1", "option2", "option3"]
    titled = [("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")]
    choices = [("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice")]
    fields = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": _titled(*titled)},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled(*choices)}},
    }
    return await _elicited(ctx, "Please choose", fields)


@tool("test_missing_capability", "Needs a client that can sample")
async def missing_capability(ctx: Context, _: Mapping[str, Any]) -> Result:
    await ask(ctx, "answer", sampling("Say something"))
    return content(text("The client can sample."))


@tool("test_streaming_elicitation", "Reports progress, then asks")
async def streaming_elicitation(ctx: Context, _: Mapping[str, Any]) -> Result:
    await ctx.session.report_progress(1, 2)
    await ask(ctx, "user_name", NAME)
    return content(text("Thank you."))


@tool("test_reconnection", "Closes its stream and goes on")
async def reconnection(ctx: Context, _: Mapping[str, Any]) -> Result:
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(2 * STEP_SECONDS)
    return content(text("Reconnection test completed successfully."))


@tool("test_trigger_tool_change", "Says that the tools changed")
async def trigger_tools(_: Context, __: Mapping[str, Any]) -> Result:
    CHANGING_TOOLS.append(f"test_changed_{len(CHANGING_TOOLS)}")
    await mount.bus.publish(ToolsListChanged())
    return content(text("The list of tools changed."))


@tool("test_trigger_prompt_change", "Says that the prompts changed")
async def trigger_prompts(_: Context, __: Mapping[str, Any]) -> Result:
    CHANGING_PROMPTS.append(f"test_changed_{len(CHANGING_PROMPTS)}")
    await mount.bus.publish(PromptsListChanged())
    return content(text("The list of prompts changed."))


CHANGING_TOOLS: list[str] = []
CHANGING_PROMPTS: list[str] = []


@tool("test_input_required_result_elicitation", "Asks for a name")
async def mrtr_elicitation(ctx: Context, _: Mapping[str, Any]) -> Result:
    answer = await ask(ctx, "user_name", NAME)
    return content(text(f"Hello, {(answer.get('content') or {}).get('name', 'stranger')}!"))


@tool("test_input_required_result_sampling", "Asks the client's model")
async def mrtr_sampling(ctx: Context, _: Mapping[str, Any]) -> Result:
    answer = await ask(ctx, "capital_question", sampling("What is the capital of France?"))
    return content(text(str(answer["content"].get("text", ""))))


@tool("test_input_required_result_list_roots", "Asks for the roots")
async def mrtr_roots(ctx: Context, _: Mapping[str, Any]) -> Result:
    answer = await ask(ctx, "client_roots", ROOTS)
    return content(text("Roots: " + ", ".join(str(root.get("uri")) for root in answer["roots"])))


async def _with_state(ctx: Context, state: str, key: str, question: Result) -> Mapping[str, Any]:
    """Ask with a sealed state, and go on only when it came back."""
    if unsealed(ctx) != state or key not in answers(ctx):
        raise Unanswered(input_required({key: question}, sealed(state)))
    answer: Mapping[str, Any] = answers(ctx)[key]
    return answer


CONFIRM = elicitation("Please confirm", {"ok": {"type": "boolean"}}, ["ok"])


@tool("test_input_required_result_request_state", "Gives a state and wants it back")
async def mrtr_state(ctx: Context, _: Mapping[str, Any]) -> Result:
    await _with_state(ctx, "confirm", "confirm", CONFIRM)
    return content(text("state-ok"))


@tool("test_input_required_result_tampered_state", "Refuses a state that was changed")
async def mrtr_tampered(ctx: Context, _: Mapping[str, Any]) -> Result:
    await _with_state(ctx, "tamper", "confirm", CONFIRM)
    return content(text("state-ok"))


@tool("test_input_required_result_multiple_inputs", "Asks three things at once")
async def mrtr_multiple(ctx: Context, _: Mapping[str, Any]) -> Result:
    questions = {
        "user_name": NAME,
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": ROOTS,
    }
    if unsealed(ctx) != "multiple" or not set(questions) <= set(answers(ctx)):
        raise Unanswered(input_required(questions, sealed("multiple")))
    return content(text("All three answers arrived."))


@tool("test_input_required_result_multi_round", "Asks twice")
async def mrtr_rounds(ctx: Context, _: Mapping[str, Any]) -> Result:
    colour = elicitation(
        "Step 2: What is your favorite color?", {"color": {"type": "string"}}, ["color"]
    )
    name = elicitation("Step 1: What is your name?", {"name": {"type": "string"}}, ["name"])
    state = unsealed(ctx)
    if state == "round-1" and "step1" in answers(ctx):
        raise Unanswered(input_required({"step2": colour}, sealed("round-2")))
    if state == "round-2" and "step2" in answers(ctx):
        return content(text("Both steps are done."))
    raise Unanswered(input_required({"step1": name}, sealed("round-1")))


@tool("test_input_required_result_capabilities", "Asks only what the client can answer")
async def mrtr_capabilities(ctx: Context, _: Mapping[str, Any]) -> Result:
    wanted = {"elicit": NAME, "sample": sampling("Say something"), "roots": ROOTS}
    able = declared(ctx)
    questions = {key: ask for key, ask in wanted.items() if NEEDED[ask["method"]] in able}
    if questions and not set(questions) <= set(answers(ctx)):
        raise Unanswered(input_required(questions))
    return content(text("Everything that could be asked was answered."))


# --- resources and prompts ---

TEMPLATE = re.compile(r"test://template/(?P<id>[^/]+)/data")
RESOURCES: dict[str, Result] = {
    "test://static-text": {
        "mimeType": "text/plain",
        "text": "This is the content of the static text resource.",
    },
    "test://static-binary": {"mimeType": "image/png", "blob": PNG},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Watch me."},
}


def _said(*blocks: Result) -> Result:
    return {"messages": [{"role": "user", "content": block} for block in blocks]}


async def simple_prompt(_: Context, __: Mapping[str, str]) -> Result:
    return _said(text("This is a simple prompt for testing."))


async def prompt_with_arguments(_: Context, given: Mapping[str, str]) -> Result:
    return _said(text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"))


async def prompt_with_resource(_: Context, given: Mapping[str, str]) -> Result:
    embedded = resource(given["resourceUri"], "Embedded resource content for testing.")
    return _said(embedded, text("Please process the embedded resource above."))


async def prompt_with_image(_: Context, __: Mapping[str, str]) -> Result:
    return _said(image(), text("Please analyze the image above."))


async def prompt_that_asks(ctx: Context, _: Mapping[str, str]) -> Result:
    question = elicitation(
        "What context should the prompt use?", {"context": {"type": "string"}}, ["context"]
    )
    answer = await ask(ctx, "user_context", question)
    return _said(text(f"Context: {(answer.get('content') or {}).get('context', '')}"))


PROMPTS: dict[str, tuple[tuple[str, ...], Tool]] = {
    "test_simple_prompt": ((), simple_prompt),
    "test_prompt_with_arguments": (("arg1", "arg2"), prompt_with_arguments),
    "test_prompt_with_embedded_resource": (("resourceUri",), prompt_with_resource),
    "test_prompt_with_image": ((), prompt_with_image),
    "test_input_required_result_prompt": ((), prompt_that_asks),
}


# --- the server ---


async def list_tools(_: Context, __: object) -> Any:
    changed = [
        {"name": name, "description": "New", "inputSchema": EMPTY} for name in CHANGING_TOOLS
    ]
    return {"tools": [wire for wire, _call in TOOLS.values()] + changed, **FRESH}


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    try:
        return COMPLETE | await TOOLS[params.name][1](ctx, params.arguments or {})
    except Unanswered as unanswered:
        return unanswered.result


async def list_resources(_: Context, __: object) -> Any:
    listed = [
        {"uri": uri, "name": uri.removeprefix("test://"), "description": "A test resource",
         "mimeType": body["mimeType"]}
        for uri, body in RESOURCES.items()
    ]  # fmt: skip
    return {"resources": listed, **FRESH}


async def list_templates(_: Context, __: object) -> Any:
    template = {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "A test template",
        "mimeType": "application/json",
    }
    return {"resourceTemplates": [template], **FRESH}


async def read_resource(_: Context, params: types.ReadResourceRequestParams) -> Any:
    uri = str(params.uri)
    if uri in RESOURCES:
        return {"contents": [{"uri": uri, **RESOURCES[uri]}], **FRESH}
    if found := TEMPLATE.fullmatch(uri):
        value = {"id": found["id"], "templateTest": True, "data": f"Data for ID: {found['id']}"}
        body = {"uri": uri, "mimeType": "application/json", "text": json.dumps(value)}
        return {"contents": [body], **FRESH}
    raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})


async def list_prompts(_: Context, __: object) -> Any:
    listed = [
        {
            "name": name,
            "description": "A test prompt",
            "arguments": [{"name": key, "description": key, "required": True} for key in keys],
        }
        for name, (keys, _render) in PROMPTS.items()
    ]
    listed += [{"name": name, "description": "New", "arguments": []} for name in CHANGING_PROMPTS]
    return {"prompts": listed, **FRESH}


async def get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> Any:
    if params.name not in PROMPTS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
    try:
        return COMPLETE | await PROMPTS[params.name][1](ctx, params.arguments or {})
    except Unanswered as unanswered:
        return unanswered.result


async def complete(_: Context, params: types.CompleteRequestParams) -> Any:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    completion = {"values": values, "total": len(values), "hasMore": False}
    return COMPLETE | {"completion": completion}


async def accept(_: Context, __: object) -> types.EmptyResult:
    return types.EmptyResult()


server = ChangingServer(
    "everything",
    version="1.0.0",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_list_resource_templates=list_templates,
    on_read_resource=read_resource,
    on_subscribe_resource=accept,
    on_unsubscribe_resource=accept,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_completion=complete,
    get_tool_input_schema=lambda name: TOOLS[name][0]["inputSchema"] if name in TOOLS else None,
)
server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, accept)
mount = McpMount(server)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with mount.run():
        yield


app = FastAPI(title="everything", lifespan=lifespan)
mount.attach(app)


class OlderEra:
    """Refuses the 2026-07-28 revision."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (b"mcp-protocol-version", b"2026-07-28") in scope.get("headers", []):
            await JSONResponse({"error": "unknown protocol version"}, 400)(scope, receive, send)
        else:
            await self._inner(scope, receive, send)


if __name__ == "__main__":
    served: ASGIApp = OlderEra(app) if "older" in sys.argv[2:] else app
    uvicorn.run(served, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
