"""Commands, variables and error types that the pages name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "examples" / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "reference" not in path.parts),
]
REFERENCE = ROOT / "docs" / "reference"
# Examples of how something is misspelt, and names of other programs.
STRANGERS = {
    "MIDDLEWARE_MAX_STEP",
    "MIDDLEWARE_URL",
    "OLLAMA_CONTEXT_LENGTH",
    "SANDBOX_URL",
    # Planned with the containers.
    "PYTHON_IMAGE",
}
_PREFIXES = "MCP_SERVER|SANDBOX|MIDDLEWARE|TIME_CLIENT|CODE_EXECUTOR|EMBEDDED_MODEL|LAUNCHER|LLM"
_VARIABLE = re.compile(rf"\b(?:{_PREFIXES}|OPENAI)_[A-Z0-9_]+\b")


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def shared_names() -> set[str]:
    text = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    return set(re.findall(r"`…(_[A-Z_]+)`", text))


@pytest.mark.parametrize("path", WRITTEN, ids=page_id)
def test_named_variables_exist(path: Path) -> None:
    reference = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    known = set(_VARIABLE.findall(reference)) | STRANGERS
    services = {name.removesuffix("_PORT") for name in known if name.endswith("_PORT")}
    known |= {service + name for service in services for name in shared_names()}

    assert not set(_VARIABLE.findall(path.read_text(encoding="utf-8"))) - known


@pytest.mark.parametrize("path", WRITTEN, ids=page_id)
def test_named_make_targets_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))

    assert not set(re.findall(r"\bmake ([a-z-]+)", code)) - targets


@pytest.mark.parametrize("path", WRITTEN, ids=page_id)
def test_named_error_types_exist(path: Path) -> None:
    reference = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `([a-z-]+)` \|", reference, flags=re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    families = ("llm-", "gateway-", "chat-", "tool-", "session-", "package-")
    named = {
        name
        for name in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", text)
        if name.startswith(families) or name.endswith(("-caller", "-off", "-down"))
    }

    assert not named - known
