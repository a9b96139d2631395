"""Times of a Jupyter kernel, which isolates nothing: a list of seconds for each figure, as JSON."""

import json
import time

from jupyter_client.manager import KernelManager


def main() -> None:
    fresh: list[float] = []
    live: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        manager = KernelManager()
        manager.start_kernel()
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        client.execute_interactive("6 * 7", timeout=60, output_hook=lambda _: None)
        fresh.append(time.perf_counter() - started)
        for _ in range(40):
            started = time.perf_counter()
            client.execute_interactive("1 + 1", timeout=60, output_hook=lambda _: None)
            live.append(time.perf_counter() - started)
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    print(json.dumps({"Jupyter: new kernel + first cell": fresh, "Jupyter: live cell": live}))


main()
