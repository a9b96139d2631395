"""Times of sandlock, which starts an interpreter for each run: seconds as JSON."""

import json
import os
import sys
import time
from pathlib import Path

from sandlock import Sandbox

# What an interpreter needs to start; the network stays shut.
READABLE = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/dev", "/proc", sys.prefix, sys.base_prefix]


def main() -> None:
    interpreter = os.path.realpath(sys.executable)
    fresh: list[float] = []
    for _ in range(30):
        started = time.perf_counter()
        readable = [path for path in READABLE if Path(path).exists()]
        sandbox = Sandbox(fs_readable=readable, max_memory="512M")
        result = sandbox.run([interpreter, "-I", "-c", "print(6 * 7)"], timeout=20)
        fresh.append(time.perf_counter() - started)
        if not result.success:
            raise SystemExit(f"sandlock did not run: {result}")
    print(json.dumps({"sandlock: new sandbox + first cell": fresh}))


main()
