"""Times of pydantic-monty, an interpreter for a subset of Python: seconds as JSON."""

import json
import time

import pydantic_monty


def main() -> None:
    fresh: list[float] = []
    live: list[float] = []
    with pydantic_monty.Monty(min_processes=2) as pool:
        for _ in range(60):
            time.sleep(0.02)
            started = time.perf_counter()
            with pool.checkout() as session:
                if session.feed_run("6 * 7") != 42:
                    raise SystemExit("wrong answer")
                fresh.append(time.perf_counter() - started)
                started = time.perf_counter()
                session.feed_run("1 + 1")
                live.append(time.perf_counter() - started)
    print(json.dumps({"monty (a subset of Python): new + first": fresh, "monty: live cell": live}))


main()
