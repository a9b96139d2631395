import pytest
from embedded_model.formula import python_text
from embedded_model.reading.arithmetic import parse_formula
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("seventeen times twenty-three", "17 * 23"),
        ("one hundred and five minus six", "105 - 6"),
        ("15% of 240", "240 * 15 / 100"),
        ("200 + 10%", "200 + 200 * 10 / 100"),
        ("17 % 5", "17 % 5"),
        ("10 factorial", "math.factorial(10)"),
        ("2 raised to the 8th power", "2**8"),
        ("-2^2", "-2**2"),
        ("(-2)^2", "(-2)**2"),
        ("2^3^2", "2**3**2"),
        ("(2^3)^2", "(2**3)**2"),
        ("10 - (3 - 2)", "10 - (3 - 2)"),
        ("5(3+2)", "5 * (3 + 2)"),
        ("1,000 * 3", "1000 * 3"),
        ("two million times 3", "2000000 * 3"),
        ("5 kg plus 3 kg", "5 + 3"),
        ("log base 10 of 1000", "math.log10(1000)"),
        ("3/4 of 20", "20 * 3 / 4"),
    ],
)
def test_sum_becomes_python_with_its_own_precedence(text: str, python: str) -> None:
    formula = parse_formula(text)
    assert formula is not None
    assert python_text(formula) == python


@pytest.mark.parametrize(
    "text",
    ["", "hello", "two and three", "2024-01-05", "192.168.1.1", "3 +", "5 km plus 3 kg", "("],
)
def test_text_that_is_no_sum_is_left_alone(text: str) -> None:
    assert parse_formula(text) is None


expressions = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
    ),
    max_leaves=12,
)


@given(expressions)
def test_rendered_sum_has_the_value_of_the_sum_as_typed(text: str) -> None:
    formula = parse_formula(text)
    assert formula is not None
    assert eval(python_text(formula)) == eval(text)  # digits and signs of our own making


@given(st.text(max_size=60))
def test_no_text_breaks_the_grammar(text: str) -> None:
    parse_formula(text.lower())
