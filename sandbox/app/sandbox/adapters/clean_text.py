"""Text from a stranger, as it can be sent on."""


def clean_text(text: object) -> str:
    r"""Return text that UTF-8 can carry: a lone surrogate becomes `\udXXX`."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")
