"""Every API document is whole: what it refers to is in it."""

import json
import re
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted((ROOT / "docs" / "reference" / "api").glob("*.openapi.json"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_reference_leads_somewhere(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    references = set(re.findall(r'"\$ref": "(.*?)"', json.dumps(document)))
    assert references
    for reference in references:
        assert reference.startswith("#/"), reference
        found = reduce(lambda node, key: node[key], reference[2:].split("/"), document)
        assert isinstance(found, dict), reference
