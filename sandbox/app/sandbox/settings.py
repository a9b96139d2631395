"""What the sandbox service can be told."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from servicekit.settings import CommaSeparated, Port, ServiceSettings, service_config

from sandbox.packages.names import NamePolicy


class SandboxSettings(ServiceSettings):
    """Settings of the sandbox service, from variables that begin with `SANDBOX_`."""

    model_config = service_config("SANDBOX_")
    neighbour_prefixes: ClassVar[tuple[str, ...]] = ("SANDBOX_RUNNER_",)
    # The runner's, and those that Compose reads for the runner's container.
    neighbour_names: ClassVar[frozenset[str]] = frozenset(
        {"SANDBOX_WORKSPACE", "SANDBOX_MEMORY_LIMIT", "SANDBOX_CPUS"}
    )

    port: Port = Field(8001, description="port to listen on")
    runner_socket: Path = Field(
        Path(tempfile.gettempdir()) / f"sandbox-runner-{os.getuid()}" / "runner.sock",
        description="Unix socket of the sandbox runner",
    )
    # Not runner_connect_seconds: SANDBOX_RUNNER_* are the runner's own, and it knows them all.
    connect_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        3.0, description="seconds to keep trying while the runner does not answer"
    )
    slots: Annotated[int, Field(ge=1, le=256)] = Field(8, description="runs that go on at once")
    queue_limit: Annotated[int, Field(ge=0, le=10_000)] = Field(
        128,
        description="calls that may wait for a slot or for their session; one more is answered "
        "with 429",
    )
    queue_max_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 36)] = Field(
        32 << 20,
        description="bytes of code that waiting calls may hold together; more is answered with 429",
    )
    default_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="a cell's time limit in seconds when the request names none"
    )
    max_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        120.0, description="largest time limit in seconds that a request may ask for"
    )
    request_deadline_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        180.0, description="a request's whole time in seconds, waiting included, if it brings none"
    )
    max_sessions: Annotated[int, Field(ge=1, le=1024)] = Field(
        32, description="live sessions; for one more, the one idle for the longest is ended"
    )
    spare_sessions: Annotated[int, Field(ge=0, le=64)] = Field(
        4, description="sessions opened ahead, so that a run in a new session finds one"
    )
    session_idle_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        1800.0, description="seconds after which an idle session is ended"
    )
    packages_dir: Path = Field(
        Path(tempfile.gettempdir()) / f"sandbox-packages-{os.getuid()}",
        description="folder of the installed package sets; the runner must be able to read it",
    )
    packages_index_url: str | None = Field(
        None,
        description="package index; else UV_DEFAULT_INDEX, UV_INDEX_URL or PIP_INDEX_URL",
        repr=False,  # it may hold a password
    )
    packages_min_age_days: Annotated[float, Field(ge=0, le=365)] = Field(
        7.0, description="releases younger than this many days are refused; 0 allows all"
    )
    packages_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        120.0, description="time limit in seconds of one resolution or installation"
    )
    packages_max_set_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = Field(
        1 << 30, description="largest size of a package set on disk in bytes"
    )
    packages_max_set_files: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        100_000, description="largest number of files in a package set"
    )
    packages_max_store_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 44)] = Field(
        8 << 30,
        description="bytes that all package sets may take; those unused for the longest are "
        "deleted",
    )
    packages_policy: NamePolicy = Field(
        "open",
        description="names that are let in: all but suspicious ones (open); suspicious ones wait "
        "for approval (ask), as do all that are not well known (ask-unlisted); only the "
        "operator's own (allow-list)",
    )
    packages_yanked: Literal["refuse", "allow"] = Field(
        "refuse", description="what happens to releases that their authors withdrew"
    )
    packages_allow: CommaSeparated = Field(
        (), description="package names that no name rule refuses, comma separated"
    )
    packages_block: CommaSeparated = Field(
        (), description="package names that are always refused, comma separated"
    )

    @model_validator(mode="after")
    def _times_fit(self) -> "SandboxSettings":
        if self.default_timeout_seconds > self.max_timeout_seconds:
            raise ValueError("default_timeout_seconds must not be over max_timeout_seconds")
        return self
