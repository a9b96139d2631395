"""Arguments against a tool's JSON Schema, which may be a stranger's.

Nothing is ever fetched for a schema: a `$ref` to an address or a file would let whoever wrote
it reach into our network and our disk.
"""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, relevance
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry

from servicekit.errors import ArgumentsInvalid

# A sentence, not a dump of the value: its beginning, and the end, where the reason stands.
_HEAD_CHARACTERS = 150
_TAIL_CHARACTERS = 150
# Without it, jsonschema gets what a reference names by itself, over HTTP and from files.
_NOTHING_ELSE: Registry[Any] = Registry()


def compiled(schema: Mapping[str, Any]) -> Validator:
    """Return a validator for a schema of any draft, 2020-12 where it names none.

    Notes
    -----
    A reference that leads out of the schema raises `referencing`'s `Unresolvable` when a value
    reaches it.
    """
    chosen = validator_for(schema, default=Draft202012Validator)
    return chosen(dict(schema), registry=_NOTHING_ELSE)


def describe_violation(error: ValidationError) -> str:
    """Return one sentence that says which argument is wrong and how."""
    telling = _telling(error)
    where = ".".join(str(part) for part in telling.absolute_path)
    message = _types_wanted(telling) or telling.message
    if len(message) > _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        message = f"{message[:_HEAD_CHARACTERS]} … {message[-_TAIL_CHARACTERS:]}"
    return f"{where}: {message}" if where else message


def _telling(error: ValidationError) -> ValidationError:
    """Go down to the one alternative that was meant, where the value's type says which."""
    while error.validator in {"anyOf", "oneOf"}:
        meant = [inner for inner in error.context or () if not _is_of_another_type(inner)]
        if len({inner.schema_path[0] for inner in meant}) != 1:
            break
        error = max(meant, key=relevance)
    return error


def _types_wanted(error: ValidationError) -> str | None:
    """Name the types of all alternatives if it fails by its type in each."""
    context = error.context or ()
    if error.validator not in {"anyOf", "oneOf"} or not context:
        return None
    if not all(_is_of_another_type(inner) for inner in context):
        return None
    wanted = dict.fromkeys(str(inner.validator_value) for inner in context)
    return f"{error.instance!r} is not of type {' or '.join(map(repr, wanted))}"


def _is_of_another_type(inner: ValidationError) -> bool:
    return inner.validator == "type" and not inner.relative_path


class ArgumentCheck:
    """A tool's argument schema, compiled once: compiling costs more than a whole call."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = compiled(schema)

    def reject_invalid(self, arguments: Mapping[str, Any]) -> None:
        """Raise `ArgumentsInvalid` with the violations, the most telling first."""
        errors = list(self._validator.iter_errors(dict(arguments)))
        if not errors:
            return
        by_weight = sorted(errors, key=relevance, reverse=True)
        violations = list(dict.fromkeys(map(describe_violation, by_weight)))
        raise ArgumentsInvalid(
            f"The arguments do not fit the tool's schema: {'; '.join(violations[:5])}.",
            violations=violations[:20],
        )
