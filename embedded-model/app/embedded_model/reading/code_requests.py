"""What a person wants done with code: run it, or something that only a language model can."""

import re
from collections.abc import Sequence
from dataclasses import replace

from embedded_model.intents import AskBack, Install, Intent, OutOfScope, Refuse, RunCode
from embedded_model.reading.code_text import Code
from embedded_model.wording import Word, text_of

_MARK = re.compile(r"§(\d+)§")
_RUN = re.compile(
    r"\b(?:run|runs|running|execute|executes|executing|try|test|eval"
    r"|evaluate|print|prints|printed|output|outputs|outputted|returns?"
    r"|result|results|evaluates?|interpret|launch|start|do it"
    r"|gives?|produce|produces|yields?|works?|working|happens?|compute"
    r"|computes|value|display|displays|go|show|crash(?:es)?|fails?|raises?)\b"
)
_OTHER = re.compile(
    r"\b(?:explain|explanation|refactor|rewrite|translate|review|fix|debug"
    r"|improve|optimi[sz]e|document|comment|wrong|correct|mistake|bug|bugs"
    r"|simplify|describe|understand"
    r"|convert|summari[sz]e|analy[sz]e|clean up|port|why|format|lint|type "
    r"hints?|docstring|test cases|unit tests?|complexity|better|faster"
    r"|complete|finish|extend|modify|change|add a|how does)\b"
)
_STRONG_RUN = re.compile(
    r"\b(?:run|execute|eval|evaluate|output|outputs|print|prints|what happens)\b"
)
_WHY_FAILS = re.compile(
    r"^why (?:does|is|do|did|will|would) (?:this|it|that|the code|my code)"
    r"(?: code| script| snippet)? (?:always )?"
    r"(?:crash|fail|raise|break|failing|crashing|throw|not work|n't work)\w*(?: an? \w+)?$"
)
_DOES = re.compile(r"^(?:what|what's) (?:does|do|would|will|is|are)\b.*\b(?:do|mean)$")
_DEICTIC = re.compile(
    r"^(?:(?:can you |could you |please |will you |i want to |let's |just "
    r")*(?:run|execute|try|test|eval|evaluate|interpret|do|start|launch)(?: "
    r"both| all| all of)?"
    r"(?: this| it| that| these| them| those| the| my| following| python| "
    r"code| snippet| script| program| file| below| above| here| below code| "
    r"again| both| for me| lines?| command| cell| block| now| function| , | "
    r":)*"
    r"(?: (?:and|to|then) (?:show|tell|give|see|print|return|let"
    r"|display)(?: me| us)?(?: know)?(?: what)?(?: the| its| it)?(?: output"
    r"| result| results| outputs?| prints?| comes out| happens)?)?"
    r"|(?:what|what's|whats)(?: is| does| would| will| do| are)?(?: be)?(?: "
    r"the)? ?(?:output|outputs|result|results|value)?(?: of)?(?: this| it| "
    r"that| the| my| following| code| snippet| script| program| python| "
    r"below| above| function)* ?(?:print|prints|output|outputs|return"
    r"|returns|give|evaluate to|produce|say|display)?(?: out)?"
    r"|(?:tell|show|give|get|see)(?: me| us)? (?:what )?(?:the |its |it "
    r"|this )?(?:outputs?|results?|prints?|code prints|value)(?: of (?:this"
    r"|it|that|the code))?"
    r"|(?:does|will|do|would) (?:this|it|that|the)(?: code| script| snippet"
    r"| program)? (?:work|run)s?(?: fine| ok)?"
    r"|what happens(?: here)?(?: when| if)?(?: i| you| we)?(?: run)?(?: this| it| the code| that)?"
    r"|is (?:this|it|that)(?: code)? (?:working|ok|valid))[ :,]*$"
)
_INTRO = re.compile(
    r"^(?:(?:i have|i've got|i wrote|here is|here's|this is|look at|given"
    r"|consider|take|for|with|see|using|use|both|and|below is|i made)\b.*"
    r"|(?:this|the|my|following|python|code|snippet|it|script|here|below"
    r"|above|please|:|,|both| )*)$"
)


def marks_in(words: Sequence[Word]) -> tuple[int, ...]:
    """Return the numbers of the pieces of code that some words mention."""
    return tuple(int(match[1]) for word in words if (match := _MARK.fullmatch(word.text)))


