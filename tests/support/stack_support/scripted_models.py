"""The models of the tests with a real Ollama: each name says what it does."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stack_support.scripted_gguf import END, Script, write_gguf

ASKED: Final = "<|asked|>"
TOLD: Final = "<|told|>"

# The tag before the JSON tells Ollama's parser what a call looks like.
# Ollama believes a model to know tools whose template names them. Each letter is a token of these
# models, so that the definitions of all tools would take a minute to read.
_TOOLS_BLOCK: Final = "{{ if .Tools }}tools<|end|>\n{{ end }}"
_SHOWN_TOOLS_BLOCK: Final = "{{ range .Tools }}{{ json . }}\n{{ end }}<|end|>\n"
_CALLS_BLOCK: Final = (
    "{{ if .ToolCalls }}{{ range .ToolCalls }}<tool_call>\n"
    '{"name": "{{ .Function.Name }}", "arguments": {{ json .Function.Arguments }}}\n'
    "</tool_call>\n{{ end }}{{ end }}"
)
_TEMPLATE: Final = (
    "{TOOLS}{{ range $place, $message := .Messages }}"
    "<|begin|>{{ .Role }}\n{{ .Content }}{CALLS}<|end|>\n"
    "{{ if eq (len (slice $.Messages $place)) 1 }}"
    '{{ if eq .Role "tool" }}<|told|>{{ else }}<|asked|>{{ end }}'
    "{{ end }}{{ end }}"
)


def called(name: str, **arguments: object) -> str:
    """Return a tool call as these models write it."""
    document = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{document}\n</tool_call>"


@dataclass(frozen=True)
class ScriptedModel:
    """A model: what it says when asked, and what when it was told a tool's result.

    `shows_tools` writes the definitions of the tools into the prompt.
    """

    asked: Script
    told: Script = field(default_factory=lambda: Script("The tool has answered."))
    has_tools: bool = True
    shows_tools: bool = False
    window: int | None = None


CODE: Final = "print(6 * 7)"
MODELS: Final = {
    "words": ScriptedModel(Script("Hello! I am a scripted model.")),
    "caller": ScriptedModel(Script(called("execute_code", code=CODE)), Script("It is 42.")),
    "two-calls": ScriptedModel(
        Script(
            called("execute_code", code=CODE)
            + "\n"
            + called("get_timezone_time", timezone="Asia/Tokyo")
        ),
        Script("Both tools have answered."),
    ),
    "empty": ScriptedModel(Script("")),
    "unknown-tool": ScriptedModel(Script(called("no_such_tool", x=1))),
    "broken-call": ScriptedModel(Script('<tool_call>\n{"name": "execute_code", "argum')),
    "endless": ScriptedModel(Script("and so on, ", is_endless=True)),
    "no-tools": ScriptedModel(Script("I can only talk."), has_tools=False),
    "shows-tools": ScriptedModel(Script("I see them."), shows_tools=True),
    "small-window": ScriptedModel(Script("Fine."), window=1024),
}


def modelfile(model: ScriptedModel, gguf: str) -> str:
    """Return the Modelfile of a model whose weights lie at `gguf`."""
    tools = _TOOLS_BLOCK if model.has_tools else ""
    tools = _SHOWN_TOOLS_BLOCK if model.shows_tools else tools
    calls = _CALLS_BLOCK if model.has_tools else ""
    template = _TEMPLATE.replace("{TOOLS}", tools).replace("{CALLS}", calls)
    window = f"PARAMETER num_ctx {model.window}\n" if model.window else ""
    return (
        f'FROM {gguf}\nTEMPLATE """{template}"""\nPARAMETER stop {END}\n'
        # Two threads on a busy machine of two processors take seconds instead of tenths.
        f"PARAMETER num_thread 1\nPARAMETER temperature 0\n{window}"
    )


def write_models(folder: Path, *names: str) -> None:
    """Write NAME.gguf and NAME.Modelfile of these models; `ollama create` runs in the folder."""
    for name in names or tuple(MODELS):
        model = MODELS[name]
        write_gguf(folder / f"{name}.gguf", {ASKED: model.asked, TOLD: model.told})
        (folder / f"{name}.Modelfile").write_text(
            modelfile(model, f"./{name}.gguf"), encoding="utf-8"
        )
