"""Arguments against a tool's JSON Schema, which may be a stranger's.

Nothing is ever fetched for a schema: a `$ref` to an address or a file would let whoever wrote
it reach into our network and our disk.
"""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry

from servicekit.errors import ArgumentsInvalid

# A sentence, not a dump of the value.
_MAX_MESSAGE_CHARACTERS = 300
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
    where = ".".join(str(part) for part in error.absolute_path)
    message = error.message
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = message[:_MAX_MESSAGE_CHARACTERS] + " …"
    return f"{where}: {message}" if where else message


class ArgumentCheck:
    """A tool's argument schema, compiled once: compiling costs more than a whole call."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = compiled(schema)

    def reject_invalid(self, arguments: Mapping[str, Any]) -> None:
        """Raise `ArgumentsInvalid` with the violations, the most telling first."""
        errors = list(self._validator.iter_errors(dict(arguments)))
        if not errors:
            return
        first = best_match(errors) or errors[0]
        violations = list(
            dict.fromkeys([describe_violation(first), *map(describe_violation, errors)])
        )
        raise ArgumentsInvalid(
            f"The arguments do not fit the tool's schema: {'; '.join(violations[:5])}.",
            violations=violations[:20],
        )
