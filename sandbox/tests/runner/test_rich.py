"""What a cell shows beside its text: forms of values, and matplotlib's figures."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_runner import client
from sandbox_runner.client import CellRun, RunnerSession
from sandbox_runner.launch import RunnerProcess
from sandbox_runner.rich_messages import MAX_CONTENT_BYTES, MAX_JSON_BYTES, MAX_OUTPUTS

PNG = b"\x89PNG\r\n\x1a\n"
CELLS = Path(__file__).resolve().parents[3] / ".cells" / "bin" / "python"


def _shown(run: CellRun) -> list[tuple[str, dict[str, bytes]]]:
    return [(str(kind), forms) for kind, forms in run.outputs]


def _value(body: str) -> str:
    return f"class V:\n{body}\nV()"


def test_html_of_the_last_value_comes_beside_its_text(session: RunnerSession) -> None:
    code = _value(
        "    def _repr_html_(self): return '<b>ü</b>'\n    def __repr__(self): return 'V!'"
    )
    run = session.run(code)
    assert run.done.result == "V!"
    assert _shown(run) == [("result", {"text/html": "<b>ü</b>".encode()})]


def test_every_form_comes(session: RunnerSession) -> None:
    run = session.run(
        _value(
            "    def _repr_html_(self): return '<i>h</i>'\n"
            "    def _repr_markdown_(self): return '*m*'\n"
            "    def _repr_latex_(self): return '$x$'\n"
            "    def _repr_svg_(self): return '<svg/>'\n"
            f"    def _repr_png_(self): return {PNG!r} + b'p'\n"
            "    def _repr_json_(self): return {'a': [1, None, 'ü']}"
        )
    )
    ((kind, forms),) = _shown(run)
    assert kind == "result"
    assert (
        forms.pop("application/json")
        == json.dumps({"a": [1, None, "ü"]}, separators=(",", ":")).encode()
    )
    assert forms == {
        "text/html": b"<i>h</i>",
        "text/markdown": b"*m*",
        "text/latex": b"$x$",
        "image/svg+xml": b"<svg/>",
        "image/png": PNG + b"p",
    }


def test_bundle_of_forms_comes(session: RunnerSession) -> None:
    run = session.run(
        _value(
            "    def _repr_mimebundle_(self, include=None, exclude=None):\n"
            "        return {'text/html': 'h', 'application/vnd.x.v1+json': {'a': 1},\n"
            "                'text/plain': 'p', 'application/x-evil': 'e', 5: 'n'}, {}"
        )
    )
    assert _shown(run) == [("result", {"text/html": b"h", "application/vnd.x.v1+json": b'{"a":1}'})]


def test_plain_value_has_no_form(session: RunnerSession) -> None:
    for code in ("42", "'x'", "[1]", "print", "int", "None", "x = 1", _value("    pass")):
        run = session.run(code)
        assert (run.done.status, run.outputs) == ("ok", ()), code


@pytest.mark.parametrize(
    "body",
    [
        "    def _repr_html_(self): raise ValueError",
        "    def _repr_html_(self): raise SystemExit",
        "    def _repr_html_(self): raise KeyboardInterrupt",
        "    def _repr_html_(self): return 5",
        "    def _repr_html_(self): return b'bytes'",
        "    def _repr_html_(self): return self",
        "    def _repr_html_(self, more): return 'x'",
        "    _repr_html_ = 5",
        "    def _repr_png_(self): return '<b>no picture</b>'",
        "    def _repr_png_(self): return b'<b>no picture</b>'",
        "    def _repr_json_(self): return float('nan')",
        "    def _repr_json_(self): return object()",
        "    def _repr_json_(self):\n        x = []\n        x.append(x)\n        return x",
        "    def _repr_mimebundle_(self): return 5",
        "    def _repr_mimebundle_(self): return {5: 5, None: 'x', 'text/html': None}",
        "    def _repr_mimebundle_(self): return ()",
        "    def __getattr__(self, name): return lambda *_: 'anything'",
        "    __class__ = property(lambda self: 1 / 0)",
    ],
)
def test_form_that_raises_or_lies_is_left_out(session: RunnerSession, body: str) -> None:
    run = session.run(_value(body))
    assert (run.done.status, run.outputs) == ("ok", ())
    assert session.run("6 * 7").done.result == "42"


def test_form_that_hangs_ends_with_the_time_limit(session: RunnerSession) -> None:
    done = session.run(_value("    def _repr_html_(self):\n        while True: pass"), 0.3).done
    assert done.status == "timeout"


def test_subclass_of_str_cannot_run_code_where_the_form_is_read(session: RunnerSession) -> None:
    code = (
        "class S(str):\n    def encode(self, *_): return b'forged' * 9\n"
        "    __str__ = __len__ = encode\n"
        "class V:\n    def _repr_html_(self): return S('true')\nV()"
    )
    assert _shown(session.run(code)) == [("result", {"text/html": b"true"})]


def test_forms_over_the_caps_are_dropped_and_counted(session: RunnerSession) -> None:
    size = MAX_CONTENT_BYTES + 1
    run = session.run(_value(f"    def _repr_html_(self): return 'x' * {size}"))
    assert (run.done.outputs, run.done.outputs_dropped) == ((), 1)
    assert run.done.result is not None
    run = session.run(_value(f"    def _repr_json_(self): return 'x' * {MAX_JSON_BYTES}"))
    assert run.done.outputs == ()


def test_form_as_large_as_the_cap_comes_whole(session: RunnerSession) -> None:
    run = session.run(_value(f"    def _repr_html_(self): return 'x' * {MAX_CONTENT_BYTES}"))
    ((_, forms),) = _shown(run)
    assert forms == {"text/html": b"x" * MAX_CONTENT_BYTES}


def test_display_prints_and_shows_in_order(session: RunnerSession) -> None:
    code = (
        "class V:\n    def __init__(self, n): self.n = n\n"
        "    def _repr_html_(self): return f'<b>{self.n}</b>'\n"
        "    def __repr__(self): return f'V{self.n}'\n"
        "display(V(1), 'plain')\ndisplay(V(2))\nV(3)"
    )
    run = session.run(code)
    assert run.text == "V1\n'plain'\nV2\n"
    assert _shown(run) == [
        ("display", {"text/html": b"<b>1</b>"}),
        ("display", {"text/html": b"<b>2</b>"}),
        ("result", {"text/html": b"<b>3</b>"}),
    ]
    assert session.run("1").outputs == ()


def test_number_of_outputs_is_bounded(session: RunnerSession) -> None:
    code = "class V:\n    def _repr_html_(self): return 'x'\nfor _ in range(100): display(V())"
    run = session.run(code)
    assert len(run.outputs) == MAX_OUTPUTS
    assert run.done.outputs_dropped == 100 - MAX_OUTPUTS


def test_what_finds_no_place_is_not_built(session: RunnerSession) -> None:
    code = (
        "built = 0\nclass V:\n    def __init__(self, size): self.size = size\n"
        "    def __repr__(self): return ''\n"
        "    def _repr_html_(self):\n        global built\n        built += 1\n"
        "        return 'x' * self.size\n"
        "for _ in range(100): display(V({size}), 7)\nprint(built)"
    )
    for size, shown in ((1, MAX_OUTPUTS), (MAX_CONTENT_BYTES + 1, 0)):
        run = session.run(code.replace("{size}", str(size)))
        assert run.text.split()[-1] == str(MAX_OUTPUTS)
        assert (len(run.outputs), run.done.outputs_dropped) == (shown, 100 - shown)


@pytest.mark.parametrize(
    "shows",
    [
        "for _ in range(40): display(Outer())",
        (
            "from concurrent.futures import ThreadPoolExecutor as Pool\n"
            "with Pool(8) as pool: list(pool.map(lambda _: display(Outer()), range(40)))"
        ),
    ],
)
def test_number_is_kept_where_what_is_shown_shows_something(
    session: RunnerSession, shows: str
) -> None:
    code = (
        "class V:\n    def _repr_html_(self): return 'x'\n"
        "class Outer:\n    def _repr_html_(self):\n        display(V())\n        return 'o'\n"
        "display(V())\n"
    )
    run = session.run(code + shows)
    assert run.done.error is None
    assert len(run.outputs) == MAX_OUTPUTS


def test_result_is_shown_after_much_that_was_too_large(session: RunnerSession) -> None:
    code = (
        "class V:\n    def __init__(self, size): self.size = size\n"
        "    def _repr_html_(self): return 'x' * self.size\n"
        f"for _ in range(40): display(V({MAX_CONTENT_BYTES + 1}))\nV(1)"
    )
    assert _shown(session.run(code)) == [("result", {"text/html": b"x"})]


def test_what_was_shown_before_an_exception_comes(session: RunnerSession) -> None:
    code = "class V:\n    def _repr_html_(self): return 'x'\ndisplay(V())\n1 / 0"
    run = session.run(code)
    assert run.done.status == "error"
    assert _shown(run) == [("display", {"text/html": b"x"})]


# ---------------------------------------------------------------- figures


@pytest.fixture(scope="module")
def plotting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerProcess]:
    """A runner whose cells have matplotlib."""
    if not CELLS.exists():
        pytest.skip("make setup-dev makes the cells' interpreter")
    import tempfile  # noqa: PLC0415  # a short path: a socket's name has 107 bytes

    with (
        tempfile.TemporaryDirectory(prefix="runner-") as folder,
        RunnerProcess(
            Path(folder),
            python=os.fspath(CELLS),
            settings={"pool": "1", "preload": "matplotlib.pyplot,pandas"},
        ) as runner,
    ):
        said = client.hello(runner.socket, 120)
        if not said.is_safe or "matplotlib.pyplot" not in said.preloaded:
            pytest.skip("no matplotlib for cells, or a kernel that cannot confine them")
        yield runner


@pytest.fixture
def plots(plotting: RunnerProcess) -> Iterator[RunnerSession]:
    with RunnerSession(plotting.socket) as session:
        yield session


def _pictures(run: CellRun) -> int:
    assert run.done.error is None, run.done.error
    for kind, forms in run.outputs:
        assert kind == "figure"
        assert list(forms) == ["image/png"]
        assert forms["image/png"].startswith(PNG)
    return len(run.outputs)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("plt.plot([1, 2])", 1),
        ("plt.plot([1, 2]);", 1),
        ("plt.plot([1, 2])\nplt.show()", 1),
        ("plt.plot([1, 2])\nplt.show()\nplt.plot([3, 4])\nplt.show()", 2),
        ("plt.plot([1, 2])\nplt.show()\nplt.plot([3, 4])", 2),
        ("for i in range(3):\n    plt.figure()\n    plt.plot([i])", 3),
        ("fig, ax = plt.subplots()\nax.plot([1])\nfig", 1),
        ("fig, ax = plt.subplots()\nax.plot([1])\nfig.show()", 1),
        ("fig, ax = plt.subplots()\ndisplay(fig)", 1),
        ("fig, ax = plt.subplots()\nplt.close(fig)", 0),
        ("plt.plot([1])\nplt.savefig('f.png')\nplt.close()", 0),
        ("import matplotlib\nmatplotlib.use('Agg')\nplt.plot([1])\nplt.show()", 1),
        ("from matplotlib.figure import Figure\nf = Figure()\nf.subplots().plot([1])\nf", 1),
        ("import pandas as pd\npd.DataFrame({'a': [1, 2]}).plot()", 1),
        ("x = 1", 0),
    ],
)
def test_figures_come_without_the_codes_help(plots: RunnerSession, code: str, count: int) -> None:
    run = plots.run("import matplotlib.pyplot as plt\n" + code, 30)
    assert _pictures(run) == count
    assert run.stderr == b""
    assert plots.run("plt.get_fignums()").done.result == "[]"
    assert _pictures(plots.run("1")) == 0


def test_figure_of_a_cell_that_fails_comes_too(plots: RunnerSession) -> None:
    run = plots.run("import matplotlib.pyplot as plt\nplt.plot([1])\n1 / 0", 30)
    assert run.done.status == "error"
    assert [kind for kind, _ in run.outputs] == ["figure"]


def test_figure_that_cannot_be_drawn_says_so_and_harms_nothing(plots: RunnerSession) -> None:
    code = "import matplotlib.pyplot as plt\nplt.title('$\\\\frac{$')\nx = 5"
    run = plots.run(code, 30)
    assert (run.done.status, run.outputs) == ("ok", ())
    assert b"A figure could not be drawn: ValueError" in run.stderr
    assert plots.run("x").done.result == "5"


def test_figure_that_exits_when_it_is_drawn_leaves_the_result(plots: RunnerSession) -> None:
    code = (
        "import matplotlib.pyplot as plt\nfrom matplotlib.lines import Line2D\n"
        "class Exits(Line2D):\n    def draw(self, renderer): raise SystemExit('no')\n"
        "fig, ax = plt.subplots()\nline = ax.add_line(Exits([0], [1]))\n'value'"
    )
    run = plots.run(code, 30)
    assert (run.done.status, run.done.result, run.outputs) == ("ok", "'value'", ())
    assert b"A figure could not be drawn: SystemExit" in run.stderr


def test_data_frame_shows_its_table(plots: RunnerSession) -> None:
    run = plots.run("import pandas as pd\npd.DataFrame({'a': [1, 2]})", 30)
    ((kind, forms),) = _shown(run)
    assert kind == "result"
    assert b"<table" in forms["text/html"]
    assert run.done.result is not None
    assert "a" in run.done.result


def test_pillow_image_is_a_picture(plots: RunnerSession) -> None:
    run = plots.run("from PIL import Image\nImage.new('RGB', (4, 4), 'red')", 30)
    ((_, forms),) = _shown(run)
    assert forms["image/png"].startswith(PNG)


def test_matplotlib_that_is_not_preloaded_is_caught_too() -> None:
    if not CELLS.exists():
        pytest.skip("make setup-dev makes the cells' interpreter")
    import tempfile  # noqa: PLC0415  # as above

    with (
        tempfile.TemporaryDirectory(prefix="runner-") as folder,
        RunnerProcess(Path(folder), python=os.fspath(CELLS), settings={"pool": "1"}) as runner,
    ):
        if not client.hello(runner.socket).is_safe:
            pytest.skip("this kernel cannot confine a session")
        with RunnerSession(runner.socket) as session:
            code = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()\nplt.plot([2])"
            assert _pictures(session.run(code, 60)) == 2
