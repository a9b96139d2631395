"""Builds and runs a service: everything that all of them have, once."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any, Protocol, TypeVar

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from servicekit.asgi import (
    BodyRules,
    CallerGuard,
    ErrorBoundary,
    RawBody,
    Telemetry,
    log_refusal,
)
from servicekit.context import (
    DEFAULT_DEADLINE_SECONDS,
    MCP_SESSION_HEADER,
    REQUEST_ID_HEADER,
    current_context,
)
from servicekit.docs_page import serve_docs
from servicekit.errors import (
    ArgumentsInvalid,
    BodyNotJson,
    MethodNotAllowed,
    NotFound,
    StackError,
)
from servicekit.gathered_writes import GatheringProtocol
from servicekit.guard import CallerPolicy
from servicekit.health import Dependency, HealthMonitor, HealthReport, NotReady, Readiness
from servicekit.hot_route import HotRoute, HotRoutes
from servicekit.logs import configure_logs, get_logger
from servicekit.metrics import metrics_response
from servicekit.otlp import exported
from servicekit.outbound import IDLE_CONNECTION_SECONDS
from servicekit.problems import problem_response
from servicekit.raw_body import lift_definitions
from servicekit.settings import ServiceSettings

log = get_logger()
W = TypeVar("W")


class Mount(Protocol):
    """Something mounted into the app that has to run for as long as the app does."""

    def run(self) -> AbstractAsyncContextManager[None]:
        """Return the context to keep open."""
        ...


class Mountable(Protocol):
    """What is mounted when an app has its routes, as `servicekit.mcp_bridge.RouteTools`."""

    def mount(self, app: FastAPI) -> Mount:
        """Add it to the app, whose title, summary and version it takes."""
        ...


class Service(FastAPI):
    """A FastAPI app that knows when it is ending."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.on_drain: list[Callable[[], None]] = []

    def openapi(self) -> dict[str, Any]:
        """Return the API document, complete also for routes that read their body themselves."""
        if self.openapi_schema is None:
            document = super().openapi()
            lift_definitions(document)
            self.openapi_schema = document
        return self.openapi_schema

    def begin_drain(self) -> None:
        """Say that the service is ending: `/ready` turns to 503 at once."""
        for act in self.on_drain:
            act()


def package_version(name: str) -> str:
    """Return the version of an installed package of the workspace."""
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return "0"


def _no_dependencies(_: Any) -> Sequence[Dependency]:
    return ()


def _no_details(_: Any) -> Mapping[str, object]:
    return {}


