"""What a download is called, and what it is taken for."""

import pytest
from sandbox.artifacts import media_type_of
from sandbox.routes.files import disposition


def test_header_for_saving_holds_any_name() -> None:
    assert disposition("a b.csv") == "attachment; filename=\"a b.csv\"; filename*=UTF-8''a%20b.csv"
    odd = disposition('ü"\r\nset-cookie: x')
    assert "\r" not in odd
    assert "\n" not in odd
    assert odd.isascii()
    assert odd.count('"') == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plot.png", "image/png"),
        ("page.HTML", "text/html"),
        ("table.csv", "text/csv"),
        ("a.json", "application/json"),
        ("frame.parquet", "application/vnd.apache.parquet"),
        ("x.tar.gz", "application/octet-stream"),
        ("none", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
    ],
)
def test_media_type_follows_the_ending(name: str, expected: str) -> None:
    assert media_type_of(name) == expected
