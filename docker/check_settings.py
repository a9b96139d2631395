"""Finds misspelt settings, useless key files and misunderstood addresses, before containers start.

`check_settings.py FOLDER`.

Compose itself ignores a name that it does not know. Right names are those that `docker-compose.yml`
reads and those of the configuration reference. Standard library alone, from Python 3.9 on: it runs
on the host.
"""
# ruff: noqa: INP001  # a script of `make up`, no package

import difflib
import ipaddress
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

from env_file import expanded, read_env_file
from key_files import KeyFiles

# Settings that containers go to.
ADDRESSES = (
    *(
        "LLM_BASE_URL",
        "OPENAI_BASE_URL",
        "HTTPS_PROXY",
        "SANDBOX_PACKAGES_INDEX_URL",
        "PIP_INDEX_URL",
    ),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)
SERVICES = ("MCP_SERVER", "SANDBOX", "MIDDLEWARE", "TIME_CLIENT", "CODE_EXECUTOR", "EMBEDDED_MODEL")
# Names with these beginnings are ours alone; the others below are shared with other programs.
OWN_PREFIXES = (*(f"{name}_" for name in SERVICES), "LAUNCHER_")
SHARED_PREFIXES = ("LLM_", "OPENAI_", "GRAFANA_", "PROMETHEUS_", "ALERTMANAGER_", "OLLAMA_")
# Of Compose's own names those that users of ours set; what is very near to one of them is misspelt.
OF_COMPOSE = frozenset({"COMPOSE_PROFILES", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME"})
# Read by Compose, by Docker, by make and by the tests of this repository.
FOREIGN = re.compile(r"^(COMPOSE|DOCKER|BUILDKIT|STACK|OFFLINE)(_|$)|^VERBOSE$|_PROXY$")
_BONUS = 0.3
# Kubernetes' and old Docker's links: SANDBOX_PORT_8001_TCP, SANDBOX_SERVICE_HOST.
_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)$")
_IN_COMPOSE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)|^ +([A-Z][A-Z0-9_]*):$", re.MULTILINE)
_IN_REFERENCE = re.compile(r"^\| `(…?_?[A-Z][A-Z0-9_]*)` \|(.*)$", re.MULTILINE)
_IS_KEY = "*may be a file*"
# By this name a container finds the machine that it runs on.
_THE_MACHINE = "host.docker.internal"
_NEAR = 0.75
# For a name of the shell, which may be meant for somebody else.
_VERY_NEAR = 0.88


def names_of_compose(folder: Path) -> set[str]:
    """Return each variable that the containers' files read or hand on."""
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("docker-compose*.yml"))
    return {first or second for first, second in _IN_COMPOSE.findall(text)}


def names_of_reference(folder: Path) -> set[str]:
    """Return each variable that a service or the launcher reads under `make local`."""
    page = folder / "docs" / "reference" / "configuration.md"
    rows = _IN_REFERENCE.findall(page.read_text(encoding="utf-8"))
    found = {name for name, _ in rows}
    shared = {name[1:] for name in found if name.startswith("…")}
    every = {service + name for service in SERVICES for name in shared}
    files = {f"{name}_FILE" for name, row in rows if _IS_KEY in row}
    return {name for name in found if not name.startswith("…")} | every | files


def nearest(name: str, known: set[str], least: float) -> str:
    """Return the most similar name, or "" if none is similar enough.

    Among the similar ones that wins which shares the most words: who writes GRAFANA_PASSWORD means
    GRAFANA_ADMIN_PASSWORD, although GRAFANA_PORT has fewer letters that differ.
    """
    words = set(name.upper().split("_"))
    similar = difflib.get_close_matches(name.upper(), sorted(known), n=5, cutoff=least)
    return max(
        similar,
        key=lambda each: (
            difflib.SequenceMatcher(None, name.upper(), each).ratio()
            + _BONUS * len(words & set(each.split("_")))
        ),
        default="",
    )


