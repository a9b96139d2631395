"""What a cell gives back."""

import pytest
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess


def test_value_of_the_last_expression_comes_back(session: RunnerSession) -> None:
    run = session.run("x = 6\nx * 7")
    assert (run.done.status, run.done.result, run.stdout) == ("ok", "42", b"")


def test_statement_at_the_end_has_no_value(session: RunnerSession) -> None:
    assert session.run("x = 6").done.result is None
    assert session.run("None").done.result is None
    assert session.run("").done.result is None


def test_state_lives_from_cell_to_cell(session: RunnerSession) -> None:
    session.run("import math\ndef area(r): return math.pi * r * r")
    assert session.run("round(area(2), 3)").done.result == "12.566"


def test_state_does_not_reach_another_session(runner: RunnerProcess) -> None:
    with RunnerSession(runner.socket) as first, RunnerSession(runner.socket) as second:
        first.run("secret = 1")
        error = second.run("secret").done.error
        assert error is not None
        assert error.type == "NameError"


def test_big_number_is_printed_whole(session: RunnerSession) -> None:
    assert session.run("print(2**100)").text == "1267650600228229401496703205376\n"


def test_exception_has_a_traceback_without_our_frames(session: RunnerSession) -> None:
    run = session.run("def f(x):\n    return 1 / x\nf(0)")
    error = run.done.error
    assert run.done.status == "error"
    assert not run.done.session_ended
    assert error is not None
    assert error.type == "ZeroDivisionError"
    assert error.message == "division by zero"
    assert '  File "<cell 1>", line 2, in f\n    return 1 / x\n' in error.traceback
    assert "sandbox_runner" not in error.traceback


def test_chained_exceptions_show_no_frame_of_ours(session: RunnerSession) -> None:
    run = session.run("try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('v') from e")
    assert run.done.error is not None
    assert "KeyError: 'k'" in run.done.error.traceback
    assert "sandbox_runner" not in run.done.error.traceback


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        ("1 / 0", ["<module>"]),
        ("def f(): 1 / 0\nf()", ["<module>", "f"]),
        ("input('? ')", ["<module>"]),
        ("await f()", ["<module>"]),
        ("async def f(): 1 / 0\nawait f()", ["<module>", "f"]),
        ("import asyncio\nasync def f(): 1 / 0\nawait asyncio.wait_for(f(), 5)", ["wait_for", "f"]),
        ("import json\njson.loads('{')", ["loads", "decode"]),
        ("class V:\n    def __repr__(self): 1 / 0\nV()", ["__repr__"]),
        ("class V:\n    def __repr__(self): 1 / 0\ndisplay(V())", ["<module>", "__repr__"]),
        ("try: 1 / 0\nfinally: input()", ["<module>"]),
        ("raise ExceptionGroup('g', [ValueError(1), TypeError(2)])", ["<module>"]),
        ("def f(n): return f(n + 1)\nf(0)", ["f"]),
        ("import no_such_module_anywhere", ["<module>"]),
        ("exit('bye')", ["<module>"]),
    ],
)
def test_traceback_shows_the_cells_own_calls_and_none_of_ours(
    session: RunnerSession, code: str, calls: list[str]
) -> None:
    error = session.run(code).done.error
    assert error is not None
    for foreign in ("sandbox_runner", "runners.py", "base_events.py", "importlib", "_evaluate"):
        assert foreign not in error.traceback
    found = [line.rsplit(" in ", 1)[1] for line in error.traceback.splitlines() if ", in " in line]
    for call in calls:
        assert call in found, error.traceback


def test_errors_inside_an_error_group_show_no_frame_of_ours(session: RunnerSession) -> None:
    code = (
        "errors = []\nfor ask in (input, lambda: 1 / 0):\n    try: ask()\n"
        "    except Exception as e: errors.append(e)\nraise ExceptionGroup('both', errors)"
    )
    error = session.run(code).done.error
    assert error is not None
    assert "EOFError" in error.traceback
    assert "ZeroDivisionError" in error.traceback
    assert "sandbox_runner" not in error.traceback


def test_syntax_error_names_its_line(session: RunnerSession) -> None:
    error = session.run("x = 1\ny = (").done.error
    assert error is not None
    assert error.type == "SyntaxError"
    assert 'File "<cell 1>", line 2' in error.traceback


def test_name_of_the_cell_counts_up(session: RunnerSession) -> None:
    session.run("def f(): raise ValueError")
    error = session.run("f()").done.error
    assert error is not None
    assert '"<cell 1>", line 1, in f' in error.traceback
    assert '"<cell 2>", line 1, in <module>' in error.traceback


@pytest.mark.parametrize("code", ["raise SystemExit", "import sys\nsys.exit(0)", "exit()"])
def test_clean_exit_is_ok_and_the_session_lives(session: RunnerSession, code: str) -> None:
    assert session.run(code).done.status == "ok"
    assert session.run("1").done.result == "1"


def test_exit_with_a_message_is_an_error(session: RunnerSession) -> None:
    done = session.run("raise SystemExit('bye')").done
    assert done.status == "error"
    assert done.error is not None
    assert (done.error.type, done.error.message) == ("SystemExit", "bye")


def test_exit_of_the_process_is_no_success(session: RunnerSession) -> None:
    run = session.run("import os\nos.write(1, b'before')\nos._exit(0)")
    assert (run.done.status, run.done.signal, run.stdout) == ("crashed", None, b"before")
    assert run.done.session_ended
    assert run.done.peak_memory_bytes > 0


def test_crash_names_its_signal(session: RunnerSession) -> None:
    done = session.run("import ctypes\nctypes.string_at(0)").done
    assert (done.status, done.signal, done.session_ended) == ("crashed", "SIGSEGV", True)


