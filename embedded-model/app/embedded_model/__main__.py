"""Start the embedded model: `python -m embedded_model`."""

from servicekit.service import run_service
from servicekit.settings import load_settings

from embedded_model.app import create_app
from embedded_model.settings import EmbeddedModelSettings

if __name__ == "__main__":
    settings = load_settings(EmbeddedModelSettings)
    run_service(create_app(settings), settings)
