"""Frames, messages and paths under any input at all: whole, or refused as what they are."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_runner import file_messages, protocol
from sandbox_runner.file_messages import (
    DeleteFile,
    FileChanges,
    FileDeleted,
    FileEnd,
    FileEntry,
    FileList,
    FileOpened,
    FileRefused,
    FileWritten,
    ListFiles,
    ReadFile,
    WriteFile,
)
from sandbox_runner.frames import HEADER_BYTES
from sandbox_runner.protocol import (
    MAX_OUTPUT_BYTES,
    Cancel,
    Close,
    Done,
    Frame,
    FrameDecoder,
    FrameKind,
    Hello,
    Limits,
    Open,
    Packages,
    ProtocolError,
    Request,
    Reset,
    Run,
)
from sandbox_runner.slot_path import MAX_DEPTH, MAX_PATH_BYTES, PathRefused, split_path

JSON_BYTES = 1 << 16
FRAMES = st.lists(
    st.builds(Frame, st.sampled_from(list(FrameKind)), st.binary(max_size=300)), max_size=8
)
# Paths as they come from a file system: any bytes, as text with lone surrogates.
NAMES = st.binary(min_size=1, max_size=40).map(os.fsdecode)
ENTRIES = st.builds(
    FileEntry,
    path=NAMES,
    kind=st.sampled_from(["file", "folder", "link", "other"]),
    size_bytes=st.integers(0, 2**62),
    modified=st.floats(-1e10, 1e12),
)
MANY = st.lists(ENTRIES, max_size=4).map(tuple)
LIMIT = st.none() | st.integers(1, 2**40)
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.sampled_from([Hello(), Cancel(), Close(), Reset(), ListFiles()]),
    st.builds(Open, st.builds(Limits, memory_bytes=LIMIT, disk_bytes=LIMIT), st.none() | NAMES),
    st.builds(Run, NAMES, st.text(), st.floats(0.001, 1e6), st.builds(Limits, processes=LIMIT)),
    st.builds(Packages, NAMES),
    st.builds(ReadFile, NAMES),
    st.builds(WriteFile, NAMES),
    st.builds(DeleteFile, NAMES),
)
EVENTS: st.SearchStrategy[protocol.Event] = st.one_of(
    st.builds(FileList, MANY, st.booleans()),
    st.builds(FileOpened, ENTRIES),
    st.builds(FileEnd, st.booleans()),
    st.builds(FileWritten, ENTRIES, st.booleans()),
    st.just(FileDeleted()),
    st.builds(FileRefused, st.sampled_from(["bad-path", "full", "cancelled"]), st.text()),
    st.builds(
        Done, NAMES, st.just("ok"), files=st.builds(FileChanges, MANY, MANY, MANY, st.booleans())
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=8,
)


def decoder() -> FrameDecoder:
    return FrameDecoder(max_json_bytes=JSON_BYTES)


@given(frames=FRAMES, cuts=st.lists(st.integers(1, 400), max_size=30))
def test_frames_come_out_whole_however_the_stream_is_cut(
    frames: list[Frame], cuts: list[int]
) -> None:
    stream = b"".join(protocol.encode_frame(frame.kind, frame.payload) for frame in frames)
    receiver, found = decoder(), []
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        found += receiver.feed(piece)
    assert found == frames


@given(noise=st.lists(st.binary(max_size=200), max_size=10))
def test_noise_is_frames_or_refused(noise: list[bytes]) -> None:
    receiver = decoder()
    try:
        for piece in noise:
            for frame in receiver.feed(piece):
                cap = JSON_BYTES if frame.kind is FrameKind.JSON else MAX_OUTPUT_BYTES
                assert len(frame.payload) <= cap
    except ProtocolError:
        return


@given(kind=st.sampled_from(list(FrameKind)), length=st.integers(0, 2**32 - 1))
def test_length_over_its_cap_is_refused_before_its_bytes_come(kind: FrameKind, length: int) -> None:
    header = length.to_bytes(4, "big") + bytes([kind])
    cap = JSON_BYTES if kind is FrameKind.JSON else MAX_OUTPUT_BYTES
    if length > cap and kind in {FrameKind.JSON, FrameKind.STDOUT, FrameKind.FILE}:
        with pytest.raises(ProtocolError):
            list(decoder().feed(header))


@given(request=REQUESTS)
def test_request_is_read_as_it_was_sent(request: Request) -> None:
    (frame,) = FrameDecoder(max_json_bytes=1 << 20).feed(protocol.encode_request(request))
    assert protocol.parse_request(frame) == request


@given(event=EVENTS)
def test_event_is_read_as_it_was_sent(event: protocol.Event) -> None:
    (frame,) = FrameDecoder(max_json_bytes=1 << 20).feed(protocol.encode_event(event))
    assert protocol.parse_event(frame) == event


def test_what_is_as_usual_is_not_sent() -> None:
    run = protocol.encode_request(protocol.Run("1", "6 * 7", 2.0))
    assert json.loads(run[HEADER_BYTES:]) == {
        "op": "run",
        "id": "1",
        "code": "6 * 7",
        "timeout_seconds": 2.0,
    }
    done = protocol.encode_event(protocol.Done("1", "ok", result="42"))
    assert json.loads(done[HEADER_BYTES:]) == {
        "event": "done",
        "id": "1",
        "status": "ok",
        "result": "42",
    }


@given(
    name=st.sampled_from([*file_messages.REQUESTS, "run", "open", "packages", "cancel", "other"]),
    fields=st.dictionaries(
        st.sampled_from(["path", "id", "code", "timeout_seconds", "limits", "package_path", "x"]),
        VALUES,
        max_size=4,
    ),
)
def test_any_object_is_a_request_or_refused(name: str, fields: dict[str, object]) -> None:
    payload = json.dumps({"op": name, **fields}).encode()
    try:
        protocol.parse_request(Frame(FrameKind.JSON, payload))
    except ProtocolError:
        return


@given(
    name=st.sampled_from([*sorted(file_messages.EVENTS), "done", "hello", "refused", "opened"]),
    fields=st.dictionaries(
        st.sampled_from(["entries", "entry", "is_new", "reason", "detail", "files", "status"]),
        VALUES,
        max_size=4,
    ),
)
def test_any_object_is_an_event_or_refused(name: str, fields: dict[str, object]) -> None:
    payload = json.dumps({"event": name, **fields}).encode()
    try:
        protocol.parse_event(Frame(FrameKind.JSON, payload))
    except ProtocolError:
        return


@given(
    entry=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["path", "kind", "size_bytes", "modified"], VALUES)
    )
    | st.fixed_dictionaries(
        {"path": NAMES, "kind": st.just("file"), "size_bytes": VALUES, "modified": VALUES}
    )
)
def test_any_entry_is_one_or_refused(entry: dict[str, object]) -> None:
    payload = json.dumps({"event": "file-opened", "entry": entry}).encode()
    try:
        protocol.parse_event(Frame(FrameKind.JSON, payload))
    except ProtocolError:
        return


@given(path=st.text(max_size=60) | NAMES | st.lists(NAMES, max_size=80).map("/".join))
def test_path_stays_below_its_folder_or_is_refused(path: str) -> None:
    try:
        names = split_path(path)
    except PathRefused:
        return
    assert "/".join(names) == path
    assert len(names) <= MAX_DEPTH
    assert len(os.fsencode(path)) <= MAX_PATH_BYTES
    for name in names:
        assert name not in {"", ".", ".."}
        assert "/" not in name
        assert "\0" not in name
    assert not os.path.relpath(os.path.join("/slot", *names), "/slot").startswith("..")  # noqa: PTH118  # text


@given(entries=st.lists(ENTRIES, max_size=20).map(tuple))
def test_entry_is_no_longer_than_is_counted_for_it(entries: tuple[FileEntry, ...]) -> None:
    message = protocol.encode_event(FileList(entries, is_truncated=False))
    assert len(message) < 100 + sum(file_messages.json_bytes(entry.path) for entry in entries)


def test_event_that_is_longer_than_a_service_takes_is_not_sent() -> None:
    long = protocol.Refused("bad-request", "x" * protocol.MAX_EVENT_BYTES)
    with pytest.raises(ValueError, match="over the cap"):
        protocol.encode_event(long)
