"""`python -m time_client`."""

from servicekit.service import run_service
from servicekit.settings import load_settings

from time_client.app import create_app
from time_client.settings import TimeClientSettings


def main() -> None:
    """Run the service until it is told to stop."""
    settings = load_settings(TimeClientSettings)
    run_service(create_app(settings), settings)


if __name__ == "__main__":
    main()
