"""Requests about packages: install one or several, list them, ask for one."""

import re
from collections.abc import Sequence

from embedded_model import lexicon
from embedded_model.intents import AskBack, Install, Intent, ListPackages, Refuse
from embedded_model.reading.package_names import Item, canonical, is_known, items_in, meant_name
from embedded_model.wording import Word, raw_of, text_of

_NOUNS = frozenset(
    {
        "package",
        "packages",
        "library",
        "libraries",
        "lib",
        "libs",
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
_TRAILERS = re.compile(
    r"(?:\s*(?:\b(?:package|packages|library|libraries|libs?|modules?|dependency"
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
_UNINSTALL = re.compile(r"^(?:pip )?(?:uninstall|remove|delete|get rid of|deinstall|drop)\b")
# `pip install -U x` is in every manual, and installs; only a wish to replace is declined.
_UPGRADE = re.compile(
    r"^(?:pip )?(?:upgrade|reinstall)\b|^(?:python3? -m )?pip install (?:.* )?--force-reinstall\b"
)
_FROM_FILE = re.compile(
    r"^(?:(?:python3? -m )?pip )?install (?:(?:.* )?(?:-r|--requirement|-e|--editable)\b"
    r"|(?:from )?(?:my |the )?[\w./-]+\.(?:txt|whl|toml|tar\.gz|zip)$|\.{0,2}/|git\+|https?:)"
)


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


def read_package_answer(words: Sequence[Word]) -> tuple[Intent, ...]:
    """Read what was said to "Which package?": known names, or one that is asked about."""
    items = items_in(_argument(words), is_loose=False)
    if not items:
        return ()
    if all(is_known(item.name) for item in items):
        return _installs(items)
    return _shall_i(items[0].name) if len(items) == 1 and not items[0].version else ()


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
        bag <= lexicon.section_words("package_words", "listing")
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
    items = items_in(phrase, is_loose=False)
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
        items = items_in(_argument(rest), is_loose=is_pip)
        if items is None and not _argument(rest):
            return (AskBack("Which package shall I install? For instance: install numpy."),)
        if items and not is_pip and _is_a_thing(rest, items):
            return _shall_i(items[0].name)
        return _installs(items or ())
    weak = _WEAK.match(text)
    if weak is None:
        return _mentioned(text, words)
    words = _without_purpose(words)
    rest = words[len(weak[0].split()) :]
    items = items_in(_argument(rest), is_loose=False)
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
        return _shall_i(items[0].name)
    return ()


def _is_a_thing(words: Sequence[Word], items: Sequence[Item]) -> bool:
    """Say whether "a new kitchen" is meant: an article, and no word that says package."""
    texts = {word.text for word in words}
    is_counted = words[0].text in {"a", "an", "my", "our", "some"}
    return is_counted and not texts & _NOUNS and not any(is_known(item.name) for item in items)


def _shall_i(name: str) -> tuple[AskBack, ...]:
    question = f"Do you want me to install the Python package '{name}'? Say yes, and I will."
    return (AskBack(question, (Install(canonical(name)),)),)


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
    """Read "X should be installed" and "make X available"."""
    match = re.match(
        r"^(?P<name>.+?) (?:should|must|has to|needs to|need to) be (?:installed|available)$"
        r"|^make (?P<made>.+?) (?:available|importable)$",
        text,
    )
    if match is None:
        return ()
    start = len(text_of(words[:1]).split()) if match["made"] else 0
    raw = words[start : start + len((match["name"] or match["made"]).split())]
    return _installs(items_in(_argument(raw), is_loose=False) or ())


def _installs(items: Sequence[Item]) -> tuple[Intent, ...]:
    if any(item.is_ranged for item in items):
        return (AskBack("I can install the newest version or an exact one. Which shall it be?"),)
    return tuple(_install_or_ask(canonical(item.name), item.version) for item in items)


def _install_or_ask(name: str, version: str | None) -> Install | AskBack:
    # A misspelt name may be another's package: it is asked for, never fetched.
    meant = meant_name(name)
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
    in_front = lexicon.section_words("package_words", "articles") | {'"', "'"}
    while words and words[0].text in in_front:
        words = words[1:]
    text = raw_of(words)
    return _TRAILERS.sub("", text).strip(" \"'")
