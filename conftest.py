"""Imports every package before pytest names test modules after their folders.

In `importlib` mode pytest calls `servicekit/tests/x.py` the module `servicekit.tests.x`
and would put the folder `servicekit/` in the place of the package of that name.
"""

import code_executor  # noqa: F401  # imported for the reason above, as are all of these
import embedded_model  # noqa: F401
import mcp_server  # noqa: F401
import sandbox_runner  # noqa: F401
import time_client  # noqa: F401
from hypothesis import HealthCheck, settings

import launcher  # noqa: F401
import middleware  # noqa: F401
import sandbox  # noqa: F401
import servicekit  # noqa: F401

# A busy two-core machine is slow at times; that says nothing about the code.
settings.register_profile("stack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stack")
