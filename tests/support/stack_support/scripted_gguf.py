"""Writes a GGUF model whose answers are scripted, so that a real engine says what a test wants.

The network is a chain: each token names the next one. The embedding is the identity, the output
matrix has one entry a column, and attention and feed-forward add nothing, so that the last token of
the prompt alone decides what follows. Cues (control tokens that the chat template writes last)
begin the scripts: a model can call a tool when asked, and answer in words when it sees the result.

The format is GGUF 3, in 32-bit floats; only the standard library is used.
"""

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final, TypeAlias

Value: TypeAlias = "int | float | bool | str | Sequence[int] | Sequence[str]"

END: Final = "<|end|>"
_BEGIN: Final = "<|begin|>"
# Larger than any sum of the others: the softmax then leaves no choice.
_CERTAIN: Final = 50.0
_HEAD_WIDTH: Final = 64
_ALIGNMENT: Final = 32
_MERGED: Final = ("h", "i")
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5


@dataclass(frozen=True)
class Script:
    """What follows a cue: a text, then the end; `is_endless` says it again and again."""

    text: str
    is_endless: bool = False


@dataclass
class _Vocabulary:
    """Tokens by number; each piece of a script is a token of its own, so chains never meet."""

    tokens: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def add(self, token: str, kind: int = _NORMAL) -> int:
        assert token not in self.numbers, f"{token!r} is a token already"
        self.numbers[token] = len(self.tokens)
        self.tokens.append(token)
        self.kinds.append(kind)
        return self.numbers[token]

    def chain(self, text: str) -> list[int]:
        """Cut a text into tokens that nothing used before."""
        letters = "".join(_BYTE_LETTERS[byte] for byte in text.encode())
        numbers, start = [], 0
        while start < len(letters):
            end = start + 2
            while letters[start:end] in self.numbers and end < len(letters):
                end += 1
            # What is left at the end may be too short to be new: it goes to its neighbour.
            if len(letters) - end < 4:
                end = len(letters)
            numbers.append(self.add(letters[start:end]))
            start = end
        return numbers

    def pad(self) -> None:
        """Fill up to whole attention heads."""
        while len(self.tokens) % _HEAD_WIDTH:
            self.add(f"<|unused{len(self.tokens)}|>", _UNUSED)


def _byte_letters() -> list[str]:
    """Return GPT-2's letter for each byte: printable ones stand for themselves."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    letters, moved = [], 0
    for byte in range(256):
        letters.append(chr(byte) if byte in printable else chr(256 + moved))
        moved += byte not in printable
    return letters


_BYTE_LETTERS: Final = _byte_letters()


def write_gguf(path: Path, scripts: Mapping[str, Script], *, context_length: int = 8192) -> None:
    """Write a model that answers each cue with its script.

    Parameters
    ----------
    scripts
        By cue, such as `<|asked|>`; the chat template has to end the prompt with one.
    context_length
        What the model says of its own window, in tokens.
    """
    vocabulary = _Vocabulary()
    for letter in _BYTE_LETTERS:
        vocabulary.add(letter)
    # A vocabulary of this kind has to have one merge.
    vocabulary.add("".join(_MERGED))
    begin = vocabulary.add(_BEGIN, _CONTROL)
    end = vocabulary.add(END, _CONTROL)
    follows: dict[int, int] = {}
    for cue, script in scripts.items():
        first = vocabulary.add(cue, _CONTROL)
        chain = vocabulary.chain(script.text)
        last = (chain or [first])[-1]
        follows |= dict(zip([first, *chain], chain, strict=False))
        follows[last] = chain[0] if script.is_endless else end
    vocabulary.pad()
    fields = _fields(vocabulary, begin, end, context_length)
    path.write_bytes(_file(fields, _tensors(len(vocabulary.tokens), follows)))


def _fields(vocabulary: _Vocabulary, begin: int, end: int, context_length: int) -> dict[str, Value]:
    width = len(vocabulary.tokens)
    return {
        "general.architecture": "llama",
        "general.name": "scripted",
        "general.file_type": 0,
        "llama.context_length": context_length,
        "llama.embedding_length": width,
        "llama.block_count": 1,
        "llama.feed_forward_length": _HEAD_WIDTH,
        "llama.attention.head_count": width // _HEAD_WIDTH,
        # One for all queries: the matrices of keys and values stay small.
        "llama.attention.head_count_kv": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": _HEAD_WIDTH,
        "llama.vocab_size": width,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": vocabulary.kinds,
        "tokenizer.ggml.merges": [" ".join(_MERGED)],
        "tokenizer.ggml.bos_token_id": begin,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.add_bos_token": False,
    }


def _tensors(width: int, follows: Mapping[int, int]) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """Return shapes (fastest dimension first) and 32-bit floats by name."""
    identity = _sparse(width, ((number, number, 1.0) for number in range(width)))
    chain = _sparse(width, ((after, before, _CERTAIN) for before, after in follows.items()))
    ones = array("f", [1.0] * width).tobytes()
    tensors = {
        "token_embd.weight": ((width, width), identity),
        "output.weight": ((width, width), chain),
        "output_norm.weight": ((width,), ones),
        "blk.0.attn_norm.weight": ((width,), ones),
        "blk.0.ffn_norm.weight": ((width,), ones),
    }
    empty = {
        "attn_q": (width, width),
        "attn_k": (width, _HEAD_WIDTH),
        "attn_v": (width, _HEAD_WIDTH),
        "attn_output": (width, width),
        "ffn_gate": (width, _HEAD_WIDTH),
        "ffn_up": (width, _HEAD_WIDTH),
        "ffn_down": (_HEAD_WIDTH, width),
    }
    zeros = {
        f"blk.0.{name}.weight": (shape, bytes(4 * shape[0] * shape[1]))
        for name, shape in empty.items()
    }
    return tensors | zeros


def _sparse(width: int, entries: Iterable[tuple[int, int, float]]) -> bytes:
    rows = array("f", bytes(4 * width * width))
    for row, column, value in entries:
        rows[row * width + column] = value
    return rows.tobytes()


def _file(
    fields: Mapping[str, Value], tensors: Mapping[str, tuple[tuple[int, ...], bytes]]
) -> bytes:
    out = BytesIO()
    out.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)))
    for name, value in fields.items():
        out.write(_text(name) + _typed(value))
    offset = 0
    for name, (shape, data) in tensors.items():
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        out.write(_text(name) + sizes + struct.pack("<IQ", 0, offset))
        offset += len(data) + -len(data) % _ALIGNMENT
    out.write(bytes(-out.tell() % _ALIGNMENT))
    for _, data in tensors.values():
        out.write(data + bytes(-len(data) % _ALIGNMENT))
    return out.getvalue()


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: Value) -> bytes:
    """Return a value behind the number of its type."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + _text(value)
        case [str(), *_]:
            texts = [_text(str(item)) for item in value]
            return struct.pack("<IIQ", 9, 8, len(texts)) + b"".join(texts)
        case _:
            numbers = [int(item) for item in value]
            return struct.pack(f"<IIQ{len(numbers)}i", 9, 5, len(numbers), *numbers)
