"""A pull is told of in words, and only while somebody is at it."""

import json
from typing import Any

import pytest
from middleware.adapters.llm_errors import Blame
from middleware.adapters.pull_file import PullFile
from middleware.endpoint import Endpoint
from middleware.errors import LlmModelNotFound, LlmModelPulling
from middleware.model_pull import ModelPull, read_pull

NOW = 1_800_000_000.0
MODEL = "llama3.1:latest"


def written(**fields: Any) -> bytes:
    usual = {
        "model": MODEL,
        "phase": "pulling",
        "completed_bytes": 1_813_000_000,
        "total_bytes": 4_900_000_000,
        "bytes_per_second": 12e6,
        "updated_at": NOW - 1,
    }
    return json.dumps(usual | fields).encode()


def read(**fields: Any) -> ModelPull:
    pull = read_pull(written(**fields), now=NOW)
    assert pull is not None
    return pull


def blamed(pull: ModelPull | None) -> Any:
    endpoint = Endpoint("configured", "http://ollama:11434/v1", "llama3.1")
    return Blame(endpoint, lambda: pull).model_not_found()


def test_progress_says_percent_bytes_and_time():
    assert read().progress == "37 %, 1.8 of 4.9 GB, about 4 min left"


def test_time_that_is_left_is_counted_in_seconds_near_the_end():
    assert read(completed_bytes=4_660_000_000).progress.endswith("about 20 s left")


def test_small_model_is_counted_in_megabytes():
    small = read(completed_bytes=1_000_000, total_bytes=2_100_000, bytes_per_second=0)
    assert small.progress == "47 %, 1.0 of 2.1 MB"


def test_pull_of_which_nothing_is_known_has_just_begun():
    assert read(completed_bytes=0, total_bytes=0, phase="waiting").progress == "it has just begun"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{oops",
        b"[" * 100_000,
        written(phase="done"),
        written(phase=7),
        written(updated_at=NOW - 60),
        written(updated_at="now"),
        json.dumps({"phase": "pulling"}).encode(),
    ],
)
def test_what_tells_of_no_living_pull_is_none(raw):
    assert read_pull(raw, now=NOW) is None


def test_numbers_that_are_none_are_nought():
    pull = read(completed_bytes="x", total_bytes=True, bytes_per_second=-1)
    assert (pull.completed_bytes, pull.total_bytes, pull.bytes_per_second) == (0, 0, 0)


def test_missing_model_that_is_pulled_says_how_far_and_when_to_ask_again():
    error = blamed(read())
    assert isinstance(error, LlmModelPulling)
    assert "37 %" in error.detail
    assert (error.http_status, error.retry_after_seconds) == (503, 60.0)


def test_missing_model_whose_pull_fails_says_why_and_when_the_next_try_is():
    error = blamed(read(phase="failed", failures=3, reason="the disk is full.", retry_seconds=20))
    assert isinstance(error, LlmModelNotFound)
    assert "failed 3 times" in error.detail
    assert "the disk is full" in error.detail
    assert "in 20 s" in error.detail


@pytest.mark.parametrize("pull", [None, read(model="qwen3:latest")])
def test_missing_model_that_nobody_pulls_says_how_to_get_it(pull):
    error = blamed(pull)
    assert type(error) is LlmModelNotFound
    assert "ollama pull llama3.1" in error.detail


@pytest.mark.parametrize(
    ("listed", "wanted", "is_same"),
    [
        ("llama3.1:latest", "llama3.1", True),
        ("llama3.1", "llama3.1:latest", True),
        ("llama3.1:8b", "llama3.1", False),
        ("host:5000/a/b", "host:5000/a/b:latest", True),
    ],
)
def test_name_without_a_tag_means_the_latest(listed, wanted, is_same):
    assert read(model=listed).is_of(wanted) is is_same


def test_file_is_read_where_there_is_one(tmp_path):
    path = tmp_path / "status.json"
    assert PullFile(None)() is None
    assert PullFile(path)() is None
    path.write_bytes(written(updated_at=4e9))
    assert PullFile(path)() is not None
