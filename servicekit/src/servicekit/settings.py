"""Settings come from the environment, once, with bounds; a misspelt name is an error at start."""

import difflib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from servicekit.secret_files import SECRETS_DIR, is_secret, read_secret_files

# sysexits.h: EX_CONFIG, "something was found in an unconfigured or misconfigured state".
EXIT_CONFIG = 78

# Names that the product fixes and that happen to begin with a service's prefix.
FIXED_NAMES = frozenset({"MCP_SERVER_URL"})

# Kubernetes sets these for every Service of the namespace ("service links").
_SERVICE_LINK = re.compile(
    r"^(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$"
)
_SERVICE_LINK_VALUE = re.compile(r"^(?:tcp|udp|sctp)://")


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Port = Annotated[int, Field(ge=1, le=65535)]


def service_config(prefix: str) -> SettingsConfigDict:
    """Return the settings configuration of a service whose variables begin with `prefix`."""
    return SettingsConfigDict(
        env_prefix=prefix, frozen=True, extra="ignore", hide_input_in_errors=True
    )


class ServiceSettings(BaseSettings):
    """What every service can be told.

    A subclass sets `model_config = service_config("ITS_PREFIX_")` and a default port.
    """

    #: Prefixes of other programs that begin with this one's (SANDBOX_ and SANDBOX_RUNNER_).
    neighbour_prefixes: ClassVar[tuple[str, ...]] = ()
    #: Names with this one's prefix that others read.
    neighbour_names: ClassVar[frozenset[str]] = frozenset()

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(description="port to listen on")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: readable on a terminal, else JSON lines"
    )
    allowed_hosts: CommaSeparated = Field(
        (), description="further Host names to answer to, comma separated"
    )
    allowed_origins: CommaSeparated = Field(
        (), description="further web origins to answer to, comma separated (https://chat.example)"
    )
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = Field(
        4 * 1024 * 1024, description="largest request body in bytes"
    )
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        10.0, description="seconds that requests in flight may take to end after SIGTERM"
    )

    @field_validator("port", mode="before")
    @classmethod
    def _ignore_service_link(cls, value: Any, info: ValidationInfo) -> Any:
        # Kubernetes sets SANDBOX_PORT=tcp://10.0.0.7:8001 for a Service named "sandbox".
        if isinstance(value, str) and _SERVICE_LINK_VALUE.match(value):
            return cls.model_fields[str(info.field_name)].default
        return value


S = TypeVar("S", bound=ServiceSettings)


def variable_names(settings_class: type[BaseSettings]) -> dict[str, str]:
    """Return each environment variable of a settings class with the field that it sets."""
    prefix = str(settings_class.model_config.get("env_prefix", ""))
    names: dict[str, str] = {}
    for field, info in settings_class.model_fields.items():
        alias = info.validation_alias
        choices = getattr(alias, "choices", None) or ([alias] if alias else [prefix + field])
        names |= {str(choice).upper(): field for choice in choices}
    return names


def secret_variables(settings_class: type[BaseSettings]) -> dict[str, str]:
    """Return each variable that may hold a key, with its field; `NAME_FILE` may name a file."""
    fields = settings_class.model_fields
    return {
        name: field
        for name, field in variable_names(settings_class).items()
        if is_secret(fields[field])
    }


def misspelt_variables(
    environment: Mapping[str, str],
    *,
    prefix: str,
    known: frozenset[str],
    neighbour_prefixes: tuple[str, ...] = (),
) -> dict[str, str | None]:
    """Find variables with our prefix that nobody reads.

    Returns
    -------
    dict
        The misspelt name, and the nearest right one (None when none is near).
    """
    found: dict[str, str | None] = {}
    for name in sorted(environment):
        rest = name.removeprefix(prefix)
        if rest == name or name in known or name in FIXED_NAMES or _SERVICE_LINK.match(rest):
            continue
        if any(name.startswith(neighbour) for neighbour in neighbour_prefixes):
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
        found[name] = near[0] if near else None
    return found


def read_settings(
    settings_class: type[S], environment: Mapping[str, str], *, secrets_dir: Path = SECRETS_DIR
) -> S:
    """Read settings, or raise `ValueError` with one sentence a line about what is wrong.

    Keys may stand in files (`servicekit.secret_files`); `secrets_dir` is another folder to look in.
    """
    prefix = str(settings_class.model_config.get("env_prefix", ""))
    names = variable_names(settings_class)
    secrets = secret_variables(settings_class)
    from_files, complaints = read_secret_files(secrets, environment, folder=secrets_dir)
    complaints += [
        f"{name} is not a setting." + (f" Did you mean {near}?" if near else "")
        for name, near in misspelt_variables(
            environment,
            prefix=prefix,
            known=frozenset(names)
            | {f"{name}_FILE" for name in secrets}
            | settings_class.neighbour_names,
            neighbour_prefixes=settings_class.neighbour_prefixes,
        ).items()
    ]
    try:
        settings = settings_class(**_by_argument(settings_class, secrets, from_files))
    except ValidationError as error:
        by_field = {field: name for name, field in reversed(names.items())}
        for item in error.errors(include_input=False, include_url=False):
            place = str(item["loc"][0]) if item["loc"] else ""
            complaints.append(f"{by_field.get(place, place)}: {item['msg']}.")
        raise ValueError("\n".join(complaints)) from None
    if complaints:
        raise ValueError("\n".join(complaints))
    return settings


def _by_argument(
    settings_class: type[BaseSettings], fields: Mapping[str, str], values: Mapping[str, str]
) -> dict[str, Any]:
    # A field with an alias is given by it.
    found = {}
    for name, value in values.items():
        field = fields[name]
        alias = settings_class.model_fields[field].validation_alias
        found[alias if isinstance(alias, str) else field] = value
    return found


def load_settings(settings_class: type[S]) -> S:
    """Read the process's environment; end the process with a sentence if it is wrong."""
    try:
        return read_settings(settings_class, os.environ)
    except ValueError as error:
        sys.stderr.write(f"The settings are wrong:\n{error}\n")
        raise SystemExit(EXIT_CONFIG) from None
