"""reference/errors.md: every error type that a caller may see."""

import re

from servicekit.errors import StackError

from _build.markdown import code, first_sentence, page, prose, table
from _build.services import PACKAGES, modules

_INTRO = """
Every error is an RFC 9457 problem document (`application/problem+json`):

```json
{
  "type": "urn:problem:mcp-stack:tool-unknown",
  "title": "Unknown tool",
  "status": 404,
  "detail": "what happened, and what to do, in a sentence or two",
  "request_id": "5f0c2f7e9a3b1d44"
}
```

`type` is stable: compare it, not the sentences. The table leaves out its prefix
`urn:problem:mcp-stack:`. `request_id` is also the `x-request-id` header of the answer and stands in
the log lines of every service that the request passed. Some types add members of their own (the
nearest names, the fields that are wrong); `Retry-After` is set where trying again makes sense.

Over MCP the same error is a tool result with `isError: true` and the same sentence, or a JSON-RPC
error with the code in the last column. Only the embedded model's and the middleware's `/v1` routes
answer in OpenAI's form instead, because OpenAI's clients read that one.
"""


def render() -> str:
    """Return the page."""
    for package in ("servicekit", *PACKAGES.values()):
        for _ in modules(package):
            pass
    sections = []
    for owner, classes in _by_owner().items():
        rows = [
            (
                code(each.type),
                str(each.http_status),
                _meaning(each),
                code(str(each.rpc_code)),
            )
            for each in sorted(classes, key=lambda item: (item.http_status, item.type))
        ]
        sections.append(f"## {owner}\n\n" + table(("type", "status", "meaning", "JSON-RPC"), rows))
    return page("Errors", _INTRO.strip(), *sections)


def _by_owner() -> dict[str, list[type[StackError]]]:
    names = {"servicekit": "Every service"} | {v: k for k, v in PACKAGES.items()}
    owners: dict[str, list[type[StackError]]] = {title: [] for title in names.values()}
    for each in _family(StackError):
        # A class without a type of its own is its parent to a caller.
        if "type" in vars(each):
            owners[names[each.__module__.split(".")[0]]].append(each)
    return {owner: classes for owner, classes in owners.items() if classes}


def _family(root: type[StackError]) -> list[type[StackError]]:
    found = [root]
    for child in root.__subclasses__():
        found += [each for each in _family(child) if each not in found]
    return found


def _meaning(error: type[StackError]) -> str:
    if error is StackError:
        return "Something unexpected failed in the service; its log has the request id."
    paragraphs = re.split(r"\n\s*\n", prose(error.__doc__))
    return first_sentence(paragraphs[0])
