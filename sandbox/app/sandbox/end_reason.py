"""Why a session is gone, as its next call is told."""

from enum import Enum


class EndReason(Enum):
    """Why a session is gone, as the caller reads it."""

    DELETED = ("deleted", "it was deleted")
    IDLE = ("idle", "it was idle for too long")
    EVICTED = ("evicted", "its place was needed, and it was the one idle for the longest")
    TIMEOUT = ("timeout", "its last cell ran past the time limit and was killed")
    MEMORY = ("memory", "its last cell used too much memory and was killed")
    OUTPUT = ("output", "its last cell flooded its output and was killed")
    KILLED = ("killed", "its last cell was killed")
    CRASHED = ("crashed", "its interpreter crashed")
    CANCELLED = ("cancelled", "its last cell was cancelled")
    RUNNER_LOST = ("runner-lost", "the sandbox's runner went away, and its state with it")

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence
