"""The services of the stack, as the generators see them: their settings and their apps."""

import importlib
import os
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

from fastapi import FastAPI
from servicekit.settings import FIXED_NAMES, ServiceSettings

PACKAGES = {
    "middleware": "middleware",
    "mcp-server": "mcp_server",
    "code-executor": "code_executor",
    "time-client": "time_client",
    "sandbox": "sandbox",
    "embedded-model": "embedded_model",
}
_PREFIXES = (
    *(f"{package.upper()}_" for package in PACKAGES.values()),
    "LLM_",
    "OPENAI_",
    "LAUNCHER_",
)


@dataclass(frozen=True)
class Service:
    """One service of the stack."""

    name: str
    package: str

    @property
    def settings_class(self) -> type[ServiceSettings]:
        """The class in `settings.py` that reads this service's variables."""
        module = importlib.import_module(f"{self.package}.settings")
        return next(
            item
            for item in vars(module).values()
            if isinstance(item, type)
            and issubclass(item, ServiceSettings)
            and item.__module__ == module.__name__
        )

    @cached_property
    def app(self) -> FastAPI:
        """The service's app with default settings; nothing is opened before it runs."""
        app: FastAPI = importlib.import_module(f"{self.package}.app").create_app(
            self.settings_class()
        )
        return app

    @property
    def speaks_mcp(self) -> bool:
        """Whether there is an MCP endpoint, which OpenAPI does not show."""
        return any(getattr(route, "path", None) == "/mcp" for route in self.app.routes)


SERVICES = tuple(Service(name, package) for name, package in PACKAGES.items())


def forget_own_variables() -> None:
    """Drop what this shell's environment says about the stack: pages show the defaults."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES) or name in FIXED_NAMES:
            del os.environ[name]


def modules(package: str) -> Iterator[ModuleType]:
    """Import and return every module of a package but its `__main__`."""
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.walk_packages(root.__path__, prefix=f"{package}."):
        if not found.name.endswith(".__main__"):
            yield importlib.import_module(found.name)
