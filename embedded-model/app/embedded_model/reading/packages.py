"""Requests about packages: install one or several, list them, ask for one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rapidfuzz.distance import OSA

from embedded_model import lexicon
from embedded_model.intents import AskBack, Install, Intent, ListPackages, Refuse
from embedded_model.wording import Word, raw_of, text_of

_MIN_SLIP_LETTERS = 5
_NOUNS = frozenset(
    {
        "package",
        "packages",
        "library",
        "libraries",
        "module",
        "modules",
        "dependency",
        "dependencies",
    }
)
_STRONG = re.compile(
    r"^(?:(?:use )?(?:!|\$ ?)?(?:(?:python3? -m |py -m |uv )?pip install|sudo pip install)"
    r"|(?:download and |get and |fetch and )?(?:install|reinstall|upgrade|pip)|install(?:ing)?)\b"
)
_WEAK = re.compile(
    r"^(?:add|update|get|fetch|download|set up|setup|need|require|want|use"
    r"|import|have|give|bring in|pull in|make available"
    r"|(?:i|we) (?:also )?(?:need|require|want|will need)|make sure (?:that "
    r")?(?:you have )?|ensure (?:that )?|put|load|grab|include)\b"
)
_ARTICLES = frozenset(
    [
        "the",
        "a",
        "an",
        "some",
        "latest",
        "newest",
        "current",
        "most",
        "recent",
        "stable",
        "new",
        "version",
        "of",
        "python",
        "python's",
        "pypi",
        "called",
        "named",
        "these",
        "following",
        "both",
        ":",
        "-u",
        "-U",
        "--upgrade",
        "me",
        "us",
        "my",
        "also",
        "please",
        "pip",
        "all",
        "your",
        "third-party",
        "named",
        "this",
        "package",
        "packages",
        "library",
        "libraries",
        "module",
        "modules",
        "dependency",
        "dependencies",
    ]
)
_TRAILERS = re.compile(
    r"(?:\s*(?:\b(?:package|packages|library|libraries|modules?|dependency"
    r"|dependencies|please|for me|for us|now|here|too|as well|also|to "
    r"(?:the )?(?:sandbox|environment|system|python)"
    r"|into (?:the )?(?:sandbox|environment)|in (?:the )?(?:sandbox"
    r"|environment|python)|for python|from pypi|(?:with|via|using|through) "
    r"pip"
    r"|(?:in |with )?(?:the |its )?(?:latest|newest) (?:version|release)"
    r"|latest|is installed|are installed|installed|is available|is there"
    r"|available|so i can use (?:it|them)|thanks|thank you|again)"
    r"|[.!?:,;\"']))+\s*$",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?P<extras>\[[\w,.-]*\])?"
    r"(?P<spec>(?P<sign>===?|@|=|>=|<=|~=|!=|<|>)v?(?P<version>[\w.+*!-]+))?"
)
_VERSION = re.compile(r"v?(?P<version>\d+(?:\.\d+)*(?:[a-z]+\d*)?(?:\.?(?:post|dev)\d+)?)")
_PLAIN = frozenset(
    [
        "it",
        "this",
        "that",
        "them",
        "these",
        "those",
        "one",
        "something",
        "anything",
        "everything",
        "stuff",
        "things",
        "thing",
        "package",
        "packages",
        "library",
        "libraries",
        "module",
        "modules",
        "python",
        "pip",
        "code",
        "help",
        "time",
        "you",
        "me",
        "us",
        "more",
        "software",
        "program",
        "app",
        "apps",
        "application",
        "tool",
        "tools",
        "on",
        "in",
        "for",
        "to",
        "from",
        "with",
        "my",
        "your",
        "the",
        "a",
        "an",
        "and",
        "or",
        "as",
        "is",
        "are",
        "be",
        "of",
        "at",
        "by",
        "if",
        "so",
        "how",
        "what",
        "when",
        "where",
        "why",
        "who",
        "i",
        "we",
        "please",
        "not",
        "no",
        "do",
        "new",
        "file",
        "files",
        "latest",
        "version",
        "coffee",
        "list",
        "show",
        "run",
        "execute",
        "tell",
        "give",
        "display",
        "calculate",
        "compute",
        "plot",
        "draw",
        "say",
        "install",
        "then",
        "here",
        "now",
        "date",
        "tea",
    ]
)
_UNINSTALL = re.compile(r"^(?:pip )?(?:uninstall|remove|delete|get rid of|deinstall|drop)\b")
# `pip install -U x` is in every manual, and installs; only a wish to replace is declined.
_UPGRADE = re.compile(
    r"^(?:pip )?(?:upgrade|reinstall)\b|^(?:python3? -m )?pip install (?:.* )?--force-reinstall\b"
)
_FROM_FILE = re.compile(
    r"^(?:(?:python3? -m )?pip )?install (?:(?:.* )?(?:-r|--requirement|-e|--editable)\b"
    r"|(?:from )?(?:my |the )?[\w./-]+\.(?:txt|whl|toml|tar\.gz|zip)$|\.{0,2}/|git\+|https?:)"
)
_LIST_WORDS = frozenset(
    [
        "list",
        "show",
        "what",
        "which",
        "are",
        "is",
        "the",
        "all",
        "installed",
        "available",
        "package",
        "packages",
        "library",
        "libraries",
        "module",
        "modules",
        "python",
        "pip",
        "freeze",
        "do",
        "you",
        "have",
        "we",
        "i",
        "got",
        "me",
        "of",
        "your",
        "my",
        "can",
        "use",
        "import",
        "see",
        "in",
        "here",
        "currently",
        "there",
        "now",
        "already",
        "every",
        "get",
        "display",
        "print",
        "give",
        "a",
        "tell",
        "names",
        "name",
        "present",
        "exist",
        "with",
        "versions",
        "their",
        "?",
        ".",
        "!",
        ",",
        ":",
        "and",
        "to",
        "that",
        "current",
        "right",
        "sandbox",
        "environment",
        "everything",
        "access",
        "for",
        "us",
        "ready",
        "come",
        "comes",
        "included",
        "preinstalled",
        "pre-installed",
        "default",
        "loaded",
        "been",
        "has",
        "need",
        "third-party",
        "dependencies",
        "know",
    ]
)


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    version: str | None
    is_ranged: bool = False


@cache
def known_names() -> frozenset[str]:
    """Return the names of well-known packages, lower case."""
    return frozenset(lexicon.ordered_words("packages"))


def is_known(name: str) -> bool:
    """Say whether a name is a well-known package's."""
    return canonical(name) in known_names()


