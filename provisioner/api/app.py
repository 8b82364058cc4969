"""The application: routes, guard, errors and documentation put together around the plugged-in ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

from provisioner import __version__
from provisioner.api import (
    adoption,
    answers,
    callbacks,
    catalogue,
    errors,
    health,
    jobs,
    life,
    metrics,
    servers,
    services,
    tickets,
)
from provisioner.api.body import Guard
from provisioner.api.docs import PAGE, POLICY
from provisioner.bootstrap import App

DESCRIPTION = (
    "Turns a paid order into a handed-over dedicated server. Orders are accepted with 202 and go on by themselves; "
    "`GET /v1/jobs/{id}` says what a job waits for. Errors are problem details (RFC 9457)."
)


def create_app(ports: App) -> FastAPI:
    """Give the API on *ports*."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # A thread without a database connection to take would only wait for one.
        anyio.to_thread.current_default_thread_limiter().total_tokens = ports.settings.api_pool
        ports.listener.start()
        yield
        await ports.listener.stop()
        ports.database.close()

    app = FastAPI(
        title="provisioner",
        description=DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.ports = ports
    for part in (adoption, services, life, jobs, answers, servers, catalogue, tickets, callbacks, health, metrics):
        app.include_router(part.router)
    app.get("/docs", include_in_schema=False)(_docs)
    errors.register(app)
    app.add_middleware(Guard)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # as FastAPI's manual has it
    return app


async def _docs() -> HTMLResponse:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        problem = errors.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas |= problem.pop("$defs", {})
        schemas["Problem"] = problem
        app.openapi_schema = schema
    return app.openapi_schema
