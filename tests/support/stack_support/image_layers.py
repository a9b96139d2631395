"""What lies in an image: the files of each layer, and its settings."""

import subprocess

_PIECE = 1 << 20


def found_in_layers(image: str, wanted: tuple[bytes, ...]) -> set[bytes]:
    """Look through all that `docker save` gives; tell which of the texts are in it."""
    longest = max(len(text) for text in wanted)
    found, before = set(), b""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        while piece := saving.stdout.read(_PIECE):
            both = before + piece
            found |= {text for text in wanted if text in both}
            before = both[-longest:]
    assert saving.returncode == 0
    return found
