"""The generated pages say what the code says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted((ROOT / "docs" / "reference" / "api").glob("*.openapi.json"))


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_openapi_references_lead_to_a_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    schemas = json.loads(text)["components"]["schemas"]
    referred = set(re.findall(r'"\$ref": "([^"]+)"', text))

    assert not {name for name in referred if name.rpartition("/")[2] not in schemas}
    assert all(name.startswith("#/components/schemas/") for name in referred)


def test_each_service_has_a_document() -> None:
    assert {path.name.removesuffix(".openapi.json") for path in DOCUMENTS} == {
        "code-executor",
        "embedded-model",
        "mcp-server",
        "middleware",
        "sandbox",
        "time-client",
    }
