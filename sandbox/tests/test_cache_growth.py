"""How much an installation unpacks: what is counted, and what is deleted when it was too much."""

from pathlib import Path

import pytest
from sandbox.adapters.cache_growth import CacheGrowth


@pytest.mark.parametrize("name", [".tmpAbc", "archive-v0/abc"])
@pytest.mark.parametrize("is_folder", [True, False])
async def test_what_is_new_is_counted_and_deleted(
    tmp_path: Path, name: str, is_folder: bool
) -> None:
    (tmp_path / "archive-v0").mkdir()
    kept = tmp_path / ".tmpKept"
    kept.write_bytes(bytes(900))
    growth = CacheGrowth(tmp_path)
    new = tmp_path / name
    (new / "deep").mkdir(parents=True) if is_folder else None
    (new / "deep" / "file" if is_folder else new).write_bytes(bytes(100))

    assert await growth.exceeds(99)
    assert not await growth.exceeds(100)
    await growth.discard()
    assert not new.exists()
    assert kept.exists()


async def test_what_goes_away_meanwhile_counts_nothing(tmp_path: Path) -> None:
    growth = CacheGrowth(tmp_path, tmp_path / "gone")
    (tmp_path / ".tmpLink").symlink_to("nowhere")

    assert not await growth.exceeds(100)
    await growth.discard()
    assert not (tmp_path / ".tmpLink").is_symlink()
