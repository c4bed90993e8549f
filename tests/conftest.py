"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.integration.server import Server, serving
from tests.programs import LEFT_OUT, left_out, needs
from tests.servers import AzureServer, Postgres, S3Server, postgres, running

# How long an example takes says more of the machine than of us.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
hypothesis.settings.load_profile("patient")

# Hundreds of servers, each with the default reserve of 64 MiB, would fill the disk.
os.environ["PROGIMAGE_DISK_RESERVE"] = str(1 << 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        needs(*mark.args)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say what was left out, behind everything else."""
    yield
    stats = terminalreporter.stats
    reasons = [one.longrepr[2].removeprefix("Skipped: ") for one in stats.get("skipped", ()) if one.longrepr]
    reasons += [one.message.partition("Warning: ")[2] for one in stats.get("warnings", ()) if LEFT_OUT in one.message]
    if line := left_out(reasons):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with default settings that all tests share; what they upload does not disturb others."""
    with serving(tmp_path_factory.mktemp("shared") / "data", queue=500) as running:
        yield running


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    with running(server):
        yield server


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    server = AzureServer(tmp_path_factory.mktemp("azure") / "blobs")
    with running(server):
        yield server


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres(tmp_path_factory.mktemp("postgres") / "server") as server:
        yield server
