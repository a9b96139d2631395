"""Says what the chat API waits for, and ends with 0 once it is ready.

`make up` runs it in the container of the chat API, from standard input: no image has it.
"""
# ruff: noqa: INP001  # a script of make up, no package

import json
import sys
import urllib.error
import urllib.request

_URL = "http://127.0.0.1:8002/ready"
_SECONDS = 5.0


def main(url: str) -> int:
    """Return 0 if the chat API is ready; else print its reason, one line, and return 1."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS):
            return 0
    except urllib.error.HTTPError as error:
        try:
            said = json.load(error)["detail"]
        except (ValueError, KeyError, TypeError):
            said = f"The chat API is not ready: status {error.code}."
    except OSError as error:
        said = f"The chat API does not answer: {error}"
    sys.stdout.write(f"{said}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else _URL))
