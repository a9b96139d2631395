"""`make up` says which file of a key is of no use, before Compose stumbles over it."""

import shutil
from pathlib import Path

import pytest
from stack_support.settings_check import check

ROOT = Path(__file__).resolve().parents[2]
LINE = "LLM_API_KEY_FILE=./secrets/LLM_API_KEY\n"
WHAT_TO_DO = "Write the key into it, or take the line away."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("docker/profiles", "docs/reference", "secrets"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    return tmp_path


def test_without_a_key_there_is_nothing_to_say(folder: Path) -> None:
    assert check(folder) == (0, "")


@pytest.mark.parametrize("path", ["./secrets/LLM_API_KEY", "~/secrets/LLM_API_KEY", "{}"])
def test_a_file_with_a_key_is_right_wherever_it_lies(folder: Path, path: str) -> None:
    key = folder / "secrets" / "LLM_API_KEY"
    key.write_text("sk-1\n", encoding="utf-8")

    assert check(folder, f"LLM_API_KEY_FILE={path.format(key)}\n", HOME=str(folder)) == (0, "")


def test_a_file_that_is_missing_is_said(folder: Path) -> None:
    status, said = check(folder, LINE)

    assert status == 1
    assert said == f"{LINE.strip()}: there is no such file. {WHAT_TO_DO}\n"


def test_the_shell_wins_and_a_blank_name_is_none(folder: Path) -> None:
    assert check(folder, LINE, LLM_API_KEY_FILE="") == (0, "")
    assert check(folder, "", OPENAI_API_KEY_FILE="./gone")[0] == 1


def test_a_folder_or_a_device_is_no_key(folder: Path) -> None:
    for path in ("./secrets", "/dev/null"):
        status, said = check(folder, f"GRAFANA_ADMIN_PASSWORD_FILE={path}\n")

        assert status == 1
        assert f"{path}: this is a folder or a device." in said


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_is_no_key(folder: Path, content: str) -> None:
    (folder / "secrets" / "LLM_API_KEY").write_text(content, encoding="utf-8")

    status, said = check(folder, LINE)

    assert status == 1
    assert f"the file is empty. {WHAT_TO_DO}\n" in said


def test_a_path_that_one_generation_takes_for_a_name_is_said(folder: Path) -> None:
    (folder / "secrets" / "LLM_API_KEY").write_text("sk-1", encoding="utf-8")

    status, said = check(folder, "LLM_API_KEY_FILE=secrets/LLM_API_KEY\n")

    assert status == 1
    assert "write ./ before it" in said


def test_a_key_that_no_line_names_is_told_with_the_line(folder: Path) -> None:
    (folder / "secrets" / "OPENAI_API_KEY").write_text("sk-1", encoding="utf-8")
    (folder / "secrets" / "mine").write_text("sk-2", encoding="utf-8")

    status, said = check(folder, "LLM_API_KEY_FILE=./secrets/mine\n")

    assert status == 0
    assert said.startswith("secrets/OPENAI_API_KEY is used by nobody. A line in .env gives it ")
    assert said.endswith(": OPENAI_API_KEY_FILE=./secrets/OPENAI_API_KEY\n")
    assert "LLM_API_KEY_FILE=./secrets/mine (or OPENAI_API_KEY_FILE, " in check(folder)[1]
    assert "sk-" not in check(folder)[1]


def test_a_variable_that_wins_over_its_file_is_told(folder: Path) -> None:
    (folder / "secrets" / "LLM_API_KEY").write_text("sk-1", encoding="utf-8")

    assert check(folder, LINE, LLM_API_KEY="sk-2") == (
        0,
        "LLM_API_KEY is set, and wins over the file that LLM_API_KEY_FILE names.\n",
    )


def test_a_key_in_the_file_that_git_tracks_is_refused(folder: Path) -> None:
    (folder / "secrets" / "none").write_text("sk-1", encoding="utf-8")

    status, said = check(folder)

    assert status == 1
    assert "secrets/none is not empty." in said
    assert "mv secrets/none secrets/LLM_API_KEY; touch secrets/none" in said
    assert "sk-1" not in said


def test_the_missing_file_for_no_key_is_said(folder: Path) -> None:
    (folder / "secrets" / "none").unlink()

    status, said = check(folder)

    assert status == 1
    assert "touch secrets/none" in said


def test_a_key_in_the_folder_of_its_service_is_told_where_it_goes_now(folder: Path) -> None:
    old = folder / "secrets" / "middleware" / "LLM_API_KEY"
    old.parent.mkdir()
    old.write_text("sk-1", encoding="utf-8")

    status, said = check(folder)

    assert status == 1
    assert "mv secrets/middleware/LLM_API_KEY secrets/ and write into .env: " + LINE in said
    assert check(folder, "LLM_API_KEY_FILE=./secrets/middleware/LLM_API_KEY\n") == (0, "")
