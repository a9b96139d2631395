"""Start the service: `python -m sandbox`."""

from servicekit.service import run_service
from servicekit.settings import load_settings

from sandbox.app import create_app
from sandbox.settings import SandboxSettings


def main() -> None:
    """Read the settings, compose the app and serve it."""
    settings = load_settings(SandboxSettings)
    run_service(create_app(settings), settings)


if __name__ == "__main__":
    main()
