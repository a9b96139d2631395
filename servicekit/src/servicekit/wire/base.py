"""The one configuration of every wire model."""

from pydantic import BaseModel, ConfigDict


class WireModel(BaseModel):
    """A frozen message between two processes; unknown fields are refused.

    So are NaN and the infinities: they are no JSON, and the next hop could not be told of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WireReply(BaseModel):
    """A frozen answer; a reader ignores fields that a newer writer added."""

    model_config = ConfigDict(frozen=True, extra="ignore")