def canonical(name: str) -> str:
    """Return a name as the index compares it (PEP 503), but with dots kept as typed."""
    return re.sub(r"[-_]+", "-", name).lower()


def read_packages(words: Sequence[Word]) -> tuple[Intent, ...]:
    """Read a request about packages; empty when it is none."""
    text = text_of(words).strip(" ?!.,:")
    if _UNINSTALL.match(text) and _is_about_packages(words[1:]):
        return (
            Refuse(
                "I can't uninstall or remove packages: my tools only install and list them. "
                "A package that you do not import does no harm."
            ),
        )
    if _FROM_FILE.match(text):
        return (
            Refuse(
                "I can only install packages by name from the index, not from a file, a folder "
                "or an address. Name them: install numpy, pandas."
            ),
        )
    if _UPGRADE.match(text) and _is_about_packages(words[1:]):
        return (
            Refuse(
                "I can't upgrade or reinstall packages: my tool adds what is missing. "
                "I can install an exact version, for instance: install six==1.17.0."
            ),
        )
    return _listing(words, text) or _install(words, text)


def read_package_question(words: Sequence[Word]) -> tuple[Intent, ...]:
    """Read a question for what is installed, its courtesy still on: "can I use numpy?"."""
    return _asked(words, text_of(words).strip(" ?!.,:"))


def _is_about_packages(words: Sequence[Word]) -> bool:
    return any(word.text in _NOUNS or is_known(word.raw.strip("\"'")) for word in words)


_COUNTED = re.compile(
    r"(?:how many|what number of|number of|count(?: of)?)(?: the)?(?: python| pip)? "
    r"(?:packages|libraries|modules|dependencies)(?: (?:are|is|do|does|have|has|been|you|we|i|there"
    r"|it|python|here|now|currently|already|installed|available|in total|the sandbox"
    r"|in the sandbox))*"
)
_EVERYTHING = re.compile(
    r"(?:list|show|display|print|see)(?: me)? (?:all|everything|all things|what)(?: that| which)?"
    r"(?:'s| is| are|'re)? (?:currently |already )?installed(?: here| now| in the sandbox)?"
)
_SHOWN = re.compile(r"pip3? (?:show|freeze|list|index versions) (?P<name>[\w.-]+)")
_IMPORTABLE = re.compile(
    r"what(?: all)? (?:can|could|may) (?:i|we|you|one) (?:import|use in code|import here)(?: here)?"
)


