"""Runs one cell in the session's namespace. This is the code that stands beside untrusted code."""

import ast
import asyncio
import builtins
import inspect
import linecache
import sys
import threading
import traceback
import types
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from sandbox_runner.figures import FigureCatcher
from sandbox_runner.rich_messages import OutputKind
from sandbox_runner.showcase import Showcase, forms_of, has_forms

MAX_SOURCES: Final = 500
"""Cells whose lines a traceback can show."""
MAX_RESULT_CHARACTERS: Final = 64 << 10
MAX_MESSAGE_CHARACTERS: Final = 4 << 10
MAX_TRACEBACK_CHARACTERS: Final = 24 << 10
_MAX_TRACEBACK_FRAMES: Final = 40

# Cells may replace builtins, sys.stdout and the like; after each cell they are put back.
_BUILTINS: Final = vars(builtins)
_PRISTINE_BUILTINS: Final = dict(_BUILTINS)
_ENDS_OF_TRACING: Final[tuple[Callable[[None], None], ...]] = (
    sys.settrace,
    sys.setprofile,
    threading.settrace,
    threading.setprofile,
)
_OWN_FOLDER: Final = f"{Path(__file__).parent}/"
_CELL_PREFIX: Final = "<cell "


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as text."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cell left: the repr of its last expression, or the exception that ended it."""

    result: str | None = None
    failure: Failure | None = None


class Namespace:
    """The module ``__main__`` of one session, and the cells run in it so far.

    Attributes
    ----------
    showcase
        What the latest cell showed beside its text.
    """

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.count = 0
        self.showcase = Showcase()
        self._figures = FigureCatcher(self.showcase)
        self._figures.install()
        self._awaiting: asyncio.Runner | None = None
        # pickle, dataclasses and typing look classes of a cell up by their module.
        sys.modules["__main__"] = self.module
        self.module.__dict__["__builtins__"] = builtins
        for name, function in (("input", refuse_input), ("display", self.display)):
            _BUILTINS[name] = _PRISTINE_BUILTINS[name] = function

    def rehearse(self) -> Outcome:
        """Touch, before a client waits, what every cell touches; it leaves no trace."""
        outcome = self.run("print(end='')\n0")
        linecache.clearcache()
        self.count = 0
        return outcome

    def run(self, source: str) -> Outcome:
        """Run a cell; whatever it raises becomes part of the outcome."""
        self.count += 1
        self.showcase.clear()
        try:
            try:
                return Outcome(result=self._evaluate(source, f"{_CELL_PREFIX}{self.count}>"))
            finally:
                self._catch_figures()
                # No name is looked up among the builtins until they are the interpreter's again.
                for _ in (1, 2, 3):
                    try:
                        _settle()
                        break
                    except:  # noqa: E722, S112  # a trace function of the cell's is removed when it raises
                        continue
        except SystemExit as error:
            return _exit_outcome(error)
        except BaseException as error:  # noqa: BLE001  # a cell may raise anything at all
            return Outcome(failure=describe(error))

    def _evaluate(self, source: str, name: str) -> str | None:
        lines = source.splitlines(keepends=True)
        # A size without a time: linecache then never looks for a file of this name.
        linecache.cache[name] = (len(source), None, lines, name)
        # Of the latest cells alone: a session of ten thousand would keep all their sources.
        linecache.cache.pop(f"<cell {self.count - MAX_SOURCES}>", None)
        value = self._execute(_parts_of(source, name))
        if value is None:
            return None
        text = _shorten(str.__str__(repr(value)), MAX_RESULT_CHARACTERS)
        self._show("result", value)
        return text

    def display(self, *values: object) -> None:
        """Print values, and show their rich forms, as the function of that name in notebooks."""
        for value in values:
            sys.stdout.write(f"{value!r}\n")
            self._show("display", value)

    def _show(self, kind: OutputKind, value: object) -> None:
        if not self._figures.catch_value(value) and has_forms(value):
            self.showcase.add(kind, lambda: forms_of(value))

    def _catch_figures(self) -> None:
        try:
            self._figures.catch_open()
        except Exception:  # noqa: BLE001  # the cell broke what knows the figures: there are none
            return

    def _execute(self, parts: Sequence[types.CodeType]) -> Any:
        """Run the parts of a cell one after the other; return what the last one gives."""
        if any(part.co_flags & inspect.CO_COROUTINE for part in parts):
            return self._await(self._execute_on_loop(parts))
        value = None
        for part in parts:
            value = eval(part, self.module.__dict__)  # noqa: S307  # running code is what this is for
        return value

    async def _execute_on_loop(self, parts: Sequence[types.CodeType]) -> Any:
        # All of it: a task that a cell makes before it awaits needs the loop too.
        value = None
        for part in parts:
            value = eval(part, self.module.__dict__)  # noqa: S307  # as above
            if part.co_flags & inspect.CO_COROUTINE:
                value = await value
        return value

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        # One loop for all cells: what one of them made on it, a queue or a task, the next can use.
        if self._awaiting is None or self._awaiting.get_loop().is_closed():
            self._awaiting = asyncio.Runner()
        return self._awaiting.run(coroutine)


