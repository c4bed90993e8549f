"""Traces: how a request or job spends its time, as OpenTelemetry spans.

Without `PROGIMAGE_TRACES_URL` a span costs almost nothing. Workers only measure; their times become spans in this
process, which has the exporter.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import SpanKind, Status, StatusCode

from progimage import __version__

_tracer = trace.get_tracer("progimage", __version__)
_started = False
_EXPORT_SECONDS = 3


def start_tracing(url: str | None, share: float) -> None:
    """Send spans to a collector from now on.

    Args:
        url: Its URL for OTLP over HTTP, such as `http://collector:4318/v1/traces`; None turns tracing off.
        share: Share of traces started here that are kept, from 0 to 1. A caller's decision takes precedence.
    """
    global _started
    if url is None or _started:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    about = {
        "service.name": "progimage",
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    provider = TracerProvider(resource=Resource.create(about), sampler=ParentBased(TraceIdRatioBased(share)))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url, timeout=_EXPORT_SECONDS)))
    trace.set_tracer_provider(provider)
    _started = True


def stop_tracing() -> None:
    """Send the remaining spans. Blocks."""
    provider: Any = trace.get_tracer_provider()
    if _started:
        provider.shutdown()


def is_tracing() -> bool:
    """Return whether spans are sent to a collector."""
    return _started


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[Any]:
    """Measure a part of the work; an exception is recorded on the span."""
    if not _started:
        yield trace.INVALID_SPAN
        return
    with _tracer.start_as_current_span(name, attributes=_prefixed(attributes)) as current:
        yield current


@contextmanager
def request_span(name: str, headers: Mapping[str, str]) -> Iterator[Any]:
    """Measure a request, as a part of the trace in its headers (W3C Trace Context) if there is one."""
    with _tracer.start_as_current_span(name, context=extract(headers), kind=SpanKind.SERVER) as current:
        yield current


@contextmanager
def job_span(name: str, carrier: Mapping[str, str]) -> Iterator[Any]:
    """Measure a job, as a part of the trace of the request that created it."""
    if not _started:
        yield trace.INVALID_SPAN
        return
    with _tracer.start_as_current_span(name, context=extract(carrier), kind=SpanKind.CONSUMER) as current:
        yield current


def carried() -> dict[str, str]:
    """Return the current trace context, for `job_span` to continue the trace."""
    carrier: dict[str, str] = {}
    if _started:
        inject(carrier)
    return carrier


def past_span(name: str, began: float, ended: float) -> None:
    """Add a span measured by another process; its start and end are Unix timestamps."""
    if _started:
        begun = _tracer.start_span(name, start_time=int(began * 1e9))
        begun.end(int(ended * 1e9))


def note_response(current: Any, method: str, route: str, status: int) -> None:
    """Record the request and the status of its response on its span."""
    current.update_name(f"{method} {route}")
    current.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if status >= 500:
        current.set_status(Status(StatusCode.ERROR, str(status)))


def _prefixed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"progimage.{name}": value for name, value in attributes.items()}
