"""Chat with the official OpenAI client, streaming; the stack runs the tools by itself.

Usage: python openai_client.py [question]
"""

import os
import sys

from openai import OpenAI

URL = os.environ.get("MIDDLEWARE_URL", "http://localhost:8002")


def main() -> int:
    question = " ".join(sys.argv[1:]) or "What is 17*23?"
    # The stack wants no key; the client insists on one.
    with OpenAI(base_url=f"{URL}/v1", api_key="none", timeout=90) as client:
        model = next(iter(client.models.list())).id
        print(f"model: {model}", file=sys.stderr)
        with client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], stream=True
        ) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    print(choice.delta.content or "", end="", flush=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
