"""`python -m code_executor`."""

from servicekit.service import run_service
from servicekit.settings import load_settings

from code_executor.app import create_app
from code_executor.settings import CodeExecutorSettings


def main() -> None:
    """Run the service until it is told to stop."""
    settings = load_settings(CodeExecutorSettings)
    run_service(create_app(settings), settings)


if __name__ == "__main__":
    main()