def misspelt(
    from_file: set[str], from_shell: set[str], compose: set[str], known: set[str]
) -> list[str]:
    """Return a sentence for each name that nobody reads and that is meant for us."""
    sentences = []
    for name in sorted(from_file | from_shell):
        if name in known | OF_COMPOSE or _LINK.search(name):
            continue
        in_file = name in from_file
        if FOREIGN.search(name):
            near = nearest(name, set(OF_COMPOSE), _VERY_NEAR)
        elif name.startswith("OTEL_"):
            # OpenTelemetry has many names that are much alike, and a shell's are its programs'.
            near = nearest(name, known, _VERY_NEAR) if in_file else ""
        else:
            near = nearest(name, known, _NEAR if in_file else _VERY_NEAR)
        ours = name.startswith(OWN_PREFIXES) or (in_file and name.startswith(SHARED_PREFIXES))
        if not near and not ours:
            continue
        if not near:
            near = nearest(name, compose, 0.4)
        meant = f" Did you mean {near}?" if near else ""
        place = ".env: " if in_file else "In the shell: "
        sentences.append(f"{place}{name} is no setting.{meant}")
    return sentences


def unknown_profiles(folder: Path, profiles: str) -> list[str]:
    """Return a sentence if `COMPOSE_PROFILES` is no combination that there is."""
    offered = sorted(path.stem for path in folder.glob("docker/profiles/*.yml"))
    if not profiles or profiles in offered:
        return []
    shown = ", ".join(name for name in offered if "," not in name and name not in {"all", "none"})
    said = f"COMPOSE_PROFILES is {profiles!r}; it can be some of {shown}, each once"
    return [f"{said}, with commas between and no spaces."]


def wrong_bind_address(text: str) -> list[str]:
    """Return a sentence if `BIND_ADDRESS` is nothing that both generations of Compose take."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return [f"BIND_ADDRESS is {text!r}; it has to be an IP address, such as 0.0.0.0."]
    if address.version == 6 and address.is_loopback:  # noqa: PLR2004  # IPv6
        # Of the many ways to write this one docker/stack.sh knows one.
        bare = "::1"
    right = f"[{bare}]" if address.version == 6 else bare  # noqa: PLR2004  # IPv6
    return [] if text == right else [f"BIND_ADDRESS is {text!r}; write it as {right}."]


def of_the_machine(url: str) -> str:
    """Return the address by which a container reaches a server on this machine's loopback.

    "" if the URL is of no loopback. A user and password in it are left out.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host not in {"localhost", "::1", "0.0.0.0"} and not host.startswith("127."):  # noqa: S104  # is compared
        return ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # what is no number is for the service to refuse
        return ""
    return parts._replace(netloc=_THE_MACHINE + port).geturl()


def own_loopbacks(settings: dict[str, str]) -> list[str]:
    """Return a sentence for each setting that sends a container to itself."""
    pairs = [(name, "", settings.get(name, "")) for name in ADDRESSES]
    for each in settings.get("MCP_SERVER_UPSTREAMS", "").split(","):
        upstream, _, url = each.strip().partition("=")
        pairs.append(("MCP_SERVER_UPSTREAMS", f"{upstream}=", url))
    return [
        f"{name}: localhost is the container itself there; this machine is {before}{right}"
        for name, before, url in pairs
        if (right := of_the_machine(url))
    ]


def main(folder: Path) -> int:
    """Print what is wrong; return 1 if anything is."""
    try:
        lines = read_env_file(folder / ".env")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    values = {line.name: line.value for line in lines}
    compose = names_of_compose(folder)
    known = compose | names_of_reference(folder)
    wrong = misspelt(set(values), set(os.environ), compose, known)
    # As Compose reads them: the shell's word, even an empty one, else that of .env.
    settings = {**values, **os.environ}
    wrong += unknown_profiles(folder, settings.get("COMPOSE_PROFILES", ""))
    if address := settings.get("BIND_ADDRESS", ""):
        wrong += wrong_bind_address(address)
    keys = KeyFiles(folder, settings)
    wrong += keys.wrong() + expanded(lines, known | OF_COMPOSE, keys.variables)
    for sentence in wrong or keys.unused():
        sys.stderr.write(f"{sentence}\n")
    for name in sorted((set(values) & known) - compose - {"VERBOSE"}):
        sys.stdout.write(f".env: {name} is for make local; the containers don't get it.\n")
    for sentence in own_loopbacks(settings):
        sys.stdout.write(f"{sentence}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
