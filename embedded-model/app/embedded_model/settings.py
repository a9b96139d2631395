"""What the embedded model can be told by the environment."""

from typing import Annotated

from pydantic import Field
from servicekit.settings import Port, ServiceSettings, service_config

DEFAULT_PORT = 8005


class EmbeddedModelSettings(ServiceSettings):
    """Settings of the embedded model; each is `EMBEDDED_MODEL_` and the name in capitals."""

    model_config = service_config("EMBEDDED_MODEL_")

    port: Port = Field(DEFAULT_PORT, description="port to listen on")
    model_name: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        "embedded", description="the name under which the model presents itself"
    )
