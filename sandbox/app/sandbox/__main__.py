"""Start the service: `python -m sandbox`."""

import gc

from servicekit.service import run_service
from servicekit.settings import load_settings

from sandbox.app import create_app
from sandbox.settings import SandboxSettings


def main() -> None:
    """Read the settings, compose the app and serve it."""
    settings = load_settings(SandboxSettings)
    app = create_app(settings)
    # What is there now stays: to go through it again takes a fifth of a second, in which nobody is
    # answered, and a stranger's long listing brings that about.
    gc.collect()
    gc.freeze()
    run_service(app, settings)


if __name__ == "__main__":
    main()
