"""The one configuration of every wire model."""

from pydantic import BaseModel, ConfigDict


class WireModel(BaseModel):
    """A frozen message between two processes; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WireReply(BaseModel):
    """A frozen answer; a reader ignores fields that a newer writer added."""

    model_config = ConfigDict(frozen=True, extra="ignore")