def _listing(words: Sequence[Word], text: str) -> tuple[Intent, ...]:
    if any(form.fullmatch(text) for form in (_COUNTED, _IMPORTABLE, _EVERYTHING)):
        return (ListPackages(),)
    if (shown := _SHOWN.fullmatch(text)) is not None and not shown["name"].startswith("-"):
        return (ListPackages((shown["name"],)),)
    if re.fullmatch(
        r"pip3? (?:list|freeze|show)|conda list|(?:my |installed |your |the "
        r"|all |python )*(?:packages|libraries|modules)",
        text,
    ):
        return (ListPackages(),)
    bag = {word.text for word in words}
    if (
        bag <= _LIST_WORDS
        and bag & _NOUNS
        and bag
        & {
            "list",
            "show",
            "have",
            "installed",
            "available",
            "see",
            "display",
            "print",
            "there",
            "import",
            "use",
            "access",
            "every",
            "all",
            "preinstalled",
            "pre-installed",
        }
    ):
        return (ListPackages(),)
    if re.fullmatch(
        r"(?:what|which|what's) (?:is |are |all is )?(?:currently |already "
        r")?(?:pip )?installed(?: here| now| in (?:the )?(?:sandbox|python"
        r"|environment))?",
        text,
    ):
        return (ListPackages(),)
    return _asked(words, text)


_ASKED = re.compile(
    r"^(?:(?:is|are|check (?:if|whether)|if|whether|see if|do you know if"
    r"|know if) (?P<a>.+?) (?:is |are )?(?:already |currently |now "
    r")?(?:installed|available|there|present)(?: already| here| yet| now)?"
    r"|(?:do|have|does) (?:you|we|i|the sandbox|it) (?:already |currently "
    r")?(?:have|got|has) (?P<b>.+?)(?: already)?(?: installed| "
    r"available)?(?: already| here| yet)?"
    r"|(?:which|what)(?: is the)? version of (?P<c>.+?)(?: is| are| do)?(?: "
    r"(?:you|we|i) have)?(?: (?:currently |already )?(?:installed|available"
    r"|there|this|it))?"
    r"|(?:which|what) (?P<d>[\w.-]+) version(?: is| are| do)?(?: (?:you|we"
    r"|i) have)?(?: (?:installed|available|there|this|it))?"
    r"|is there (?P<f>.+?)(?: here| installed| available| in the sandbox| already)+"
    r"|can (?:i|we|you) (?:use|import) (?P<e>.+?)(?: here| already)?)$"
)


def _asked(words: Sequence[Word], text: str) -> tuple[Intent, ...]:
    raw = raw_of(words).strip(" ?!.,:").lower()
    match = _ASKED.match(text)
    if match is None:
        return ()
    phrase = next(part for part in match.groups() if part)
    items = _items(phrase, is_loose=False)
    says_installed = bool(re.search(r"\binstalled\b", text)) or bool(_NOUNS & set(text.split()))
    if not items or any(item.version for item in items):
        return ()
    if not says_installed and not all(is_known(item.name) for item in items):
        return ()
    names = tuple(item.name if item.name in raw else canonical(item.name) for item in items)
    return (ListPackages(names),)


def _install(words: Sequence[Word], text: str) -> tuple[Intent, ...]:  # noqa: PLR0911  # one return a case
    strong = _STRONG.match(text)
    if strong is not None:
        rest = _without_purpose(words)[len(strong[0].split()) :]
        if text.startswith("pip") and "install" not in strong[0]:
            return ()
        is_pip = "pip" in strong[0]
        items = _items(_argument(rest), is_loose=is_pip)
        if items is None and not _argument(rest):
            return (AskBack("Which package shall I install? For instance: install numpy."),)
        return _installs(items or ())
    weak = _WEAK.match(text)
    if weak is None:
        return _mentioned(text, words)
    words = _without_purpose(words)
    rest = words[len(weak[0].split()) :]
    items = _items(_argument(rest), is_loose=False)
    if not items:
        return ()
    has_noun = any(word.text in _NOUNS for word in rest) or "installed" in text
    if has_noun or all(is_known(item.name) for item in items):
        return _installs(items)
    has_article = any(word.text in {"a", "an", "some", "more", "my"} for word in rest)
    if (
        len(items) == 1
        and not has_article
        and len(_argument(rest).split()) == 1
        and re.match(r"(?:i|we)? ?(?:need|want|require|get)", text)
    ):
        name = items[0].name
        return (
            AskBack(
                f"Do you want me to install the Python package '{name}'? Say yes, and I will.",
                (Install(canonical(name)),),
            ),
        )
    return ()


_AIM = re.compile(r"for (?:my|our|the|a|an|some|this|data|web)\b")
_REASON = re.compile(
    r"(?:to|because|so|since) (?!the sandbox|the env|use it|use them|version)[a-z']+"
)


def _without_purpose(words: Sequence[Word]) -> Sequence[Word]:
    """Drop what packages are wanted for: "numpy for my thesis", "networkx to draw graphs"."""
    for index in range(2, len(words)):
        after = text_of(words[index : index + 3])
        if (_AIM.match(after) or _REASON.match(after)) and is_known(words[index - 1].raw):
            return words[:index]
    return words


