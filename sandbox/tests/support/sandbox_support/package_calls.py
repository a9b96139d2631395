"""What tests of packages ask the service for, and what then lies in its folder."""

from pathlib import Path

import httpx


async def install(client: httpx.AsyncClient, package: str, **body: object) -> httpx.Response:
    return await client.post("/packages", json={"package": package} | body)


async def open_session(client: httpx.AsyncClient) -> str:
    name: str = (await client.post("/sessions")).json()["session_id"]
    return name


async def listed(client: httpx.AsyncClient, session_id: str | None = None) -> set[str]:
    query = {} if session_id is None else {"session_id": session_id}
    answer = (await client.get("/packages", params=query)).json()["packages"]
    return {each["name"] for each in answer}


def wheels(folder: Path) -> list[str]:
    return _folders(folder / "packages" / "wheels")


def sets(folder: Path) -> list[str]:
    return _folders(folder / "packages" / "sets")


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())
