"""Compiles a wheel's modules when it is unpacked, so that no session has to do it again.

A session can't write beside what it imports: without this each import of a large package
costs seconds. The compiler reads untrusted text, so it runs where the unpacker runs, behind
the same walls, and what it can't compile is left as it is.
"""

import importlib.util
import py_compile
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# The largest common packages (scipy, sympy) take some ten seconds on a slow machine; what is
# left after that is compiled by each session for itself.
_SECONDS: Final = 20.0
_SECONDS_FOR_ONE: Final = 5.0
_MAX_SOURCE_BYTES: Final = 2 << 20
# Nobody imports these from a session; they are a third of scipy and pandas.
_SELDOM_IMPORTED: Final = frozenset({"tests", "test", "testing"})
_FAILURES: Final = (
    py_compile.PyCompileError,
    SyntaxError,
    ValueError,
    RecursionError,
    MemoryError,
    OSError,
)


def precompile(target: Path, files: Iterable[str], *, max_bytes: int, max_files: int) -> None:
    """Write the compiled form of modules beside them, as far as time and space allow.

    Parameters
    ----------
    files
        Paths beneath `target`.
    max_bytes, max_files
        Bounds on all that is written.

    Notes
    -----
    A source on which the compiler hangs ends this process by SIGALRM: call it last.
    """
    ends = time.monotonic() + _SECONDS
    for path in files:
        if time.monotonic() > ends or max_files <= 0 or max_bytes <= 0:
            break
        if not path.endswith(".py") or not _SELDOM_IMPORTED.isdisjoint(path.split("/")[:-1]):
            continue
        signal.setitimer(signal.ITIMER_REAL, _SECONDS_FOR_ONE)
        max_bytes -= _compile(target / path)
        max_files -= 2  # the file, and often its folder
    signal.setitimer(signal.ITIMER_REAL, 0)


def _compile(source: Path) -> int:
    """Compile one module; return how many bytes that took."""
    compiled = Path(importlib.util.cache_from_source(str(source)))
    try:
        if source.stat().st_size > _MAX_SOURCE_BYTES:
            return 0
        # Unchecked: a set never changes, so no import has to look at the source's time.
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(source), str(compiled), doraise=True, invalidation_mode=mode)
        return compiled.stat().st_size
    except _FAILURES:
        return 0
