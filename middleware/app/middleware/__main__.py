"""`python -m middleware`."""

from servicekit.service import run_service
from servicekit.settings import load_settings

from middleware.app import create_app
from middleware.settings import MiddlewareSettings


def main() -> None:
    """Read the environment and serve."""
    settings = load_settings(MiddlewareSettings)
    run_service(create_app(settings), settings)


if __name__ == "__main__":
    main()
