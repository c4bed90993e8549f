"""Environment variables that are called like settings and are none."""

import pytest
from pydantic import ValidationError

from progimage.settings import Settings
from progimage.variables import complaints, is_kubernetes_address, unknown_variables

# As Kubernetes makes them for a Service `progimage` with a port `http`, and for another, `progimage-db`.
OF_KUBERNETES = {
    "PROGIMAGE_SERVICE_HOST": "10.0.0.11",
    "PROGIMAGE_SERVICE_PORT": "80",
    "PROGIMAGE_SERVICE_PORT_HTTP": "80",
    "PROGIMAGE_PORT": "tcp://10.0.0.11:80",
    "PROGIMAGE_PORT_80_TCP": "tcp://10.0.0.11:80",
    "PROGIMAGE_PORT_80_TCP_PROTO": "tcp",
    "PROGIMAGE_PORT_80_TCP_PORT": "80",
    "PROGIMAGE_PORT_80_TCP_ADDR": "10.0.0.11",
    "PROGIMAGE_DB_SERVICE_HOST": "10.0.0.12",
    "PROGIMAGE_DB_PORT": "tcp://10.0.0.12:5432",
    "PROGIMAGE_DB_PORT_5432_TCP_ADDR": "10.0.0.12",
}
OF_CLIENTS = {"PROGIMAGE_URL": "http://x", "PROGIMAGE_KEY": "pgi_x", "PROGIMAGE_COMPLETE": "bash_source"}


def test_misspelt_settings_are_found_with_the_nearest_name() -> None:
    unknown = unknown_variables(
        {"PROGIMAGE_ACCES": "keys", "progimage_acess": "keys", "PROGIMAGE_XYZZY": "1", "PROGIMAGE_": "", "OTHER": "1"},
        Settings.variables(),
    )
    assert unknown == {
        "PROGIMAGE_ACCES": "PROGIMAGE_ACCESS", "progimage_acess": "PROGIMAGE_ACCESS", "PROGIMAGE_XYZZY": None,
        "PROGIMAGE_": None,
    }  # fmt: skip
    first, *_, last = complaints(unknown)
    assert "PROGIMAGE_ is not a setting" in first
    assert last == "progimage_acess is not a setting; did you mean PROGIMAGE_ACCESS?"


def test_settings_and_what_others_set_are_known() -> None:
    settings = {f"PROGIMAGE_{name.upper()}": "" for name in Settings.model_fields}
    environment = settings | {"progimage_access": "keys"} | OF_CLIENTS | OF_KUBERNETES
    assert unknown_variables(environment, Settings.variables()) == {}
    for near in ("PROGIMAGE_SERVICE_HOSTS", "PROGIMAGE_PORT_HTTP", "PROGIMAGE_PORTS"):
        assert near in unknown_variables({near: "80"}, Settings.variables())
    assert "PROGIMAGE_DB_PORT" in unknown_variables({"PROGIMAGE_DB_PORT": "80"}, Settings.variables())


def test_settings_do_not_begin_with_a_misspelt_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGIMAGE_ACCES", "keys")
    with pytest.raises(ValidationError, match="PROGIMAGE_ACCES is not a setting; did you mean PROGIMAGE_ACCESS"):
        Settings()


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("PROGIMAGE_TRACES_SHARE", "PROGIMAGE_TRACES_SAMPLE_RATIO", "traces_sample_ratio"),
        ("PROGIMAGE_SPOOL_BYTES", "PROGIMAGE_SCRATCH_BYTES", "scratch_bytes"),
    ],
)
def test_a_setting_that_was_renamed_is_still_read(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str, name: str
) -> None:
    monkeypatch.setenv(old, "1")
    assert getattr(Settings(), name) == 1
    assert Settings.renamed_variables()[old] == new
    monkeypatch.setenv(new, "0.5" if name.startswith("traces") else "7")
    assert getattr(Settings(), name) in (0.5, 7)


def test_what_kubernetes_sets_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Settings()
    for name, value in (OF_KUBERNETES | OF_CLIENTS).items():
        monkeypatch.setenv(name, value)
    assert Settings() == usual
    monkeypatch.setenv("PROGIMAGE_PORT", "8000")
    assert Settings().port == 8000
    monkeypatch.setenv("PROGIMAGE_PORT", "http://x")
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize("origin", ["null", "shop.example", "https://shop.example/", "https://shop.example/a", ""])
def test_origins_that_no_browser_sends_are_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings(cors_origins=[origin])


def test_origins() -> None:
    given = ["*", "https://*.example.org", "http://localhost:3000", "HTTPS://Shop.Example"]
    assert Settings(cors_origins=given).cors_origins == [*given[:3], "https://shop.example"]


def test_only_variables_with_our_prefix_are_looked_at() -> None:
    assert (
        unknown_variables({"PROGIMAG": "", "XPROGIMAGE_ACCESS": "", "MY_PROGIMAGE_X": ""}, ["PROGIMAGE_ACCESS"]) == {}
    )


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("PROGIMAGE_CACHE_PORT", "tcp://10.0.0.1:80", True), ("PROGIMAGE_CACHE_PORT", "udp://10.0.0.1:80", True),
        ("PROGIMAGE_CACHE_PORT", "sctp://10.0.0.1:80", True), ("PROGIMAGE_CACHE_PORT", "http://10.0.0.1:80", False),
        ("PROGIMAGE_CACHE_PORT", "80", False), ("PROGIMAGE_CACHE", "tcp://10.0.0.1:80", False),
        ("PROGIMAGE_A_B_PORT_53_UDP_ADDR", "10.0.0.1", True), ("PROGIMAGE_A_PORT_53_HTTP", "", False),
        ("PROGIMAGE_A_PORT_X_TCP", "", False), ("PROGIMAGE_A_SERVICE_PORT_METRICS", "9", True),
        ("PROGIMAGE_A_SERVICE_HOST", "10.0.0.1", True), ("PROGIMAGE_A_SERVICE_NAME", "x", False),
    ],
)  # fmt: skip
def test_what_kubernetes_sets_for_services_of_such_names(name: str, value: str, known: bool) -> None:
    assert (unknown_variables({name: value}, ["PROGIMAGE_ACCESS"]) == {}) is known


def test_a_setting_whose_value_is_no_text_is_no_address() -> None:
    assert is_kubernetes_address("tcp://10.0.0.1:80")
    assert not is_kubernetes_address(80) and not is_kubernetes_address(None) and not is_kubernetes_address("x tcp://y")


def test_each_complaint_names_the_variable_and_what_may_be_meant() -> None:
    first, second = complaints({"PROGIMAGE_B": None, "PROGIMAGE_A": "PROGIMAGE_ACCESS"})
    assert first.startswith("PROGIMAGE_A ") and "PROGIMAGE_ACCESS?" in first
    assert second.startswith("PROGIMAGE_B ") and "docs/settings.md" in second
    assert complaints({}) == []
