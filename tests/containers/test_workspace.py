"""`./workspace` in containers: cells see it only where a setting says so, and as far as it says."""

import json
from typing import Any

import pytest
from stack_support.containers import Containers, run

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

_LOOK = """
import json, os
said = {'variable': os.environ.get('WORKSPACE')}
for name in ('workspace/of-the-user.txt', '/workspace/of-the-user.txt'):
    try:
        said[name] = open(name).read()
    except OSError as error:
        said[name] = type(error).__name__
try:
    open('/workspace/of-a-cell.txt', 'w').write('made by code')
    said['written'] = True
except OSError:
    said['written'] = False
print(json.dumps(said))
"""


def look(stack: Containers, mode: str | None) -> dict[str, Any]:
    """Start the runner with a setting, and tell what a cell sees."""
    chosen = stack if mode is None else stack.with_settings(SANDBOX_WORKSPACE=mode)
    chosen.compose("up", "-d")
    chosen.wait_healthy()
    answer = chosen.execute(_LOOK)
    assert answer["success"], answer
    return dict(json.loads(answer["structured"]["stdout"]))


def test_workspace_is_seen_as_far_as_the_setting_says(stack: Containers) -> None:
    workspace = stack.folder / "workspace"
    mine, made = workspace / "of-the-user.txt", workspace / "of-a-cell.txt"
    run("sh", "-c", f"umask 022; echo mine >{mine}", prefix=stack.person.prefix)
    try:
        read = look(stack, "ro")
        written = look(stack, "rw")
        content = made.read_text(encoding="utf-8")
    finally:
        hidden = look(stack, None)
        run("rm", "-f", str(mine), str(made))

    seen = {"workspace/of-the-user.txt": "mine\n", "/workspace/of-the-user.txt": "mine\n"}
    assert read == {"variable": "/workspace", **seen, "written": False}
    assert written == {"variable": "/workspace", **seen, "written": True}
    assert content == "made by code"
    assert hidden["variable"] is None
    assert not hidden["written"]
    assert "mine\n" not in hidden.values()
