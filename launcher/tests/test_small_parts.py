"""Back-off, log lines, repeats, log files, console, state file, index settings."""

import io
import json
import os
from pathlib import Path

import pytest
from launcher.backoff import Backoff
from launcher.console import Console, wants_colour
from launcher.index_settings import from_pip, pip_values
from launcher.log_file import LogFile
from launcher.log_line import read_log_line
from launcher.repeats import Repeats
from launcher.state_file import living_stack, remove_state, this_process, write_state


def test_first_restart_is_fast_and_later_ones_wait_longer() -> None:
    backoff, waits = Backoff(), []
    for _ in range(8):
        backoff = backoff.after_death(None)
        waits.append(backoff.wait_seconds)
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_good_run_starts_the_waits_over() -> None:
    tired = Backoff(failures=6)
    assert tired.after_death(60.0).wait_seconds == 0.2
    assert tired.after_death(1.0).wait_seconds > 5


def test_structured_line_is_made_readable() -> None:
    raw = {"event": "tool.failed", "level": "warning", "timestamp": "t", "tool": "x", "n": 3}
    line = read_log_line(json.dumps(raw))
    assert (line.level, line.text) == ("warning", "tool.failed tool=x n=3")


def test_exception_is_shortened_to_its_last_line() -> None:
    raw = {"event": "e", "level": "error", "exception": "Traceback:\n  a\nValueError: b"}
    assert read_log_line(json.dumps(raw)).text == "e exception=ValueError: b"


def test_refused_readiness_probe_is_no_trouble() -> None:
    raw = {"event": "request.finished", "level": "warning", "route": "/ready", "status": 503}
    assert read_log_line(json.dumps(raw)).level == "info"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("Traceback (most recent call last):", "error"),
        ("ERROR: no", "error"),
        ("WARNING: hm", "warning"),
        ("hello", "info"),
        ("{not json", "info"),
        ("{}", "info"),
        ("[1]", "info"),
    ],
)
def test_plain_line_is_left_as_it_is(line: str, level: str) -> None:
    assert (read_log_line(line).level, read_log_line(line).text) == (level, line)


def test_same_complaint_is_shown_three_times_in_a_span() -> None:
    repeats = Repeats()
    verdicts = [repeats.judge("a", now) for now in (0, 1, 2, 3, 9)]
    assert verdicts == ["show", "show", "show-last", "hide", "hide"]
    assert repeats.judge("b", 9) == "show"
    assert repeats.judge("a", 10) == "show"


def test_log_file_stays_bounded(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "x.log", max_bytes=1000)
    for number in range(500):
        log.write(f"line {number}".encode())
    log.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    assert set(sizes) == {"x.log", "x.log.1"}
    assert max(sizes.values()) <= 1000
    assert (tmp_path / "logs" / "x.log").read_bytes().endswith(b"line 499\n")


def console(**options: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(stream, clock=lambda: "12:00:00", **options), stream


def test_event_has_time_and_service_on_every_line() -> None:
    out, stream = console()
    out.event("sandbox", "one\ntwo", "error")
    assert stream.getvalue().splitlines() == [
        "12:00:00  sandbox         one",
        "12:00:00  sandbox         two",
    ]


def test_control_characters_of_a_child_never_reach_the_terminal() -> None:
    out, stream = console(is_coloured=True)
    out.event("x", "\x1b[2Jgone\x1b]0;title\x07 \x00bell\x07", "plain")
    assert "gone bell" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()


def test_quiet_console_prints_errors_only() -> None:
    out, stream = console(is_quiet=True)
    out.event("x", "fine", "good")
    out.block("block")
    out.event("x", "bad", "error")
    assert stream.getvalue().endswith("bad\n")
    assert "fine" not in stream.getvalue()


def test_closed_reader_does_not_stop_the_stack() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as stream:
        out = Console(stream)
        out.event("x", "into the void")
        out.event("x", "again")
        assert out.stream is not stream
        # Nothing may be left to flush into the broken pipe when the file is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_no_colour_without_a_terminal() -> None:
    assert not wants_colour(io.StringIO(), {})


def test_state_of_a_living_process_is_found_and_of_a_dead_one_is_not(tmp_path: Path) -> None:
    assert living_stack(tmp_path) is None
    write_state(tmp_path, this_process("running", {"middleware": "http://x"}))
    found = living_stack(tmp_path)
    assert found is not None
    assert (found.phase, found.urls["middleware"]) == ("running", "http://x")
    path = tmp_path / "stack.json"
    reused = {**json.loads(path.read_text()), "supervisor_started": "1"}
    path.write_text(json.dumps(reused))
    assert living_stack(tmp_path) is None
    path.write_text("{broken")
    assert living_stack(tmp_path) is None
    remove_state(tmp_path)
    remove_state(tmp_path)
    assert not path.exists()


LISTING = """global.index-url='https://a.example/simple'
install.index-url='https://b.example/simple'
:env:.extra-index-url='https://c.example/simple\\nhttps://d.example/simple'
global.cert='/etc/own.pem'
global.trusted-host='e.example'
global.proxy='http://proxy.example:3128'
freeze.timeout='10'
broken line
global.bad=not a literal
"""


def test_settings_of_pip_reach_uv() -> None:
    found = from_pip(pip_values(LISTING), {}).environment
    assert found["UV_DEFAULT_INDEX"] == "https://b.example/simple"
    assert found["UV_INDEX"] == "https://c.example/simple https://d.example/simple"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found["SSL_CERT_FILE"] == "/etc/own.pem"
    assert found["UV_INSECURE_HOST"] == "e.example"
    assert found["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "UV_HTTP_TIMEOUT" not in found


def test_what_uv_was_told_itself_stays() -> None:
    environ = {"UV_INDEX_URL": "https://x", "SSL_CERT_FILE": "/x.pem", "https_proxy": "http://x"}
    found = from_pip(pip_values(LISTING), environ).environment
    assert not {"UV_DEFAULT_INDEX", "SSL_CERT_FILE", "HTTPS_PROXY"} & set(found)


def test_missing_folder_of_links_is_passed_over(tmp_path: Path) -> None:
    places = f"{tmp_path} {tmp_path}/missing https://links.example/"
    arguments = from_pip({"find-links": places, "no-index": "1"}, {}).arguments
    assert arguments == (
        "--find-links",
        str(tmp_path),
        "--find-links",
        "https://links.example/",
        "--no-index",
    )


def test_secrets_of_the_index_are_not_in_the_representation() -> None:
    settings = from_pip({"index-url": "https://user:secret@a.example"}, {})
    assert "secret" not in repr(settings)
