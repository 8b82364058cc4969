"""Where uvicorn starts the API: `uvicorn --factory provisioner.asgi:create_app`; reads the settings, once."""

from fastapi import FastAPI

from provisioner import bootstrap, config
from provisioner.api.app import create_app as api


def create_app() -> FastAPI:
    """
    Plug everything together and give the application.

    Raises:
        BadConfig: a setting is missing or wrong.
    """
    settings = config.load()
    bootstrap.set_up_logs(settings)
    return api(bootstrap.build(settings))
