"""Sends spans to a collector by OTLP over HTTP, with OpenTelemetry's SDK.

The SDK reads its own variables: OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _CERTIFICATE, _COMPRESSION,
OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES and the like. It is imported only where one of them
asks for traces: `servicekit.service` looks first (`is_wanted`).
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from servicekit.context import active_context, use_context
from servicekit.errors import StackError
from servicekit.logs import get_logger
from servicekit.spans import Attributes, Kind, installed
from servicekit.trace import TraceParent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan

log = get_logger()

NAMESPACE = "mcp-stack"
# A collector that does not answer must not hold up a service's end, nor pile up requests.
_EXPORT_SECONDS = 3.0
_FLUSH_SECONDS = 2.0


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether the environment asks for traces, by OpenTelemetry's own variables."""
    read = environment.get
    is_off = (
        read("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        or read("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none"
    )
    endpoint = read("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or read("OTEL_EXPORTER_OTLP_ENDPOINT")
    return bool(endpoint and endpoint.strip()) and not is_off


@asynccontextmanager
async def exported(service: str, version: str) -> AsyncIterator[None]:
    """Send this process's spans to the collector while the block runs; then what is left.

    Does nothing where the environment names no collector.
    """
    if not is_wanted():
        yield
        return
    provider = _provider(service, version)
    log.info("tracing.on")
    with installed(OtlpTracer(provider)):
        try:
            yield
        finally:
            await _shut_down(provider)


async def _shut_down(provider: "TracerProvider") -> None:
    # A daemon, not the loop's executor: that one would be waited for, however long it takes.
    ending = threading.Thread(target=provider.shutdown, daemon=True)
    ending.start()
    await asyncio.to_thread(ending.join, _FLUSH_SECONDS)


def _provider(service: str, version: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # see above
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  # as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # as above

    names = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    is_time_set = any(os.environ.get(name) for name in names)
    # Given here, and not by OTEL_SERVICE_NAME: one environment serves all services.
    resource = Resource.create(
        {"service.name": service, "service.namespace": NAMESPACE, "service.version": version}
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(timeout=None if is_time_set else _EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class OtlpTracer:
    """A `servicekit.spans.Tracer` over the SDK.

    Parameters
    ----------
    provider
        Who samples and exports.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415  # only where traces are wanted

        self._trace = trace
        self._tracer = provider.get_tracer("servicekit")
        self._kinds = {
            "server": trace.SpanKind.SERVER,
            "client": trace.SpanKind.CLIENT,
            "internal": trace.SpanKind.INTERNAL,
        }

    def begin(
        self, name: str, kind: Kind, attributes: Attributes, parent: TraceParent | None
    ) -> "_Recorded":
        """Begin a span; the sampler decides whether it is exported."""
        begun = self._tracer.start_span(
            name,
            # Never the SDK's own idea of what runs: our context is the only one.
            context=self._context(parent),
            kind=self._kinds[kind],
            attributes=dict(attributes),
        )
        return _Recorded(begun, self._trace.StatusCode.ERROR)

    def _context(self, parent: TraceParent | None) -> Any:
        from opentelemetry.context import Context  # noqa: PLC0415  # only where traces are wanted

        if parent is None:
            return Context()
        remote = self._trace.SpanContext(
            trace_id=int(parent.trace_id, 16),
            span_id=int(parent.span_id, 16),
            is_remote=True,
            trace_flags=self._trace.TraceFlags(int(parent.flags, 16)),
        )
        return self._trace.set_span_in_context(self._trace.NonRecordingSpan(remote), Context())


class _Recorded:
    """A span of the SDK that also is the running hop of our own context."""

    def __init__(self, begun: "OtelSpan", error_status: Any) -> None:
        self._begun = begun
        self._error_status = error_status
        self._scope: AbstractContextManager[object] | None = None
        self._has_failed = False

    def __enter__(self) -> Self:
        if (running := active_context()) is not None:
            own = self._begun.get_span_context()
            hop = TraceParent(
                trace_id=f"{own.trace_id:032x}",
                span_id=f"{own.span_id:016x}",
                flags=f"{own.trace_flags:02x}",
            )
            self._scope = use_context(replace(running, traceparent=hop))
            self._scope.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._scope is not None:
            self._scope.__exit__(None, None, None)
        if error is not None and not self._has_failed:
            self.fail(_type_of(error))
        self._begun.end()

    def rename(self, name: str) -> None:
        self._begun.update_name(name)

    def note(self, attributes: Attributes) -> None:
        self._begun.set_attributes(dict(attributes))

    def fail(self, error_type: str) -> None:
        # The type alone: a message may hold what a user wrote.
        self._has_failed = True
        self._begun.set_attribute("error.type", error_type)
        self._begun.set_status(self._error_status)


def _type_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.type if isinstance(error, StackError) else type(error).__qualname__