def _mentioned(text: str, words: Sequence[Word]) -> tuple[Intent, ...]:
    """Read "X should be installed" and "the six package, please install it"."""
    match = re.match(r"^(?P<name>.+?) (?:should|must|has to|needs to|need to) be installed$", text)
    if match is None:
        return ()
    raw = words[: len(match["name"].split())]
    return _installs(_items(_argument(raw), is_loose=False) or ())


def _installs(items: Sequence[_Item]) -> tuple[Intent, ...]:
    if any(item.is_ranged for item in items):
        return (AskBack("I can install the newest version or an exact one. Which shall it be?"),)
    return tuple(_install_or_ask(canonical(item.name), item.version) for item in items)


@cache
def _meant(name: str) -> str | None:
    """Return the well-known name that an unknown one is a slip away from."""
    if name in known_names() or len(name) < _MIN_SLIP_LETTERS or "[" in name:
        return None
    return next(
        (
            known
            for known in lexicon.ordered_words("packages")
            if known[0] == name[0]
            and len(known) >= _MIN_SLIP_LETTERS
            and known.isalpha()
            and name.isalpha()
            and OSA.distance(name, known, score_cutoff=1) == 1
        ),
        None,
    )


def _install_or_ask(name: str, version: str | None) -> Install | AskBack:
    # A misspelt name may be another's package: it is asked for, never fetched.
    meant = _meant(name)
    if meant is None:
        return Install(name, version)
    return AskBack(
        f"I don't know a package '{name}'. Do you mean '{meant}'? Say yes, and I will install it.",
        (Install(meant, version),),
    )


def _argument(words: Sequence[Word]) -> str:
    """Return the part of a request that names packages, as typed."""
    words = list(words)
    if [word.text for word in words[:3:2]] == ["version", "of"]:
        words = [*words[3:], *words[:2]]  # "version 2.1 of rich"
    while words and (words[0].text in _ARTICLES or words[0].text in {'"', "'"}):
        words = words[1:]
    text = raw_of(words)
    return _TRAILERS.sub("", text).strip(" \"'")


def _items(text: str, *, is_loose: bool) -> tuple[_Item, ...] | None:
    """Read a list of packages with versions; None when any part is no package."""
    text = text.replace('"', " ").replace("'", " ")
    text = re.sub(r"\s*(===?|>=|<=|~=)\s*", r"\1", text)
    for spoken, name in lexicon.pairs("package_aliases"):
        text = re.sub(rf"(?<![-\w]){re.escape(spoken)}(?![-\w])", name, text, flags=re.IGNORECASE)
    parts = [
        part.strip() for part in re.split(r",|;|\band\b|&|\bplus\b|\balso\b|\bas well as\b", text)
    ]
    items: list[_Item] = []
    for part in parts:
        found = _part(part, is_loose=is_loose) if part else ()
        if found is None:
            return None
        items.extend(found)
    return tuple(items) or None


def _part(part: str, *, is_loose: bool) -> tuple[_Item, ...] | None:
    tokens = part.split()
    tokens = [token for token in tokens if not token.startswith("-")] if is_loose else tokens
    while tokens and tokens[0].lower() in _ARTICLES:
        tokens = tokens[1:]
    items: list[_Item] = []
    index = 0
    while index < len(tokens):
        item, taken = _item(tokens[index:])
        if item is None:
            return None
        items.append(item)
        index += taken
    is_plain_list = is_loose or len(items) <= 1
    if not is_plain_list and not all(is_known(item.name) or item.version for item in items):
        return None
    return tuple(items)


def _item(tokens: Sequence[str]) -> tuple[_Item | None, int]:
    match = _NAME.fullmatch(tokens[0])
    if match is None or match["name"].lower() in _PLAIN or match["name"].isdecimal():
        return None, 1
    name = match["name"] + (match["extras"] or "")
    if match["spec"]:
        is_exact = match["sign"] in {"==", "===", "@", "="}
        return _Item(name, match["version"] if is_exact else None, is_ranged=not is_exact), 1
    following = [token.lower() for token in tokens[1:4]]
    skipped = 0
    while following[skipped:] and following[skipped] in {
        "version",
        "ver",
        "in",
        "at",
        "with",
        "v",
        "release",
        "(version",
    }:
        skipped += 1
    if following[skipped:]:
        version = _VERSION.fullmatch(following[skipped].rstrip(")"))
        if version is not None:
            taken = 2 + skipped
            if tokens[taken : taken + 2] and re.match(r"or|\+", tokens[taken]):
                return _Item(name, None, is_ranged=True), len(tokens)
            return _Item(name, version["version"]), taken
    return _Item(name, None), 1
