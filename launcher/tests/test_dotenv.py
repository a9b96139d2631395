import pytest
from hypothesis import given
from hypothesis import strategies as st
from launcher.dotenv import DotenvError, parse_dotenv


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("A = 1 ", "1"),
        ("export A=1", "1"),
        ("A=", ""),
        ("A= # nothing", ""),
        ("A=a#b", "a#b"),
        ("A=a # comment", "a"),
        ("A='a # b'", "a # b"),
        ("A='$HOME \\n'", "$HOME \\n"),
        ('A="a \\"b\\" \\\\ \\n c"', 'a "b" \\ \n c'),
        ('A="x"  # why', "x"),
        ("A=$HOME", "$HOME"),
        ("A=http://localhost:11434/v1?a=b", "http://localhost:11434/v1?a=b"),
    ],
)
def test_value_is_read(line: str, value: str) -> None:
    assert parse_dotenv(f"# first\n\n{line}\n") == {"A": value}


def test_last_assignment_wins_and_a_byte_order_mark_is_no_name() -> None:
    assert parse_dotenv("\ufeffA=1\r\nA=2\r\n") == {"A": "2"}


@pytest.mark.parametrize(
    "line", ["no assignment", "1A=2", "A-B=1", "=x", "A='open", 'A="open', "A='a' b"]
)
def test_line_that_is_no_assignment_is_named_by_number(line: str) -> None:
    with pytest.raises(DotenvError, match="line 2"):
        parse_dotenv(f"OK=1\n{line}")


def test_complaint_never_shows_a_value() -> None:
    with pytest.raises(DotenvError) as caught:
        parse_dotenv("LLM API KEY=sk-secret")
    assert "sk-secret" not in str(caught.value)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_any_text_survives_double_quotes(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    if "\x85" in text:
        return
    assert parse_dotenv(f'A="{quoted}"') == {"A": text}
