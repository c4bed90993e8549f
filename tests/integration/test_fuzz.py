"""No input makes a 5xx: requests made from the OpenAPI document, and broken files made from whole ones."""

from collections.abc import Iterator

import hypothesis
import hypothesis.strategies as st
import pytest
import schemathesis
from schemathesis.core.result import Ok

from progimage.engine import FORMATS
from tests import pictures
from tests.integration.server import Server, serving
from tests.specs import queries

SEEDS = [
    *(make() for make in pictures.BY_MODE.values()),
    *(pictures.animation(format) for format in ("GIF", "WEBP", "PNG", "AVIF")),
    pictures.pages(),
    pictures.oriented(6),
    pictures.with_swapped_profile(),
    pictures.SVG,
    *(
        pictures.saved(pictures.colour(), name)
        for name in ("BMP", "DDS", "ICO", "ICNS", "IM", "JPEG2000", "PCX", "PPM", "QOI", "SGI", "SPIDER", "TGA")
    ),
]
EXTENSIONS = sorted(format.extensions[0] for format in FORMATS.values() if format.can_write)


@pytest.fixture(scope="module")
def api(server: Server) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/docs/openapi.json")


@pytest.mark.parametrize("scope", [None, "admin"])
def test_no_request_makes_a_5xx(server: Server, api: schemathesis.schemas.BaseSchema, scope: str | None) -> None:
    found = list(api.get_all_operations())
    operations = [result.ok() for result in found if isinstance(result, Ok)]
    assert len(operations) == len(found)
    assert len(operations) >= 30
    key = {"authorization": server.as_owner("fuzzer", scope).headers["authorization"]} if scope else {}
    for operation in operations:

        @hypothesis.settings(max_examples=30)
        @hypothesis.given(case=operation.as_strategy())
        def call(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=[schemathesis.checks.not_a_server_error], headers=key)

        call()


@st.composite
def broken_files(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 12))):
        # Most of what a parser trips over is near the beginning.
        at = draw(st.one_of(st.integers(0, min(200, len(data) - 1)), st.integers(0, len(data) - 1)))
        data[at] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del data[draw(st.integers(1, len(data))) :]
    return bytes(data)


@hypothesis.settings(max_examples=400)
@hypothesis.given(data=broken_files(), extension=st.sampled_from(EXTENSIONS))
def test_no_file_makes_a_5xx(server: Server, data: bytes, extension: str) -> None:
    response = server.client.put("/storage/", content=data)
    assert response.status_code in (200, 400, 413, 422), response.text
    if response.status_code == 200:
        assert server.get(f"{response.text}/info").status_code == 200
        assert server.get(response.text).content == data
        assert server.get(f"{response.text}.{extension}").status_code in (200, 400, 422)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, list[str]]]:
    """A server whose renditions are small, so that many can be tried, and the references of the seeds in it."""
    with serving(
        tmp_path_factory.mktemp("small") / "data", max_pixels=1_100_000, max_total_pixels=3_000_000
    ) as running:
        yield running, [running.put(seed) for seed in SEEDS]


@hypothesis.settings(max_examples=400)
@hypothesis.given(
    seed=st.sampled_from(range(len(SEEDS))), query=queries(), extension=st.sampled_from(["auto", *EXTENSIONS])
)
def test_no_transformation_makes_a_5xx(
    small: tuple[Server, list[str]], seed: int, query: list[tuple[str, str]], extension: str
) -> None:
    server, references = small
    reference, others = references[seed], {"mask": references[6], "watermark": references[4]}
    answer = server.client.get(f"/storage/{reference}.{extension}", params=[(n, others.get(n, v)) for n, v in query])
    assert answer.status_code in (200, 400, 413), (query, answer.text[:500])
    if answer.status_code == 400:
        assert answer.json()["parameter"] and answer.json()["type"] != "urn:progimage:problem:corrupt-image", (
            answer.text
        )
