"""Keys out of files: found, preferred, explained, and never shown."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from servicekit.settings import Port, ServiceSettings, read_settings, service_config


class VaultSettings(ServiceSettings):
    model_config = service_config("VAULT_")
    port: Port = 8001
    key: SecretStr | None = Field(None, validation_alias="THEIR_KEY")
    index_url: str | None = Field(None, repr=False)
    name: str = "plain"


def read(folder: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> VaultSettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return read_settings(VaultSettings, variables, secrets_dir=folder)


def shown(settings: VaultSettings) -> str | None:
    return settings.key.get_secret_value() if settings.key else None


def test_without_any_file_nothing_is_set_and_nothing_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(tmp_path / "absent", monkeypatch)

    assert settings.key is None
    assert settings.index_url is None


def test_the_folder_of_secrets_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "THEIR_KEY").write_text("s3cret\n", encoding="utf-8")
    (tmp_path / "VAULT_INDEX_URL").write_text("https://u:p@index.example/simple", encoding="utf-8")

    settings = read(tmp_path, monkeypatch, THEIR_KEY="  ")

    assert shown(settings) == "s3cret"
    assert settings.index_url == "https://u:p@index.example/simple"
    assert "s3cret" not in repr(settings)
    assert "u:p" not in repr(settings)


def test_a_variable_wins_over_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "THEIR_KEY").write_text("from the file", encoding="utf-8")

    assert shown(read(tmp_path, monkeypatch, THEIR_KEY="typed")) == "typed"


def test_a_named_file_wins_over_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "THEIR_KEY").write_text("from the folder", encoding="utf-8")
    named = tmp_path / "elsewhere"
    named.write_text("named", encoding="utf-8")

    assert shown(read(tmp_path, monkeypatch, THEIR_KEY_FILE=str(named))) == "named"


def test_a_named_file_may_lie_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("mine", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert shown(read(tmp_path / "absent", monkeypatch, THEIR_KEY_FILE="~/key")) == "mine"


def test_a_named_file_with_the_services_prefix_is_no_misspelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "url"
    named.write_text("https://index.example", encoding="utf-8")

    settings = read(tmp_path, monkeypatch, VAULT_INDEX_URL_FILE=str(named))

    assert settings.index_url == "https://index.example"


def test_what_is_no_secret_is_not_taken_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "VAULT_NAME").write_text("from the file", encoding="utf-8")

    assert read(tmp_path, monkeypatch).name == "plain"
    with pytest.raises(ValueError, match="VAULT_NAME_FILE is not a setting"):
        read(tmp_path, monkeypatch, VAULT_NAME_FILE="/x")


def test_a_named_file_that_is_absent_is_said_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read(tmp_path, monkeypatch, THEIR_KEY_FILE=str(tmp_path / "gone"))

    assert settings.key is None
    assert "THEIR_KEY_FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff\xfe\xfa", "no UTF-8"), (b"x" * 70_000, "larger than 65536 bytes")]
)
def test_a_file_that_is_no_key_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    (tmp_path / "THEIR_KEY").write_bytes(content)

    with pytest.raises(ValueError, match=said) as caught:
        read(tmp_path, monkeypatch)
    assert "xxx" not in str(caught.value)


def test_an_empty_file_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "THEIR_KEY").write_text("\n", encoding="utf-8")

    assert read(tmp_path, monkeypatch).key is None


def test_both_ways_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="both set"):
        read(tmp_path, monkeypatch, THEIR_KEY="a", THEIR_KEY_FILE="/b")


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder in its place: the one way to be refused that root meets as well.
    (tmp_path / "THEIR_KEY").mkdir()

    with pytest.raises(ValueError, match=r"THEIR_KEY: the file .* can't be used: Is a directory"):
        read(tmp_path, monkeypatch)