_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def _parts_of(source: str, name: str) -> tuple[types.CodeType, ...]:
    """Return a cell's code: its statements, and apart from them an expression at its end."""
    tree = compile(source, name, "exec", ast.PyCF_ONLY_AST | _AWAIT, dont_inherit=True)
    last = tree.body[-1] if tree.body else None
    before = ast.Module(body=tree.body, type_ignores=tree.type_ignores)
    if not isinstance(last, ast.Expr):
        # eval runs "exec" code as well; it gives None, or the coroutine of a cell that awaits.
        return (compile(before, name, "exec", _AWAIT, dont_inherit=True),)
    value = compile(ast.Expression(last.value), name, "eval", _AWAIT, dont_inherit=True)
    before.body = tree.body[:-1]
    if not before.body:
        return (value,)
    return compile(before, name, "exec", _AWAIT, dont_inherit=True), value


def refuse_input(_prompt: object = "", /) -> NoReturn:
    """Stand in for `input`: there is nobody to ask."""
    raise EOFError("input() has no one to ask in the sandbox: put the values into the code")


def describe(error: BaseException) -> Failure:
    """Return an exception as text, without any frame of ours."""
    return Failure(
        type=_shorten(_type_name(error), MAX_MESSAGE_CHARACTERS),
        message=_shorten(_message(error), MAX_MESSAGE_CHARACTERS),
        traceback=_shorten_middle(_traceback_text(error), MAX_TRACEBACK_CHARACTERS),
    )


def _exit_outcome(error: SystemExit) -> Outcome:
    try:
        is_clean = error.code is None or error.code is False or error.code == 0
    except BaseException:  # noqa: BLE001  # a cell's own type may raise anything when compared
        is_clean = False
    return Outcome() if is_clean else Outcome(failure=describe(error))


def _traceback_text(error: BaseException) -> str:
    try:
        report = traceback.TracebackException(
            type(error), error, error.__traceback__, limit=-_MAX_TRACEBACK_FRAMES, compact=True
        )
        _drop_our_frames(report)
        return "".join(report.format())
    except BaseException:  # noqa: BLE001  # its texts come from the cell, and so does what they raise
        return _type_name(error) + "\n"


def _drop_our_frames(report: traceback.TracebackException) -> None:
    """Leave the frames of the cell, and of what it called, in an error and in those behind it."""
    pending = [report]
    seen: set[int] = set()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        frames = [frame for frame in part.stack if not frame.filename.startswith(_OWN_FOLDER)]
        # What runs a cell that awaits stands between us and it.
        is_first = (index for index, frame in enumerate(frames) if _is_of_cell(frame))
        part.stack[:] = frames[next(is_first, 0) :] if part is report else frames
        behind = (part.__cause__, part.__context__, *(part.exceptions or ()))
        pending += [each for each in behind if each is not None]


def _is_of_cell(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_CELL_PREFIX)


def _type_name(error: BaseException) -> str:
    try:
        return str.__str__(type.__getattribute__(type(error), "__name__"))
    except BaseException:  # noqa: BLE001  # a metaclass of the cell's
        return "BaseException"


def _message(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except BaseException:  # noqa: BLE001  # __str__ is the cell's
        return "<the exception has no readable text>"


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _shorten_middle(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n  […]\n{text[-half:]}"


def _settle() -> None:
    """Undo what a cell may have done to the functions that report on it."""
    for end in _ENDS_OF_TRACING:
        end(None)
    _BUILTINS.update(_PRISTINE_BUILTINS)
