"""Traces: where a request's time went, from the first byte to the store, and on into the background."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests import pictures
from tests.integration.server import eventually, serving
from tests.servers import S3Server

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """A collector of OpenTelemetry, which keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"

    def path_of(self, name: str) -> list[str]:
        """The names of a span and of those it is within, the innermost first."""
        own = [span for span in self.spans if span.trace_id.hex() == TRACE]
        by_id = {span.span_id: span for span in own}
        current: Span | None = next(span for span in own if span.name == name)
        names = []
        while current is not None:
            names.append(current.name)
            current = by_id.get(current.parent_span_id)
        return names


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()


def test_an_upload_is_one_trace_from_its_first_byte_to_the_store(
    collector: Collector, s3: S3Server, data_dir: Path
) -> None:
    settings: dict[str, Any] = s3.settings("traced") | {
        "traces_url": collector.url, "presets": '{"small": "width=9"}', "prerender": '["small.webp"]',
    }  # fmt: skip
    with serving(data_dir, **settings) as server:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        data = pictures.BY_MODE["RGB"]()
        answer = server.client.put("/storage/", content=data, headers=headers)
        reference = answer.text
        eventually(lambda: server.client.get(f"/jobs/prerender-{reference}").json()["state"] == "done")
        assert server.get("00000000-0000-4000-8000-000000000000").status_code == 404
    # It has sent everything when it has stopped.
    own = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    root = next(span for span in own if span.name == "PUT /storage")
    assert root.parent_span_id.hex() == PARENT and root.kind == Span.SPAN_KIND_SERVER
    attributes = {item.key: item.value for item in root.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert collector.path_of("ingest") == ["ingest", "PUT /storage"]
    assert collector.path_of("store.put") == ["store.put", "library.add", "PUT /storage"]
    assert collector.path_of("worker.queue") == ["worker.queue", "worker.task", "library.add", "PUT /storage"]
    assert collector.path_of("worker.run") == ["worker.run", "worker.task", "library.add", "PUT /storage"]
    # The job that it asked for is a part of the same trace, though it was done later, by whichever node.
    assert (
        collector.path_of("rendition")[:2] == ["rendition", "job prerender"]
        and collector.path_of("rendition")[-1] == "PUT /storage"
    )
    assert {"worker.run", "database.write", "store.put", "job prerender", "rendition"} <= {span.name for span in own}
    for span in own:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.name.startswith("worker.run"):
            assert root.start_time_unix_nano <= span.start_time_unix_nano
    assert any(span.name == "GET /storage/{reference}" for span in collector.spans)


def test_only_a_share_of_the_requests_is_traced(collector: Collector, data_dir: Path) -> None:
    with serving(data_dir, traces_url=collector.url, traces_sample_ratio=0) as server:
        server.put(pictures.BY_MODE["RGB"]())
        asked = {"traceparent": f"00-{TRACE}-{PARENT}-01"}  # the caller wants it
        assert server.client.get("/formats", headers=asked).status_code == 200
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


def test_a_collector_that_is_gone_harms_nothing(data_dir: Path) -> None:
    with serving(data_dir, traces_url="http://127.0.0.1:9/v1/traces") as server:
        assert json.loads(server.client.get("/formats").text)
        assert server.get(server.put(pictures.BY_MODE["RGB"]())).status_code == 200
