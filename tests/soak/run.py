"""Wear the sandbox down and see that nothing grows: memory, descriptors, processes, disk.

    run.py [--cells 100000] [--sessions 10000] [--callers 4] [--crowd 60]

`tests/support` has to be on the import path (`make soak`).

The real service over the real runner, through HTTP alone. First many cells in a few sessions that
live on, then many sessions that do a little of everything and end: by request, by a crash, by a
time limit, by a caller that hangs up. What every part uses is measured on the way; between the
first third of a phase and its last third nothing may grow by more than `ALLOWANCES`. At last 32
callers ask at once for as many seconds as `--crowd` says, and then where there is too little room
for them; nobody may see what is another's.
Exit status: 0 when all calls were answered as they should and nothing grew, else 1.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from soak_support.caller import Caller, SoakFailed
from soak_support.crowd import crowd
from soak_support.house import House, house, wait_for

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 30
SETTLE_SECONDS = 30.0
RESTING_LOOKS = 20
POOL = 4
CROWD = 32

# What may be more in the last third of a phase than in the first, by the kind of measure. The
# service remembers the ends of 10,000 sessions and of 10,000 runs, about 300 bytes each, so that
# their next call is told the reason; all else is what an allocator keeps.
ALLOWANCES = {"MiB": 8.0, "descriptors": 3.0, "processes": 0.0, "threads": 2.0, "slots": 0.0}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- measuring


def grown(samples: list[dict[str, float]]) -> dict[str, float]:
    """Return by how much each measure is more in the last third than in the first."""
    third = max(1, len(samples) // 3)
    return {
        name: statistics.median(sample[name] for sample in samples[-third:])
        - statistics.median(sample[name] for sample in samples[:third])
        for name in samples[0]
    }


def report(phase: str, samples: list[dict[str, float]]) -> bool:
    """Print how each measure went; say whether nothing grew."""
    is_flat = True
    for name, growth in grown(samples).items():
        values = [sample[name] for sample in samples]
        is_over = growth > next(most for kind, most in ALLOWANCES.items() if kind in name)
        is_flat = is_flat and not is_over
        say(
            f"  {name:27} first {values[0]:8.1f}   most {max(values):8.1f}   last {values[-1]:8.1f}"
            f"   grew {growth:+7.2f}{'   TOO MUCH' if is_over else ''}"
        )
    say(f"  {phase}: {'flat' if is_flat else 'NOT FLAT'}")
    return is_flat


# ---------------------------------------------------------------- callers


# Of ten cells seven are small; the rest print, keep files, raise, use memory and threads.
CELLS: tuple[tuple[str, str], ...] = (
    *(("n = globals().get('n', 0) + 1\nn", "ok"),) * 7,
    ("print('x' * 2000)\nimport sys\nprint('y' * 500, file=sys.stderr)", "ok"),
    ("raise ValueError('as expected')", "error"),
    ("import random\nopen(f'f{random.randrange(20)}', 'w').write('z' * 1000)\nNone", "ok"),
    ("len(bytes(4 << 20))", "ok"),
    ("import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()", "ok"),
    ("def f(x): return [g for g in range(x)]\nsum(f(500))", "ok"),
)


def one_cell(caller: Caller, session_id: str, number: int) -> None:
    if number % 50 == 0:
        path = f"/sessions/{session_id}/files/up"
        caller.expect(201, "PUT", path, b"u" * 20_000)
        caller.expect(200, "GET", path)
        caller.expect(204, "DELETE", path)
    code, expected = CELLS[number % len(CELLS)]
    caller.run(session_id, code, expected)


def one_session(caller: Caller, number: int) -> None:
    if number % 4 == 0:  # most callers ask for no session
        code = "6 * 7" if number % 8 else "open('left', 'w').write('x' * 5000)\n6 * 7"
        caller.run(None, code)
        return
    session_id = caller.session()
    here = f"/sessions/{session_id}"
    match number % 20:
        case 1:
            caller.run(session_id, "import os\nos.kill(os.getpid(), 11)", "crashed")
            caller.expect(410, "GET", here)
        case 2:
            caller.run(session_id, "while True: pass", "timeout", seconds=0.05)
            caller.expect(410, "GET", here)
        case 3:
            caller.hang_up_on(session_id, "while True: pass")
            caller.call("DELETE", here)
        case 5:
            code = "import os\nfor i in range(200):\n    os.mkdir('d')\n    os.chdir('d')\n"
            caller.run(session_id, code + "open('deep', 'w').close()")
            caller.expect(204, "DELETE", here)
        case _:
            caller.run(session_id, "x = list(range(1000))\nopen('f', 'w').write(str(x))")
            caller.expect(200, "GET", f"{here}/files")
            caller.expect(204, "DELETE", here)


# ---------------------------------------------------------------- phases

Step = Callable[["Caller", int, int], None]
"""Does one thing; gets a connection, which of the callers it is, and the number of the thing."""


def phase(name: str, *, total: int, house: House, callers: list[Caller], step: Step) -> bool:
    """Have the callers do all of it, and rest now and then to measure; say whether nothing grew."""
    samples: list[dict[str, float]] = []
    numbers = iter(range(total))
    lock = threading.Lock()

    def work(index: int, most: int) -> None:
        for _ in range(most):
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            step(callers[index], index, number)

    at_rest = settled(house)
    started = time.monotonic()
    spent = 0.0
    share = -(-total // (SAMPLES * len(callers)))
    with ThreadPoolExecutor(len(callers)) as pool:
        for _ in range(SAMPLES):
            busy = time.monotonic()
            for each in [pool.submit(work, index, share) for index in range(len(callers))]:
                each.result()
            spent += time.monotonic() - busy
            # All that has ended must be gone: processes, slots, and what refills the pool.
            wait_for(lambda: house.left() == at_rest, SETTLE_SECONDS, f"not {at_rest} at rest")
            samples.append(house.use())
    whole = time.monotonic() - started
    say(f"{name}: {total} in {spent:.0f} s, {total / spent:.0f}/s ({whole:.0f} s with measuring)")
    return report(name, samples)


def settled(house: House) -> tuple[int, int]:
    """Return what is left at rest: once it has been the same for a second."""
    seen = [house.left()]

    def is_settled() -> bool:
        seen.append(house.left())
        return len(seen) > RESTING_LOOKS and len(set(seen[-RESTING_LOOKS:])) == 1

    wait_for(is_settled, SETTLE_SECONDS, f"the runner does not come to rest: {seen[-1]}")
    return seen[-1]


def wear_cells(house: House, total: int, callers: list[Caller]) -> bool:
    sessions = [caller.session() for caller in callers]
    try:
        return phase(
            "cells in live sessions",
            total=total,
            house=house,
            callers=callers,
            step=lambda caller, index, number: one_cell(caller, sessions[index], number),
        )
    finally:
        for caller, session_id in zip(callers, sessions, strict=True):
            caller.call("DELETE", f"/sessions/{session_id}")


def wear_sessions(house: House, total: int, callers: list[Caller]) -> bool:
    return phase(
        "sessions from begin to end",
        total=total,
        house=house,
        callers=callers,
        step=lambda caller, _, number: one_session(caller, number),
    )


def gather(python: str, seconds: float) -> None:
    """Have a crowd come where all have room, and where some have to be told to come back."""
    with house(python, limits={}) as running:
        counts = crowd(running.port, callers=CROWD, seconds=seconds, say=say)
        if counts["busy"]:
            raise SoakFailed(f"{counts['busy']} were sent away, and there was room for all")
    with house(python, limits={}, slots="2", queue_limit="4") as running:
        counts = crowd(running.port, callers=CROWD, seconds=seconds / 6, say=say)
        if not counts["busy"]:
            raise SoakFailed("nobody was told to come back, where six of 32 have room")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--crowd", type=float, default=60.0)
    arguments = parser.parse_args()
    cells = ROOT / ".cells" / "bin" / "python"
    python = str(cells) if cells.exists() else sys.executable
    try:
        with house(python, limits={"slots": "32", "pool": str(POOL)}, max_sessions="24") as running:
            callers = [Caller(running.port) for _ in range(arguments.callers)]
            is_flat = wear_cells(running, arguments.cells, callers)
            is_flat = wear_sessions(running, arguments.sessions, callers) and is_flat
        gather(python, arguments.crowd)
    except SoakFailed as failure:
        say(f"soak: FAILED: {failure}")
        return 1
    say(f"soak: {'flat' if is_flat else 'FAILED: something grew'}")
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
