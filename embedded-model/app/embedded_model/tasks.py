"""Hidden requests of chat clients (`### Task:`): a title, tags, follow-up questions, as JSON.

They quote the chat; nothing in the quotation is a request, so no tool is ever called.
"""

import json
import re

from embedded_model.small_talk import OUT_OF_SCOPE

_BEGINNING = "### task"
_HISTORY = re.compile(r"<chat_history>(.*?)(?:</chat_history>|\Z)", re.DOTALL | re.IGNORECASE)
_USER_LINE = re.compile(
    r"^\s*(?:USER|User|user|Human)\s*:\s*(.*?)(?=^\s*(?:ASSISTANT|Assistant"
    r"|assistant|USER|User|user)\s*:|\Z)",
    re.DOTALL | re.MULTILINE,
)
_TOPICS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("Code", re.compile(r"```|\bprint\s*\(|\brun\b|\bexecute\b|\bcode\b|\bimport \w")),
    ("Time", re.compile(r"\btime\b|\bclock\b|\bdate\b|\btoday\b|\btimezone\b", re.IGNORECASE)),
    ("Packages", re.compile(r"\binstall\b|\bpackages?\b|\bpip\b|\blibrary\b", re.IGNORECASE)),
    ("Plotting", re.compile(r"\bplot\b|\bgraph\b|\bchart\b", re.IGNORECASE)),
    (
        "Mathematics",
        re.compile(
            r"\d\s*[-+*/\u00d7\u00f7^%]\s*\d|\bsquare root\b|\bfactorial\b|\bplus\b|\btimes\b"
            r"|\bpercent\b"
        ),
    ),
)
_SUGGESTIONS = {
    "Code": "Can you run the code again?",
    "Time": "What time is it in Tokyo?",
    "Packages": "Which packages are installed?",
    "Plotting": "Can you plot sin(x) from 0 to 10?",
    "Mathematics": "What is 15% of 240?",
}
_MAX_TITLE_WORDS = 5


_SPEAKER = re.compile(
    r"^[\s>*-]*(user|human|assistant|ai|bot)[\s*]*:", re.IGNORECASE | re.MULTILINE
)
_WANTS_TITLE = re.compile(r"\b(?:title|headline|subject|name)\b", re.IGNORECASE)


def is_task(text: str) -> bool:
    """Say whether a request is a client's hidden task: it says so, or quotes a chat."""
    return text.lstrip().lower().startswith(_BEGINNING) or _quotes_chat(text)


def _quotes_chat(text: str) -> bool:
    """Say whether both sides of a chat are quoted: "user: … assistant: …" on lines of their own."""
    speakers = {match[1].lower() for match in _SPEAKER.finditer(text)}
    return bool(speakers & {"user", "human"}) and bool(speakers & {"assistant", "ai", "bot"})


def answer_task(text: str) -> str:
    """Answer a task with the JSON object that it asks for, or a title in plain words."""
    if not text.lstrip().lower().startswith(_BEGINNING):
        return _answer_plainly(text)
    asked = _HISTORY.sub(" ", text).lower()
    quoted = _quoted(text)
    topics = [topic for topic, pattern in _TOPICS if pattern.search(quoted)] or ["General"]
    if "follow_up" in asked or "follow-up" in asked or "follow up" in asked:
        return json.dumps({"follow_ups": _follow_ups(topics)}, ensure_ascii=False)
    if re.search(r"\btags?\b", asked) and '"title"' not in asked:
        return json.dumps({"tags": topics}, ensure_ascii=False)
    if '"queries"' in asked or "search quer" in asked:
        return json.dumps({"queries": []})
    if '"text"' in asked and "autocomplet" in asked:
        return json.dumps({"text": ""})
    return json.dumps({"title": _title(quoted, topics)}, ensure_ascii=False)


def _answer_plainly(text: str) -> str:
    asked = text[: _first_speaker(text)]
    quoted = _quoted(text)
    if not _WANTS_TITLE.search(asked):
        return OUT_OF_SCOPE
    topics = [topic for topic, pattern in _TOPICS if pattern.search(quoted)] or ["General"]
    title = _title(quoted, topics)
    is_json = "json" in asked.lower()
    return json.dumps({"title": title}, ensure_ascii=False) if is_json else title


def _first_speaker(text: str) -> int:
    found = _SPEAKER.search(text)
    return found.start() if found is not None else len(text)


def _quoted(text: str) -> str:
    history = _HISTORY.search(text)
    body = history[1] if history else text.partition("### Chat History:")[2]
    body = body or text[_first_speaker(text) :]
    users = [match[1].strip() for match in _USER_LINE.finditer(body)]
    return "\n".join(users) or body.strip()


def _title(quoted: str, topics: list[str]) -> str:
    first = re.sub(r"```.*?(?:```|\Z)", " ", quoted, flags=re.DOTALL).strip().splitlines()
    words = re.findall(r"[^\s\"`{}<>]+", first[0]) if first else []
    title = " ".join(words[:_MAX_TITLE_WORDS]).strip(" ?!.,:;")
    return (title[:1].upper() + title[1:]) if len(title) > 2 else " and ".join(topics)  # noqa: PLR2004  # a word at least


def _follow_ups(topics: list[str]) -> list[str]:
    own = [_SUGGESTIONS[topic] for topic in topics if topic in _SUGGESTIONS]
    others = [text for text in _SUGGESTIONS.values() if text not in own]
    return [*own, *others][:3]
