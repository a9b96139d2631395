"""Prepares pytest for a workspace whose folders are called like its packages."""

import importlib

from hypothesis import HealthCheck, settings

# In `importlib` mode pytest calls `servicekit/tests/x.py` the module `servicekit.tests.x`,
# and would put the folder `servicekit/` in the place of the package of that name. A package
# that is imported already keeps its place.
for package in (
    "code_executor",
    "embedded_model",
    "launcher",
    "mcp_server",
    "middleware",
    "sandbox",
    "sandbox_runner",
    "servicekit",
    "time_client",
):
    importlib.import_module(package)

# A busy two-core machine is slow at times; that says nothing about the code.
settings.register_profile("stack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stack")