def is_deictic(text: str) -> bool:
    """Say whether a text asks to run code that stands elsewhere: "run this"."""
    if _WHY_FAILS.match(text):  # its error says why
        return True
    return bool(text) and bool(_DEICTIC.match(text)) and bool(_RUN.search(text))


def is_introduction(text: str) -> bool:
    """Say whether a text only leads to code: "here is my code:"."""
    return bool(_INTRO.match(text))


def wants_other(text: str) -> bool:
    """Say whether a text wants something of code that running it does not give."""
    is_met_by_run = _STRONG_RUN.search(text) or _WHY_FAILS.match(text.strip())
    return bool(_OTHER.search(text)) and not is_met_by_run


_LANGUAGES = {
    "javascript": "javascript", "js": "javascript", "node": "javascript", "nodejs": "javascript",
    "typescript": "typescript", "ts": "typescript", "java": "java", "bash": "bash", "shell": "bash",
    "powershell": "powershell", "ruby": "ruby", "php": "php", "perl": "perl", "rust": "rust",
    "golang": "go", "sql": "sql", "mysql": "sql", "html": "html", "css": "css", "kotlin": "kotlin",
    "swift": "swift", "scala": "scala", "haskell": "haskell", "lua": "lua", "c++": "c++",
    "cpp": "c++", "c#": "c#", "csharp": "c#", "matlab": "matlab", "julia": "julia",
}  # fmt: skip
_IN_LANGUAGE = re.compile(
    r"\b(?P<name>" + "|".join(re.escape(name) for name in _LANGUAGES) + r")"
    r"(?=$|\W| (?:code|script|snippet|program|command|function|file|statement|query)\b)"
)


def language_named(prose: str) -> str | None:
    """Return the language other than Python that the words around code name."""
    match = _IN_LANGUAGE.search(prose)
    return _LANGUAGES[match["name"]] if match and "python" not in prose else None


def read_code_clause(
    words: Sequence[Word], codes: Sequence[Code], *, is_lead: bool = False
) -> tuple[Intent, ...]:
    """Read a clause that mentions code; empty when what it wants is not clear from it alone."""
    text = text_of(words)
    prose = " ".join(_MARK.sub(" ", text).split()).strip(" ?!.,:;\"'")
    named = [codes[index] for index in marks_in(words)]
    if wants_other(prose):
        return (OutOfScope(),)
    if (language := language_named(prose)) is not None:
        named = [replace(code, language=code.language or language) for code in named]
    if _DOES.match(prose) and not _STRONG_RUN.search(prose):
        return _shall_i(named)
    if not prose or is_lead or _RUN.search(prose) or _is_evaluation(prose):
        return run_all(named)
    return ()


def _is_evaluation(prose: str) -> bool:
    """Say whether the code is the whole of what is asked: "what is" before it."""
    return prose in {
        "what is",
        "what's",
        "whats",
        "calculate",
        "please",
        "what are",
        "how much is",
        "use",
        "do",
        "now",
        "and",
        "then",
        "also",
        "both",
        "python",
        "code",
        "this",
        "this code",
        "the code",
        "ok",
        "here",
    }


def _shall_i(codes: Sequence[Code]) -> tuple[Intent, ...]:
    return (
        AskBack(
            "I can run this code and show what it prints; explaining it would take a language "
            "model. Shall I run it?",
            run_all(codes),
        ),
    )


def shall_i_run(codes: Sequence[Code]) -> tuple[Intent, ...]:
    """Ask whether to run code that came without a clear request."""
    return (AskBack("Shall I run this code?", run_all(codes)),)


def run_all(codes: Sequence[Code]) -> tuple[Intent, ...]:
    """Return what running some pieces of code means: a shell's `pip install` installs."""
    found: list[Intent] = []
    for code in codes:
        if code.is_python and not code.is_command:
            found.append(RunCode(code.text))
        elif (code.is_shell or code.is_command) and (installs := _pip_installs(code.text)):
            found.extend(installs)
        else:
            name = code.language or "shell commands"
            found.append(Refuse(f"I can only run Python code, not {name}."))
    return tuple(found)


def _pip_installs(text: str) -> list[Install]:
    found: list[Install] = []
    for line in text.splitlines():
        match = re.fullmatch(r"\s*(?:\$ )?(?:python3? -m )?pip3? install (.+)", line)
        if match is None:
            return []
        for part in match[1].split():
            if not part.startswith("-"):
                name, _, version = part.partition("==")
                found.append(Install(name.lower(), version or None))
    return found
