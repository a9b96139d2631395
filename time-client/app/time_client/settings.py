"""Settings of the time service."""

from pydantic import Field
from servicekit.settings import Port, ServiceSettings, service_config


class TimeClientSettings(ServiceSettings):
    """Settings of the time service, from variables that begin with `TIME_CLIENT_`."""

    model_config = service_config("TIME_CLIENT_")

    port: Port = Field(8003, description="port to listen on")
