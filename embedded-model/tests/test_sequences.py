import pytest
from embedded_model.reading.sums import read_sum
from embedded_model_corpus import prints


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("sum of the numbers from 1 to 100", "5050"),
        ("list the first 10 primes", "2, 3, 5, 7, 11, 13, 17, 19, 23, 29"),
        ("the first ten fibonacci numbers", "0, 1, 1, 2, 3, 5, 8, 13, 21, 34"),
        ("the 10th fibonacci number", "55"),
        ("sort [3,1,2]", "[1, 2, 3]"),
        ("sort 3 1 2 in descending order", "[3, 2, 1]"),
        ("sum of the squares from 1 to 5", "55"),
        ("square numbers up to 30", "1, 4, 9, 16, 25"),
        ("how many primes are there below 100", "25"),
        ("multiples of 7 up to 30", "7, 14, 21, 28"),
        ("prime factors of 84", "2, 2, 3, 7"),
        ("largest prime below 50", "47"),
        ("add 5 , 10 and 15", "30"),
        ("mean of [1, 2, 3, 6]", "3"),
        ("primes between 24 and 28", "none"),
    ],
)
def test_row_of_numbers_is_computed_by_code(text: str, printed: str) -> None:
    question = read_sum(text)
    assert question is not None
    assert prints(question.code) == printed


@pytest.mark.parametrize(
    "text", ["list the first", "sort my laundry", "a number", "the first man", "prime minister"]
)
def test_words_beside_a_row_of_numbers_are_no_question(text: str) -> None:
    assert read_sum(text) is None


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("cube root of 27", "3"),
        ("square root of 1764", "42"),
        ("fifth root of 243", "3"),
        ("10 / 4", "2.5"),
        ("84 / 2", "42"),
        ("cube root of 28", "3.0365889718756622"),
        ("2**0.5", "1.4142135623730951"),
    ],
)
def test_whole_result_is_printed_as_a_whole_number(text: str, printed: str) -> None:
    question = read_sum(text)
    assert question is not None
    assert prints(question.code) == printed
