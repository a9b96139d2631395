"""The services of the stack, as the generators see them: their settings and their apps."""

import importlib
import os
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

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

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document of the service's app with default settings."""
        app = importlib.import_module(f"{self.package}.app").create_app(self.settings_class())
        document: dict[str, Any] = app.openapi()
        return document


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
