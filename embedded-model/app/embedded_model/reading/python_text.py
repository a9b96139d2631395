"""Telling Python from prose and sums that only happen to parse."""

import ast
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache

from embedded_model.reading.arithmetic import parse_formula
from embedded_model.wording import straighten


def is_inline_code(candidate: str, *, accepts_bare: bool) -> bool:
    """Say whether a part of a sentence is code; after "run", a bare expression is, too."""
    if not candidate or "\n\n" in candidate:
        return False
    tree = _parse(candidate)
    if tree is None:
        return False
    if accepts_bare:
        return is_code(candidate) or (is_bare_expression(candidate) and not _is_sum(candidate))
    return is_code(candidate) and any(
        isinstance(
            node, ast.Call | ast.ListComp | ast.Import | ast.ImportFrom | ast.Subscript | ast.BinOp
        )
        for node in ast.walk(tree)
    )


@lru_cache(maxsize=2048)
def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        # Python warns about `1and 2`; prose must not end up on our log.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def is_code(text: str) -> bool:
    """Say whether a text is Python and looks as nobody writes prose or a sum."""
    tree = _parse(text)
    if tree is None or not tree.body or _is_sum(text) or _has_loose_call(tree, text):
        return False
    if _runs_into_prose(tree, text):
        return False
    return any(_is_telling(statement) for statement in tree.body)


def _has_loose_call(tree: ast.Module, text: str) -> bool:
    """Say whether a "call" is prose before a bracket: `compute (3 + 4)`, `what is 5(3)`."""
    lines = [line.encode() for line in text.splitlines()]
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.Compare) and (
            _is_prose_node(node) or _names_the_means(node)
        ):
            return True
        if isinstance(node, ast.Call):
            named, opening = node.func, b"("
        elif isinstance(node, ast.Subscript):
            named, opening = node.value, b"["
        else:
            continue
        if isinstance(named, ast.Constant) and isinstance(node, ast.Call):
            return True
        if isinstance(named, ast.Name) and named.id != "print" and named.end_col_offset:
            row = (named.end_lineno or 1) - 1
            if lines[row][named.end_col_offset : named.end_col_offset + 1] != opening:
                return True
    return False


def _runs_into_prose(tree: ast.Module, text: str) -> bool:
    """Say whether the code takes in a word before it or the sentence behind it."""
    if len(tree.body) == 1 and _is_joined_prose(tree.body[0]):
        return True
    lines = [line.encode() for line in text.splitlines()]
    return any(
        isinstance(node, ast.Attribute) and _is_next_sentence(node, lines)
        for node in ast.walk(tree)
    )


def _is_joined_prose(statement: ast.stmt) -> bool:
    """Say whether "tokyo and print(1)" is a word of prose, or another request, joined to code."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.BoolOp):
        return False
    values = statement.value.values
    if any(isinstance(value, ast.Name) for value in values):
        return True
    is_and = isinstance(statement.value.op, ast.And)
    return is_and and any(_is_print(value) for value in values[:-1])


def _is_print(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id == "print"
    )


def _is_next_sentence(node: ast.Attribute, lines: Sequence[bytes]) -> bool:
    """Say whether `print(1). Then` is code, a full stop and the next sentence."""
    if node.value.end_lineno != node.end_lineno or node.end_col_offset is None:
        return False
    line = lines[(node.end_lineno or 1) - 1]
    between = line[node.value.end_col_offset or 0 : node.end_col_offset - len(node.attr.encode())]
    return between.endswith(b" ") and not between.startswith(b" ")


_PROSE_NAMES = frozenset(
    [
        "run",
        "execute",
        "exec",
        "eval",
        "evaluate",
        "test",
        "try",
        "code",
        "python",
        "script",
        "snippet",
        "please",
        "this",
        "it",
        "what",
        "who",
        "that",
        "which",
        "there",
        "question",
        "task",
        "example",
        "note",
        "output",
        "input",
        "result",
        "calculate",
        "compute",
        "install",
        "here",
        "time",
    ]
)


def _names_the_means(node: ast.AnnAssign | ast.Compare) -> bool:
    """Say whether `print(1) in python` only happens to be Python."""
    if not isinstance(node, ast.Compare):
        return False
    last = node.comparators[-1]
    means = {"python", "python3", "sandbox", "terminal", "jupyter", "ipython", "repl"}
    return (
        isinstance(node.ops[-1], ast.In) and isinstance(last, ast.Name) and last.id.lower() in means
    )


def _is_prose_node(node: ast.AnnAssign | ast.Compare) -> bool:
    """Say whether "Execute: x = 1" or "What is f(x)" only happens to be Python."""
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id.lower() in _PROSE_NAMES
    is_identity = isinstance(node.ops[0], ast.Is | ast.IsNot | ast.In)
    return is_identity and isinstance(node.left, ast.Name) and node.left.id.lower() in _PROSE_NAMES


def _is_sum(text: str) -> bool:
    lowered = straighten(text).lower()
    parts = [lowered, *re.split(r"\s+and\s+|,\s*(?:and\s+)?", lowered)]
    is_several = lowered not in parts[1:]
    return _is_formula(lowered) or (is_several and all(map(_is_formula, parts[1:])))


def _is_formula(text: str) -> bool:
    return parse_formula(text) is not None or parse_formula(text, variable="x") is not None


def _is_telling(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=value):
            return _is_telling_expression(value)
        case ast.AnnAssign(value=None):
            return False  # "note: this" is prose
        case ast.Pass() | ast.Break() | ast.Continue() | ast.Global() | ast.Nonlocal():
            return False
        case ast.Return() | ast.Delete():
            return False
        case _:
            return True


def _is_telling_expression(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return True
    if isinstance(value, ast.Compare | ast.BoolOp | ast.Name | ast.Constant | ast.UnaryOp):
        return any(isinstance(node, ast.Call) for node in ast.walk(value))
    if isinstance(value, ast.BinOp):
        return any(
            isinstance(node, ast.Call | ast.List | ast.JoinedStr | ast.Subscript)
            or (isinstance(node, ast.Constant) and isinstance(node.value, str))
            for node in ast.walk(value)
        )
    if isinstance(value, ast.Tuple):
        return any(_is_telling_expression(item) for item in value.elts)
    return any(
        isinstance(
            node,
            ast.Call | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.List
            | ast.Dict | ast.Lambda | ast.Subscript | ast.JoinedStr,
        )
        for node in ast.walk(value)
    )  # fmt: skip


def is_bare_expression(text: str) -> bool:
    """Say whether a text after "run" is an expression with a sign or a literal in it."""
    tree = _parse(text)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return False
    value = tree.body[0].value
    if isinstance(value, ast.Compare):
        return not any(isinstance(operator, ast.In | ast.NotIn | ast.Is) for operator in value.ops)
    if isinstance(value, ast.BinOp):  # `hello-world` is a name, and no difference
        return any(isinstance(node, ast.Constant | ast.Call) for node in ast.walk(value))
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.JoinedStr)
