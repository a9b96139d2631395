"""Ask one question and show the tools that were called for it.

Usage: python chat_httpx.py [question]
"""

import os
import sys

import httpx

URL = os.environ.get("MIDDLEWARE_URL", "http://localhost:8002")


def main() -> int:
    question = " ".join(sys.argv[1:]) or "What is 17*23, and what time is it in Tokyo?"
    with httpx.Client(base_url=URL, timeout=90) as client:
        answer = client.post("/chat", json={"messages": [{"role": "user", "content": question}]})
    body = answer.json()
    if answer.is_error:
        # RFC 9457: `type` is for programs, `detail` for people, `request_id` for the logs.
        print(f"{body['type']}: {body['detail']} (request {body['request_id']})", file=sys.stderr)
        return 1
    for call in body["tool_calls"]:
        mark = "failed" if call["is_error"] else f"{call['duration_ms']:.0f} ms"
        print(f"{call['name']} {call['arguments']} [{mark}]")
    print(body["response"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
