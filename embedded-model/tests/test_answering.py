import json

import pytest
from embedded_model.answering import difference_sentence, sentence_for
from embedded_model.intents import (
    Action,
    Calculate,
    Draw,
    Install,
    ListPackages,
    RunCode,
    TellTime,
)

TRACEBACK = (
    'Traceback (most recent call last):\n  File "<cell>", line 2, in <module>\n'
    "ZeroDivisionError: division by zero"
)


@pytest.mark.parametrize(
    ("action", "content", "sentence"),
    [
        (TellTime(), "2026-11-22 17:03 UTC", "It is 2026-11-22 17:03 UTC."),
        (
            TellTime("Asia/Tokyo", "Tokyo"),
            "2026-11-23 02:03 JST (Asia/Tokyo)",
            "In Tokyo it is 2026-11-23 02:03 JST.",
        ),
        (
            TellTime(wants="day"),
            json.dumps({"text": "2026-11-22 17:03 UTC", "unix_seconds": 1}),
            "It is Sunday, 2026-11-22 17:03 UTC.",
        ),
        (RunCode("print('a')"), "a\n", "The output is `a`."),
        (RunCode("len('abc')"), "Result: 3", "The result is `3`."),
        (RunCode("x = 1"), "", "The code ran and printed nothing."),
        (RunCode("x"), "a\nb", "The output is:\n```\na\nb\n```"),
        (
            RunCode("x"),
            json.dumps({"stdout": "5\n", "result": None, "status": "ok"}),
            "The output is `5`.",
        ),
        (Install("six"), "Installed six 1.17.0.", "Installed six 1.17.0."),
        (
            Install("six"),
            json.dumps({"package": "six", "version": "1.17.0"}),
            "six 1.17.0 is installed.",
        ),
        (ListPackages(("six",)), "six==1.17.0\nrich 14.0", "Yes, six 1.17.0 is installed."),
        (
            ListPackages(("numpy",)),
            json.dumps({"packages": [{"name": "six", "version": "1.17.0"}]}),
            "No, numpy is not installed; say 'install numpy' to add it.",
        ),
    ],
)
def test_result_becomes_a_plain_sentence(action: Action, content: str, sentence: str) -> None:
    assert sentence_for(action, "tool", content) == sentence


def test_error_names_the_exception_and_its_line() -> None:
    sentence = sentence_for(RunCode("a\n1/0"), "execute_code", TRACEBACK)
    assert sentence == "The code failed in line 2 with `ZeroDivisionError: division by zero`."


def test_output_before_an_error_is_kept() -> None:
    sentence = sentence_for(RunCode("…"), "execute_code", f"first\n{TRACEBACK}")
    assert "ZeroDivisionError" in sentence
    assert "first" in sentence


def test_missing_module_says_how_to_get_it() -> None:
    trace = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'matplotlib'"
    sentence = sentence_for(Draw("…", "sin(x)"), "execute_code", trace)
    assert "install matplotlib" in sentence


@pytest.mark.parametrize(
    "content",
    [
        "Error: the time service is away",
        json.dumps({"success": False, "error": "the time service is away"}),
        json.dumps({"is_error": True, "text": "the time service is away"}),
        json.dumps(
            {"type": "x", "title": "y", "status": 502, "detail": "the time service is away"}
        ),
    ],
)
def test_tool_failure_is_said_whatever_its_form(content: str) -> None:
    sentence = sentence_for(TellTime("Asia/Tokyo", "Tokyo"), "get_timezone_time", content)
    assert sentence == "I could not get the time for Tokyo: the time service is away."


def test_output_with_a_fence_in_it_stays_inside_its_block() -> None:
    sentence = sentence_for(RunCode("x"), "execute_code", "```\nhi\n```")
    assert sentence.startswith("The output is:\n````\n")


def test_truth_value_becomes_the_claim() -> None:
    action = Calculate("…", "97", yes="97 is a prime number.", no="97 is not a prime number.")
    assert sentence_for(action, "execute_code", "False") == "97 is not a prime number."


def test_difference_of_two_clocks_is_told_in_hours_and_minutes() -> None:
    sentence = difference_sentence(
        [
            (TellTime("Europe/London", "London"), "2026-11-22 23:59 GMT"),
            (TellTime("Asia/Kolkata", "Delhi"), "2026-11-23 05:30 IST"),
        ]
    )
    assert sentence == "Delhi is 5 hours and 30 minutes ahead of London."


