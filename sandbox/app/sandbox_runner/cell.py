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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

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
_OWN_FILES: Final = frozenset({__file__})


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
    """The module ``__main__`` of one session, and the cells run in it so far."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.count = 0
        # pickle, dataclasses and typing look classes of a cell up by their module.
        sys.modules["__main__"] = self.module
        self.module.__dict__["__builtins__"] = builtins
        _BUILTINS["input"] = refuse_input
        _PRISTINE_BUILTINS["input"] = refuse_input

    def warm_up(self) -> None:
        """Touch, before a client waits, what every cell touches; it leaves no trace."""
        self.run("None")
        self.run("None.warm_up")
        linecache.clearcache()
        self.count = 0

    def run(self, source: str) -> Outcome:
        """Run a cell; whatever it raises becomes part of the outcome."""
        self.count += 1
        try:
            try:
                return Outcome(result=self._evaluate(source, f"<cell {self.count}>"))
            finally:
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
        tree = compile(source, name, "exec", ast.PyCF_ONLY_AST | _AWAIT, dont_inherit=True)
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            self._execute(compile(tree, name, "exec", _AWAIT, dont_inherit=True))
            return None
        before = ast.Module(body=tree.body[:-1], type_ignores=tree.type_ignores)
        value_code = compile(ast.Expression(last.value), name, "eval", _AWAIT, dont_inherit=True)
        self._execute(compile(before, name, "exec", _AWAIT, dont_inherit=True))
        value = self._execute(value_code)
        return None if value is None else _shorten(str.__str__(repr(value)), MAX_RESULT_CHARACTERS)

    def _execute(self, code: types.CodeType) -> Any:
        # eval runs "exec" code as well, and gives back the coroutine of a cell that awaits.
        value = eval(code, self.module.__dict__)  # noqa: S307  # running code is what this is for
        if code.co_flags & inspect.CO_COROUTINE:
            return asyncio.run(value)
        return value


_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


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
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in _OWN_FILES:
        frames = frames.tb_next
    try:
        report = traceback.TracebackException(
            type(error), error, frames, limit=-_MAX_TRACEBACK_FRAMES, compact=True
        )
        return "".join(report.format())
    except BaseException:  # noqa: BLE001  # its texts come from the cell, and so does what they raise
        return _type_name(error) + "\n"


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
