"""What a cell showed, from the runner's frames to the answer."""

import base64
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox.adapters.rich_output import rich_output
from sandbox_runner import report
from sandbox_runner.protocol import Done, Frame, FrameKind
from sandbox_runner.rich_messages import MAX_CONTENT_BYTES, MAX_JSON_BYTES, OutputHead
from sandbox_support.fake_runner import FakeRunner, Reply
from servicekit.wire.execution import RichOutput

PNG = b"\x89PNG\r\n\x1a\n123"
_FRAME_BYTES = 32 << 10


def _shown(*heads: OutputHead, content: bytes = b"", dropped: int = 0) -> Reply:
    done = Done("", "ok", outputs=heads, outputs_dropped=dropped)
    pieces = (content[at : at + _FRAME_BYTES] for at in range(0, len(content), _FRAME_BYTES))
    return Reply(tuple(Frame(FrameKind.DISPLAY, piece) for piece in pieces), done)


async def test_outputs_reach_the_answer(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    table, data = "<b>ü</b>".encode(), b'{"a":[1,null]}'
    heads = (
        OutputHead("figure", (("image/png", len(PNG)),)),
        OutputHead("result", (("text/html", len(table)), ("application/json", len(data)))),
    )
    fake_runner.on_run = lambda _, __: _shown(*heads, content=PNG + table + data, dropped=2)
    answer = (await service.post("/execute", json={"code": "6*7"})).json()
    assert answer["outputs"] == [
        {"kind": "figure", "data": {"image/png": base64.b64encode(PNG).decode()}},
        {
            "kind": "result",
            "data": {"text/html": "<b>ü</b>", "application/json": {"a": [1, None]}},
        },
    ]
    assert answer["outputs_dropped"] == 2


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/gif", "image/webp"])
async def test_picture_that_is_none_is_left_out(
    service: httpx.AsyncClient, fake_runner: FakeRunner, media_type: str
) -> None:
    content = b"<script>alert(1)</script>"
    head = OutputHead("figure", ((media_type, len(content)),))
    fake_runner.on_run = lambda _, __: _shown(head, content=content)
    answer = (await service.post("/execute", json={"code": "6*7"})).json()
    assert (answer["outputs"], answer["outputs_dropped"]) == ([], 1)


async def test_content_that_does_not_fit_its_heads_is_the_runners_fault(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    head = OutputHead("figure", (("image/png", 5),))
    fake_runner.on_run = lambda _, __: _shown(head, content=PNG)
    answer = await service.post("/execute", json={"code": "6*7"})
    assert answer.status_code == 502


async def test_file_frame_during_a_run_is_the_runners_fault(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    fake_runner.on_run = lambda _, __: Reply((Frame(FrameKind.FILE, b"x"),))
    answer = await service.post("/execute", json={"code": "6*7"})
    assert answer.status_code == 502


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"",
        b"\xff",
        b"NaN",
        b"[Infinity]",
        b"[1e999]",
        b'"\\ud800"',
        b'{"\\ud800": 1}',
        b"[" * 100 + b"]" * 100,
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_json_that_is_none_is_left_out(content: bytes) -> None:
    assert rich_output("result", {"application/json": content}) is None
    both = rich_output("result", {"application/json": content, "text/html": b"x"})
    assert both == RichOutput(kind="result", data={"text/html": "x"})


@given(st.binary(max_size=200))
def test_any_bytes_make_an_answer_that_can_be_written(content: bytes) -> None:
    forms = dict.fromkeys(("text/html", "image/png", "application/json", "a/b"), content)
    output = rich_output("display", forms)
    assert output is not None
    json.loads(output.model_dump_json())


WORDS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["outputs", "kind", "forms", "result", "failure", "outputs_dropped"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(WORDS, st.binary(max_size=50))
def test_whatever_a_worker_reports_is_taken_as_far_as_it_is_sound(
    words: object, content: bytes
) -> None:
    said = report.parse(report.pack(words if isinstance(words, dict) else {}, content))
    assert sum(head.size_bytes for head in said.outputs) == len(said.content)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_report(payload: bytes) -> None:
    said = report.parse(payload)
    assert said.outputs == ()
    assert len(said.content) <= len(payload)


@pytest.mark.parametrize(
    "outputs",
    [
        [{"kind": "figure", "forms": [["image/png", -1], ["text/html", 1]]}],
        [{"kind": "figure", "forms": [["image/png", True]]}],
        [{"kind": "figure", "forms": [["image/png", MAX_CONTENT_BYTES + 1]]}],
        [{"kind": "figure", "forms": [["application/x-evil", 0]]}],
        [{"kind": "figure", "forms": [["text/html", 0], ["text/html", 0]]}],
        [{"kind": "figure", "forms": []}],
        [{"kind": "evil", "forms": [["text/html", 0]]}],
        [{"kind": "figure", "forms": [["text/html", 0]]}] * 33,
        {"kind": "figure"},
        "figure",
    ],
)
def test_forged_heads_count_as_not_said(outputs: object) -> None:
    said = report.parse(report.pack({"outputs": outputs, "result": "42"}, b""))
    assert (said.outputs, said.content, said.result) == ((), b"", "42")


async def test_json_of_a_whole_run_is_parsed_up_to_the_bound_of_one_form(
    service: httpx.AsyncClient, fake_runner: FakeRunner
) -> None:
    data = b"[" + b"1," * (MAX_JSON_BYTES // 4) + b"1]"
    heads = tuple(
        OutputHead("display", (("application/json", len(data)), ("text/plain", 2)))
        for _ in range(3)
    )
    fake_runner.on_run = lambda _, __: _shown(*heads, content=(data + b"as") * 3)
    answer = (await service.post("/execute", json={"code": "6*7"})).json()
    kept = [sorted(output["data"]) for output in answer["outputs"]]
    assert kept == [["application/json", "text/plain"], ["text/plain"], ["text/plain"]]