def build_app(
    *,
    name: str,
    summary: str,
    settings: ServiceSettings,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[W]],
    routers: Sequence[APIRouter],
    dependencies: Callable[[W], Sequence[Dependency]] = _no_dependencies,
    health_details: Callable[[W], Mapping[str, object]] = _no_details,
    mcp: Mountable | None = None,
    raw_bodies: Sequence[RawBody] = (),
    hot_routes: Sequence[HotRoute[Any]] = (),
    default_deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    cors_origins: Sequence[str] = (),
    names_callers: bool = False,
) -> Service:
    """Compose a service.

    Parameters
    ----------
    name, summary
        The service's name, also as Host name, and one line for its API page.
    lifespan
        Opens the adapters and yields the service's wiring, which routes read as
        `request.state.wiring`.
    dependencies
        What `/health` and `/ready` look at, given the wiring.
    health_details
        Further facts for `/health`, given the wiring.
    mcp
        The MCP server at `/mcp`: `RouteTools("tag")` makes tools of the routes with that tag.
        A value and not a flag, so that a service without one need not import the protocol.
    raw_bodies
        Methods and paths (a regular expression) whose bodies are not JSON and are not read
        beforehand; their routes bound them themselves.
    hot_routes
        Routes of the routers that have a short way as well; see `servicekit.hot_route`.
    default_deadline_seconds
        The deadline of a request that brings none.
    cors_origins
        Web origins that get CORS headers (and pass the origin check).
    names_callers
        Whether a caller without an `X-Client-Id` gets one, for a service that others come to first.
    """
    mounts: list[Mount] = []

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(exported(name, package_version(name)))
            wiring = await stack.enter_async_context(lifespan(app))
            monitor = HealthMonitor(
                service=name,
                version=package_version(name),
                dependencies=dependencies(wiring),
                details=lambda: health_details(wiring),
            )
            service.on_drain.append(lambda: setattr(monitor, "is_draining", True))
            for mount in mounts:
                await stack.enter_async_context(mount.run())
            await stack.enter_async_context(monitor.running())
            log.info("service.started", host=settings.host, port=settings.port)
            yield {"wiring": wiring, "health": monitor}
            log.info("service.stopping")

    service = Service(
        title=name,
        summary=summary,
        version=package_version(name),
        docs_url=None,  # FastAPI's own page fetches scripts from elsewhere
        redoc_url=None,
        lifespan=run,
        middleware=_layers(
            settings,
            name,
            raw_bodies=raw_bodies,
            hot_routes=hot_routes,
            default_deadline_seconds=default_deadline_seconds,
            cors_origins=cors_origins,
            names_callers=names_callers,
        ),
        # We write our own spans; to see that nobody wants these takes time in each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in (*routers, _operations()):
        service.include_router(router)
    serve_docs(service)
    _render_errors(service)
    if mcp is not None:
        mounts.append(mcp.mount(service))
    return service


def _layers(
    settings: ServiceSettings,
    name: str,
    *,
    raw_bodies: Sequence[RawBody],
    hot_routes: Sequence[HotRoute[Any]],
    default_deadline_seconds: float,
    cors_origins: Sequence[str],
    names_callers: bool,
) -> list[Middleware]:
    """Return the layers around the application, outermost first."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    policy = CallerPolicy.of(
        own_name=name,
        hosts=settings.allowed_hosts,
        origins=(*settings.allowed_origins, *cors_origins),
    )
    cross_origin = Middleware(
        CORSMiddleware,
        allow_origins=list(cors_origins),
        allow_methods=["GET", "POST", "DELETE", "OPTIONS"],
        allow_headers=["*"],
        # A browser's MCP client must see these, or it can't go on after `initialize`.
        expose_headers=[MCP_SESSION_HEADER, "mcp-protocol-version", REQUEST_ID_HEADER],
    )
    return [
        Middleware(
            Telemetry,
            default_deadline_seconds=default_deadline_seconds,
            names_callers=names_callers,
        ),
        Middleware(CallerGuard, policy=policy, variable_prefix=prefix),
        *([cross_origin] if cors_origins else []),
        # Inside CORS: a listed page may read why its body was refused.
        Middleware(ErrorBoundary),
        Middleware(BodyRules, max_body_bytes=settings.max_body_bytes, raw_bodies=raw_bodies),
        *([Middleware(HotRoutes, routes=hot_routes)] if hot_routes else []),
    ]


def _operations() -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health", operation_id="get_health", response_model_exclude_none=True)
    async def health(request: Request, response: Response) -> HealthReport:
        """Report this service's health and that of what it needs."""
        monitor: HealthMonitor = request.state.health
        report = await monitor.report()
        response.headers["cache-control"] = "no-store"
        response.status_code = 503 if report.status == "error" else 200
        return report

    @router.get("/ready", operation_id="get_ready")
    async def ready(request: Request, response: Response) -> Readiness:
        """Say whether this service can do its work now; 503 when it can't."""
        monitor: HealthMonitor = request.state.health
        readiness = await monitor.readiness()
        response.headers["cache-control"] = "no-store"
        if not readiness.ready:
            reasons = "; ".join(f"{what}: {why}" for what, why in readiness.waiting_for.items())
            raise NotReady(
                f"Not ready. {reasons}", retry_after_seconds=1, waiting_for=readiness.waiting_for
            )
        return readiness

    @router.get("/metrics", operation_id="get_metrics", response_class=Response)
    async def metrics() -> Response:
        """Return Prometheus metrics."""
        return metrics_response()

    return router


def _render_errors(app: FastAPI) -> None:
    @app.exception_handler(StackError)
    async def on_stack_error(_: Request, error: StackError) -> JSONResponse:
        if not isinstance(error, NotReady):  # the monitor has said it when it changed
            log_refusal(error)
        return problem_response(error, current_context().request_id)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(_validation_problem(error), current_context().request_id)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        return problem_response(_http_problem(request, error), current_context().request_id)


def _validation_problem(error: RequestValidationError) -> StackError:
    items = error.errors()
    if any(item["type"] == "json_invalid" for item in items):
        return BodyNotJson("The body is not valid JSON; check quotes, commas and brackets.")
    fields = [
        {
            "field": ".".join(str(part) for part in item["loc"] if part != "body") or "body",
            "message": str(item["msg"]),
        }
        for item in items[:20]
    ]
    sentences = "; ".join(f"{field['field']}: {field['message']}" for field in fields)
    return ArgumentsInvalid(f"Please correct: {sentences}.", errors=fields)


def _http_problem(request: Request, error: HTTPException) -> StackError:
    if error.status_code == 404:  # noqa: PLR2004  # HTTP's own number
        return NotFound(f"There is nothing at {request.url.path}; /docs lists what there is.")
    if error.status_code == 400:  # noqa: PLR2004  # HTTP's own number
        # The framework's word for a body that is no UTF-8 or nested too deeply to be read.
        return BodyNotJson("The body can't be read as JSON: send UTF-8, and not nested so deeply.")
    if error.status_code == 405:  # noqa: PLR2004  # HTTP's own number
        return MethodNotAllowed(
            f"{request.url.path} does not take {request.method}; /docs lists what it takes."
        )
    problem = StackError(str(error.detail))
    problem.http_status = error.status_code  # type: ignore[misc]  # a framework's status is data here
    problem.type = f"http-{error.status_code}"  # type: ignore[misc]  # as above
    problem.title = "The request was refused"  # type: ignore[misc]  # as above
    return problem


class _Server(uvicorn.Server):
    """Uvicorn, telling the app when it begins to drain."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._on_exit()
        super().handle_exit(sig, frame)


def run_service(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve the app until SIGTERM or SIGINT, then let requests in flight end."""
    configure_logs(service=app.title, level=settings.log_level, log_format=settings.log_format)
    begin_drain = app.begin_drain if isinstance(app, Service) else lambda: None
    server = _Server(server_config(app, settings), begin_drain)
    # Uvicorn raises the signal again after a clean end; a Ctrl-C then needs no traceback.
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise SystemExit(3)  # uvicorn's own status for a failed start


def server_config(app: FastAPI, settings: ServiceSettings) -> uvicorn.Config:
    """Return how the app is served."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=GatheringProtocol,
        lifespan="on",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        # Nobody stands before us whose word on a caller's address would count.
        proxy_headers=False,
        # Whole seconds are what uvicorn takes; zero would mean "wait for ever".
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        # Uvicorn's own five seconds are just the pace of our health checks, one of which then
        # meets the hang-up now and then.
        timeout_keep_alive=round(2.5 * IDLE_CONNECTION_SECONDS),
    )


__all__ = ["Service", "build_app", "package_version", "run_service"]
