"""Settings of the code executor."""

from typing import Annotated

from pydantic import AnyHttpUrl, Field
from servicekit.settings import Port, ServiceSettings, service_config

Characters = Annotated[int, Field(ge=100, le=1_000_000)]


class CodeExecutorSettings(ServiceSettings):
    """Settings of the code executor, from variables that begin with `CODE_EXECUTOR_`."""

    model_config = service_config("CODE_EXECUTOR_")

    port: Port = Field(8004, description="port to listen on")
    sandbox_url: AnyHttpUrl = Field(
        AnyHttpUrl("http://127.0.0.1:8001"), description="address of the sandbox service"
    )
    stdout_characters: Characters = Field(
        8000, description="characters of standard output that the model sees: head and tail"
    )
    stderr_characters: Characters = Field(
        2000, description="characters of standard error that the model sees: head and tail"
    )
    result_characters: Characters = Field(
        4000, description="characters of the last expression's value that the model sees"
    )
    traceback_characters: Characters = Field(
        3000, description="characters of a traceback that the model sees; its end is kept"
    )
    request_deadline_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        180.0, description="a request's whole time in seconds, waiting included, if it brings none"
    )