def test_stdin_is_at_its_end_and_input_says_why(session: RunnerSession) -> None:
    run = session.run("import sys\nprint(repr(sys.stdin.read()))\ninput('name? ')")
    assert run.text.startswith("''\n")
    assert run.done.error is not None
    assert run.done.error.type == "EOFError"
    assert "input()" in run.done.error.message


def test_stderr_is_kept_apart(session: RunnerSession) -> None:
    run = session.run("import sys\nprint('out')\nprint('err', file=sys.stderr)")
    assert (run.stdout, run.stderr) == (b"out\n", b"err\n")


def test_output_of_a_fast_cell_is_complete(session: RunnerSession) -> None:
    for count in (1, 10, 3000):
        run = session.run(f"for i in range({count}): print(i)")
        assert run.text.split() == [str(i) for i in range(count)]


def test_text_without_a_line_end_arrives(session: RunnerSession) -> None:
    assert session.run("print('a', end='')").stdout == b"a"


def test_large_writes_are_whole(session: RunnerSession) -> None:
    code = "import sys\nprint('x' * 300_000)\nsys.stdout.buffer.write(b'y' * 300_000)"
    assert session.run(code).stdout == b"x" * 300_000 + b"\n" + b"y" * 300_000


def test_text_and_bytes_keep_their_order(session: RunnerSession) -> None:
    code = "import os, sys\nfor i in range(50):\n    print(i, end=',')\n    os.write(1, b';')"
    assert session.run(code).text == "".join(f"{i},;" for i in range(50))


def test_output_comes_while_the_cell_runs(session: RunnerSession) -> None:
    session.start("import time\nprint('early')\ntime.sleep(20)", 20)
    session.wait_for_output(b"early")
    session.cancel()
    assert session.finish().done.status == "cancelled"


def test_replaced_streams_and_builtins_are_put_back(session: RunnerSession) -> None:
    session.run("import sys, builtins\nsys.stdout = None\nbuiltins.print = builtins.len = None")
    assert session.run("print(len('abc'))").stdout == b"3\n"


def test_closed_stdout_is_opened_again(session: RunnerSession) -> None:
    session.run("import sys\nsys.stdout.close()")
    assert session.run("print(1)").stdout == b"1\n"


def test_await_works_at_the_top(session: RunnerSession) -> None:
    code = "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 5\nawait f()"
    assert session.run(code).done.result == "5"


def test_what_one_cell_made_on_the_event_loop_the_next_can_use(session: RunnerSession) -> None:
    session.run(
        "import asyncio\nqueue = asyncio.Queue()\ntask = asyncio.create_task(queue.get())\n"
        "await asyncio.sleep(0)"
    )
    assert session.run("await asyncio.sleep(0)\nawait queue.put(7)\nawait task").done.result == "7"
    assert session.run("asyncio.run(asyncio.sleep(0, 5))").done.result == "5"
    assert session.run("await asyncio.sleep(0, 6)").done.result == "6"


def test_closed_event_loop_is_replaced(session: RunnerSession) -> None:
    session.run("import asyncio\nloop = None\nasync def f(): return asyncio.get_running_loop()")
    session.run("loop = await f()")
    session.run("loop.close()")
    assert session.run("await asyncio.sleep(0, 6)").done.result == "6"


def test_threads_asyncio_sqlite_and_zip_work(session: RunnerSession) -> None:
    run = session.run(
        "import threading, asyncio, sqlite3, zipfile, tempfile, os\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "c = sqlite3.connect('a.db'); c.execute('create table t(x)')\n"
        "c.execute('insert into t values (1)'); c.commit()\n"
        "with zipfile.ZipFile('a.zip', 'w') as z: z.write('a.db')\n"
        "with zipfile.ZipFile('a.zip') as z: z.extractall('out')\n"
        "with tempfile.NamedTemporaryFile() as f: f.write(b'x')\n"
        "sorted(os.listdir())"
    )
    assert run.done.error is None
    assert run.stdout == b"thread\n"
    assert run.done.result == "['a.db', 'a.zip', 'out']"


def test_pickle_and_dataclass_find_classes_of_a_cell(session: RunnerSession) -> None:
    run = session.run(
        "import pickle\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass P:\n    x: int\n"
        "pickle.loads(pickle.dumps(P(3)))"
    )
    assert run.done.result == "P(x=3)"


def test_lone_surrogates_never_break_an_answer(session: RunnerSession) -> None:
    assert session.run("'\\ud800'").done.status == "ok"
    assert session.run("raise ValueError('\\ud800')").done.status == "error"
    assert session.run("\ud800").done.status == "error"


def test_huge_result_is_cut(session: RunnerSession) -> None:
    result = session.run("'x' * 10_000_000").done.result
    assert result is not None
    assert len(result) < 100_000


def test_long_source_runs(session: RunnerSession) -> None:
    assert session.run("x = 1\n" * 150_000 + "x", 20).done.result == "1"


def test_evil_exception_is_described(session: RunnerSession) -> None:
    run = session.run(
        "class E(BaseException):\n    def __str__(self): raise ValueError\n"
        "    __repr__ = __str__\nraise E"
    )
    assert run.done.status == "error"
    assert run.done.error is not None
    assert run.done.error.type == "E"


def test_sources_of_old_cells_are_let_go(session: RunnerSession) -> None:
    session.run("import linecache\ndef old(): raise ValueError")
    first = session.run("old()").done.error
    assert first is not None
    assert "def old(): raise ValueError" in first.traceback
    for _ in range(600):
        session.run("1")
    kept = session.run("sum(name.startswith('<cell ') for name in linecache.cache)").done.result
    assert kept == "500"
