"""Many callers at once, each with secrets, files and time limits that are nobody else's to see.

A caller is told the truth, or honestly to come back: every answer is what it should be, or a 429
that says when to ask again.
"""

import http
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from soak_support.caller import Caller, SoakFailed

# Beyond its limit a run may last as long as a machine that is this busy makes it last.
_LATE_SECONDS = 3.0
_LONGEST_PAUSE_SECONDS = 2.0


class Guest:
    """One caller: its connection, its name, what only it knows, and how long its runs may take.

    Attributes
    ----------
    counts
        Answers by kind: what it did, or ``busy``.
    """

    def __init__(self, port: int, number: int) -> None:
        self.counts: Counter[str] = Counter()
        self._caller = Caller(port, client_id=f"guest-{number}")
        self._secret = secrets.token_hex(16)
        self._seconds = 0.05 + 0.01 * number
        self._session = ""

    def visit(self, until: float) -> None:
        """Do one thing after the other until the time is over (monotonic seconds)."""
        steps = (self._live, self._fresh, self._light, self._printed, self._files, self._late)
        self._settle_in(until)
        turn = 0
        while time.monotonic() < until:
            steps[turn % len(steps)](until)
            turn += 1

    def _settle_in(self, until: float) -> None:
        answer = self._ask("POST", "/sessions", None, until)
        if answer is None:
            raise SoakFailed("no session in all that time")
        self._session = str(json.loads(answer)["session_id"])
        self._run(f"secret = {self._secret!r}", until)
        self._ask("PUT", f"/sessions/{self._session}/files/mine", self._secret.encode(), until)

    def _live(self, until: float) -> None:
        self._is_own("live", self._run("secret", until), "result", repr(self._secret))

    def _fresh(self, until: float) -> None:
        code = (
            "import os\nseen = (globals().get('secret'), os.listdir())\n"
            f"secret = {self._secret!r}\nopen('mine', 'w').write(secret)\nseen"
        )
        self._is_own("fresh", self._run(code, until, is_fresh=True), "result", "(None, [])")

    def _light(self, until: float) -> None:
        code = f"seen = globals().get('secret')\nsecret = {self._secret!r}\nseen, secret"
        said = f"(None, {self._secret!r})"
        self._is_own("light", self._run(code, until, is_fresh=True), "result", said)

    def _printed(self, until: float) -> None:
        answer = self._run("for _ in range(300): print(secret)", until)
        self._is_own("printed", answer, "stdout", f"{self._secret}\n" * 300)

    def _files(self, until: float) -> None:
        here = f"/sessions/{self._session}/files"
        listed = self._ask("GET", here, None, until)
        content = self._ask("GET", f"{here}/mine", None, until)
        if listed is None or content is None:
            return
        names = [item["path"] for item in json.loads(listed)["files"]]
        if names != ["mine"] or content != self._secret.encode():
            raise SoakFailed(f"the files of another: {names}, {content[:99]!r}")
        self.counts["files"] += 1

    def _late(self, until: float) -> None:
        answer = self._run("while True: pass", until, is_fresh=True, seconds=self._seconds)
        if answer is None:
            return
        took = float(str(answer["duration_ms"])) / 1000
        if answer["status"] != "timeout" or not 0 <= took - self._seconds <= _LATE_SECONDS:
            raise SoakFailed(f"a limit of {self._seconds} s was not kept: {str(answer)[:300]}")
        self.counts["late"] += 1

    def _is_own(self, kind: str, answer: dict[str, object] | None, key: str, value: str) -> None:
        if answer is None:
            return
        if answer["status"] != "ok" or answer[key] != value:
            raise SoakFailed(f"{kind}: {str(answer)[:600]}")
        self.counts[kind] += 1

    def _run(
        self, code: str, until: float, *, is_fresh: bool = False, seconds: float = 20.0
    ) -> dict[str, object] | None:
        order: dict[str, object] = {"code": code, "timeout_seconds": seconds}
        if not is_fresh:
            order["session_id"] = self._session
        answer = self._ask("POST", "/execute", json.dumps(order).encode(), until)
        return None if answer is None else json.loads(answer)

    def _ask(self, method: str, path: str, body: bytes | None, until: float) -> bytes | None:
        """Return the answer; None if it was to wait until the time was over."""
        while True:
            status, content = self._caller.call(method, path, body)
            if status in {http.HTTPStatus.OK, http.HTTPStatus.CREATED}:
                return content
            pause = self._caller.retry_after
            if status != http.HTTPStatus.TOO_MANY_REQUESTS or pause is None or pause <= 0:
                raise SoakFailed(f"{method} {path} answered {status}, {pause}: {content[:300]!r}")
            self.counts["busy"] += 1
            if time.monotonic() >= until:
                return None
            time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))


def crowd(port: int, *, callers: int, seconds: float, say: Callable[[str], None]) -> Counter[str]:
    """Have so many callers ask for so long; return their answers by kind.

    Raises
    ------
    SoakFailed
        Somebody saw what is another's, or was answered with anything else than the truth or a 429.
    """
    guests = [Guest(port, number) for number in range(callers)]
    begun = threading.Barrier(callers)

    def visit(guest: Guest) -> None:
        begun.wait()
        guest.visit(time.monotonic() + seconds)

    with ThreadPoolExecutor(callers) as pool:
        for each in [pool.submit(visit, guest) for guest in guests]:
            each.result()
    counts = sum((guest.counts for guest in guests), Counter[str]())
    told = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    say(f"{callers} callers at once for {seconds:.0f} s: {told}")
    return counts
