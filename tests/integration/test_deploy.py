"""What is in deploy/: valid, about settings and metrics that exist, and no more privileged than it says."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml

from progimage.settings import Settings
from tests import pictures
from tests.integration.server import Server

DEPLOY = Path(__file__).parents[2] / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
KUBERNETES = "1.33"
VARIABLE = re.compile(r"PROGIMAGE_[A-Z_]+")


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def resources() -> list[dict[str, Any]]:
    names = documents(BASE / "kustomization.yaml")[0]["resources"]
    assert {*names, "kustomization.yaml"} == {path.name for path in BASE.iterdir()}
    return [document for name in names for document in documents(BASE / name)]


def one(kind: str) -> dict[str, Any]:
    (found,) = [document for document in resources() if document["kind"] == kind]
    return found


@pytest.mark.parametrize("resource", resources(), ids=lambda resource: resource["kind"])
def test_kubernetes_takes_each_resource(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_the_parts_fit_together() -> None:
    deployment = one("Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        one("Service")["spec"]["selector"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    (container,) = pod["spec"]["containers"]
    assert {next(iter(source.values()))["name"] for source in container["envFrom"]} == {"progimage"}
    assert one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    # "restricted", as the namespace asks.
    assert pod["spec"]["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    settings = one("ConfigMap")["data"]
    drain = int(settings["PROGIMAGE_DRAIN_SECONDS"])
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain + 5
    caches = int(settings["PROGIMAGE_CACHE_BYTES"]) + int(settings["PROGIMAGE_ORIGINALS_CACHE_BYTES"])
    assert caches < int(pod["spec"]["volumes"][0]["emptyDir"]["sizeLimit"].removesuffix("Gi")) << 30


def test_nothing_is_open_to_the_world() -> None:
    unit = (DEPLOY / "progimage.service").read_text().splitlines()
    assert "Environment=PROGIMAGE_ACCESS=keys" in unit and "StateDirectoryMode=0700" in unit
    assert one("ConfigMap")["data"]["PROGIMAGE_ACCESS"] == "keys"
    # Else Kubernetes would set PROGIMAGE_PORT, and more, for the Service.
    assert one("Deployment")["spec"]["template"]["spec"]["enableServiceLinks"] is False
    compose = documents(DEPLOY / "compose" / "compose.yaml")[0]
    for service in compose["services"].values():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("path", sorted((DEPLOY / "nginx").iterdir()), ids=lambda path: path.name)
def test_a_proxy_says_that_it_is_one_for_every_path(path: Path) -> None:
    text = path.read_text()
    assert "PROGIMAGE_ACCESS=keys" in text
    # What a server sets is gone from each of its locations that sets a header itself.
    server, *locations = re.split(r"^    location ", text, flags=re.MULTILINE)
    for block in (server, *(one for one in locations if "proxy_set_header" in one)):
        for header in ("Host", "X-Forwarded-For", "X-Request-ID"):
            assert f"proxy_set_header {header} " in block, block


@pytest.mark.needs("kubectl")
def test_kustomize_builds_it() -> None:
    done = subprocess.run(["kubectl", "kustomize", BASE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert len(built) == len(resources())
    for resource in built:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
        assert resource["kind"] == "Namespace" or resource["metadata"]["namespace"] == "progimage"


def test_every_setting_that_is_named_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {f"PROGIMAGE_{name.upper()}" for name in Settings.model_fields}
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert set(VARIABLE.findall(path.read_text())) <= known, path
    # And their values are such as the service takes.
    compose = documents(DEPLOY / "compose" / "compose.yaml")[0]
    data = [one("ConfigMap")["data"] | one("Secret")["stringData"], compose["x-node"]["environment"]]
    for variables in data:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            assert Settings().blobs_are_shared


def test_the_dockerfile_and_compose() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    compose = documents(DEPLOY / "compose" / "compose.yaml")[0]
    services, volumes = compose["services"], compose["volumes"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            if how["condition"] == "service_healthy":
                healthy = "healthcheck" in services[needed] or "build" in services[needed]  # the image has its own
                assert healthy, (name, needed)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in volumes or (DEPLOY / "compose" / source).exists(), (name, source)
    for node in ("node1", "node2"):
        assert services[node]["read_only"] and services[node]["cap_drop"] == ["ALL"]
        assert node in (DEPLOY / "nginx" / "cache.conf").read_text()
    assert json.loads((DEPLOY / "compose" / "seaweedfs-s3.json").read_text())["identities"]


def expressions() -> dict[str, str]:
    found = {}
    for group in documents(DEPLOY / "monitoring" / "alerts.yaml")[0]["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]
            found[rule["alert"]] = rule["expr"]
    for panel in json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


def test_alerts_and_dashboard_ask_for_metrics_that_exist(server: Server) -> None:
    reference = server.put(pictures.BY_MODE["RGB"]())
    for _ in range(2):
        server.get(f"{reference}.webp")
    server.get("nothing")
    text = server.client.get("/metrics").text
    there = set(re.findall(r"^(progimage_\w+)", text, re.MULTILINE))
    for name, expression in expressions().items():
        promql_parser.parse(expression.replace("$job", ".*"))
        asked = set(re.findall(r"progimage_\w+", expression))
        assert asked and asked <= there | {"progimage_worker_deaths_total"}, (name, asked - there)
