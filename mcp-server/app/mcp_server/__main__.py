"""`python -m mcp_server`."""

from servicekit.service import run_service
from servicekit.settings import load_settings

from mcp_server.app import create_app
from mcp_server.settings import McpServerSettings


def main() -> None:
    """Run the gateway until it is told to stop."""
    settings = load_settings(McpServerSettings)
    run_service(create_app(settings), settings)


if __name__ == "__main__":
    main()
