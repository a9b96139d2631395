"""Start the runner: ``python -I -m sandbox_runner``, or this file by its path."""

import os
import sys
from pathlib import Path

# The interpreter of the cells has none of our packages installed, and -I leaves this folder out.
_PARENT = str(Path(__file__).resolve().parent.parent)


def _main() -> int:
    from sandbox_runner import zygote  # noqa: PLC0415  # importable only now, see above

    if sys.argv[1:] == ["--zygote"]:
        return zygote.start()
    from sandbox_runner import runner  # noqa: PLC0415  # the zygote can do without

    return runner.start(os.environ)


if __name__ == "__main__":
    if _PARENT not in sys.path:
        sys.path.append(_PARENT)
    sys.exit(_main())