def test_stopped_run_says_why_and_what_it_printed() -> None:
    text = "tick\nTimed out: the code was still running after 5 s and was stopped. Make it do less."
    assert sentence_for(RunCode("…"), "execute_code", text) == (
        "Timed out: the code was still running after 5 s and was stopped. Make it do less."
        " Before that it printed:\n```\ntick\n```"
    )


def test_output_that_only_speaks_of_errors_is_output() -> None:
    assert sentence_for(RunCode("…"), "execute_code", "error rate: 5") == (
        "The output is `error rate: 5`."
    )


def test_syntax_error_without_a_header_is_an_error() -> None:
    text = "  File \"<cell>\", line 1\n    print(\n         ^\nSyntaxError: '(' was never closed"
    sentence = sentence_for(RunCode("print("), "execute_code", text)
    assert sentence == "The code failed in line 1 with `SyntaxError: '(' was never closed`."


def test_failure_inside_a_library_is_told_by_the_line_of_the_user_s_own_code() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "<cell 1>", line 2, in <module>\n    json.loads("{oops")\n'
        '  File "/usr/lib/python3.11/json/decoder.py", line 353, in raw_decode\n    obj, end = …\n'
        "json.decoder.JSONDecodeError: Expecting property name: line 1 column 2 (char 1)"
    )
    sentence = sentence_for(RunCode("…"), "execute_code", text)
    assert sentence.startswith("The code failed in line 2 with `json.decoder.JSONDecodeError:")


def test_run_without_output_is_said_once() -> None:
    text = "The code ran and printed nothing."
    assert sentence_for(RunCode("x = 1"), "execute_code", text) == text


def test_plot_that_brought_no_picture_says_so() -> None:
    text = "The code ran and printed nothing."
    sentence = sentence_for(Draw("…", "sin(x)"), "execute_code", text)
    assert sentence == "I plotted sin(x) as plot.png, but no picture came back."


def test_plot_that_brought_a_picture_needs_no_more_words() -> None:
    text = "[1 picture attached]\n[image: image/png]"
    assert sentence_for(Draw("…", "sin(x)"), "execute_code", text) == "I plotted sin(x)."


@pytest.mark.parametrize(("count", "said"), [(1, "It drew a picture."), (2, "It drew 2 pictures.")])
def test_code_that_draws_and_prints_is_told_apart(count: int, said: str) -> None:
    notes = [f"[{count} picture{'s' * (count > 1)} attached]", *["[image: image/png]"] * count]
    sentence = sentence_for(RunCode("…"), "execute_code", "\n".join(["drawn", *notes]))
    assert sentence == f"The output is `drawn`.\n{said}"
    assert sentence_for(RunCode("…"), "execute_code", "\n".join(notes)) == said


def test_plot_that_prints_as_well_tells_what_it_printed() -> None:
    notes = "3 peaks\n[1 picture attached]\n[image: image/png]"
    printed = sentence_for(Draw("…", "sin(x)"), "execute_code", notes)
    assert printed == "I plotted sin(x). The code printed `3 peaks`."


def test_plot_shows_a_picture_that_the_tool_returned() -> None:
    sentence = sentence_for(Draw("…", "sin(x)"), "execute_code", "![plot](/artifacts/1.png)")
    assert sentence == "I plotted sin(x).\n\n![plot](/artifacts/1.png)"


def test_row_of_numbers_is_told_after_a_colon() -> None:
    primes = Calculate("…", "The first 3 prime numbers:")
    assert sentence_for(primes, "execute_code", "2, 3, 5\n") == (
        "The first 3 prime numbers: 2, 3, 5."
    )


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (RunCode("x"), "I have no result of the code: execute_code did not answer in time."),
        (Install("six"), "I don't know whether six is installed now: execute_code did not answer"),
    ],
)
def test_answer_that_never_came_is_no_failure_of_the_work(action: Action, said: str) -> None:
    text = "Error: execute_code did not answer in time."
    assert sentence_for(action, "execute_code", text).startswith(said)


def test_empty_list_of_packages_is_said_in_its_own_words() -> None:
    text = "No packages are installed beyond Python's standard library."
    assert sentence_for(ListPackages(), "list_packages", text) == text
