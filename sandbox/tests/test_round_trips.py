"""What goes out and comes back is the same: links to files of any name, events of any text."""

import json
import os
import re

from hypothesis import given
from hypothesis import strategies as st
from sandbox.artifacts import link_to, shown
from sandbox.routes.files import _exact_path
from sandbox.routes.run_stream import RunFeed
from starlette.requests import Request

SEGMENT = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, ord("/")} & {*name})
PATHS = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda names: os.fsdecode(b"/".join(names)))
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6)
# Those of the standard of server-sent events, and what else readers take for an end of a line.
LINE_ENDS = re.compile("\r\n|[\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


@given(path=PATHS, session_id=st.text("abcXYZ-_019", min_size=1, max_size=64))
def test_link_to_a_file_leads_to_its_very_bytes(path: str, session_id: str) -> None:
    link = link_to(path, session_id)
    assert link.isascii()
    assert not re.search(r"[\s?#]", link)
    scope = {"type": "http", "raw_path": link.encode("ascii"), "headers": []}
    assert _exact_path(Request(scope), "what the server decoded") == path
    assert shown(path).encode("utf-8")


@given(pieces=st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), TEXTS), max_size=5))
def test_events_hold_any_text_and_end_where_they_should(
    pieces: list[tuple[str, list[str]]],
) -> None:
    feed = RunFeed()
    printed = {"stdout": "", "stderr": ""}
    for stream, texts in pieces:
        for text in texts:
            printed[stream] += text
            feed.printed("stdout" if stream == "stdout" else "stderr", text)
    stream_text = b"".join(feed.take()).decode("utf-8")
    heard = {"stdout": "", "stderr": ""}
    name = data = ""
    for line in LINE_ENDS.split(stream_text):
        field, _, value = line.partition(": ")
        match field:
            case "event":
                name = value
            case "data":
                data = value
            case "":
                if name:
                    heard[name] += json.loads(data)["text"]
                name = data = ""
            case _:
                raise AssertionError(line)
    assert heard == printed
