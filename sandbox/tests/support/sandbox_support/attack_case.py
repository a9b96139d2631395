"""One attack: its steps, how each may end, and whether it must say that it was refused."""

import re
from dataclasses import dataclass
from pathlib import Path

STEP = re.compile(r"^#%% (\S+)\n", flags=re.MULTILINE)
ENDS = re.compile(r"^# ENDS: (.*)$", flags=re.MULTILINE)
SAYS_NOTHING = re.compile(r"^# SAYS: nothing", flags=re.MULTILINE)

# The shared corpus stays as it was written; what it expects of the end of a step stands here.
SHARED_ENDS: dict[str, str] = {
    "f03": "ok timeout killed",
    "f05": "ok killed timeout",
    "i01": "timeout",
    "i03": "error, ok, ok",
    "i05": "crashed, error, crashed, error, error",
    "i07": "crashed memory error timeout",
    "i11": "timeout",
    "i13": "error",
    "p02": "ok killed",
    "p04": "timeout",
    "p06": "timeout",
    "r01": "timeout memory killed",
    "r03": "ok memory timeout",
    "r05": "ok memory timeout killed",
    "r07": "timeout memory",
    "r13": "output",
    "r23": "timeout",
    "r25": "error crashed memory timeout",
    "t01": "timeout killed",
}
# Those of it that say SAFE when they were refused; the others are judged from outside.
SHARED_SAYING_SAFE = frozenset(
    {
        *("f05", "i03", "i09", "k02", "k04", "k06", "n01", "n03", "n05", "n07", "n09", "p02"),
        *("r09", "r11", "r17", "r19", "r21", "s01", "s03", "s05", "s07", "s09", "s11", "t03"),
        "t05",
    }
)
SHARED_LETTERS = "fgiknprst"
# What a case is about that HTTP has in another form: what is seen of it there.
OVER_HTTP: dict[str, str] = {
    "i13_evil_result_object": "the result is JSON text of the service, not a frame of the runner",
    "r03_mem_bomb": "the memory of service and listener together stays flat",
    "r13_output_flood": "comes as events; text, not frames, up to the cap",
    "r15_output_binary_garbage": "comes as events; bytes that are no UTF-8 are replaced",
    "y04_output_in_single_bytes": "comes as events, which join what was written one by one",
    "y15_hostile_text": "comes as events; half characters and bytes are replaced",
    "z01_forge_frames_on_all_descriptors": "forged frames have the service's JSON to get through",
}


@dataclass(frozen=True)
class Step:
    kind: str
    code: str
    ends: frozenset[str]


@dataclass(frozen=True)
class AttackCase:
    name: str
    steps: tuple[Step, ...]
    must_say_safe: bool

    @property
    def is_streamed(self) -> bool:
        """Whether its runs come as events, over HTTP: those about output do."""
        return self.name[0] in "ry"


def load(path: Path) -> AttackCase:
    """Read a case. Its steps end with "ok" unless `# ENDS:` says else: steps by comma."""
    source = path.read_text(encoding="utf-8")
    parts = STEP.split(source)
    kinds, codes = ["new-session", *parts[1::2]], parts[0::2]
    is_shared = path.stem[0] in SHARED_LETTERS
    found = ENDS.search(source)
    said = SHARED_ENDS.get(path.stem[:3]) if is_shared else found and found[1]
    ends = [frozenset(step.split()) for step in said.split(",")] if said else []
    ends = ends or [frozenset({"ok"})] * len(codes)
    is_silent = SAYS_NOTHING.search(source) is not None
    must_say_safe = path.stem[:3] in SHARED_SAYING_SAFE if is_shared else not is_silent
    if len(ends) != len(codes):
        raise ValueError(f"{path.name} has {len(codes)} steps and {len(ends)} ends")
    steps = tuple(Step(*step) for step in zip(kinds, codes, ends, strict=True))
    return AttackCase(path.stem, steps, must_say_safe)
