"""Environment variables that are called like settings and are none."""

import pytest
from pydantic import ValidationError

from progimage.settings import Settings
from progimage.variables import complaints, unknown_variables

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
    assert "PROGIMAGE_ is no setting" in first
    assert last == "progimage_acess is no setting; did you mean PROGIMAGE_ACCESS?"


def test_settings_and_what_others_set_are_known() -> None:
    settings = {f"PROGIMAGE_{name.upper()}": "" for name in Settings.model_fields}
    environment = settings | {"progimage_access": "keys"} | OF_CLIENTS | OF_KUBERNETES
    assert unknown_variables(environment, Settings.variables()) == {}
    for near in ("PROGIMAGE_SERVICE_HOSTS", "PROGIMAGE_PORT_HTTP", "PROGIMAGE_PORTS"):
        assert near in unknown_variables({near: "80"}, Settings.variables())
    assert "PROGIMAGE_DB_PORT" in unknown_variables({"PROGIMAGE_DB_PORT": "80"}, Settings.variables())


def test_settings_do_not_begin_with_a_misspelt_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGIMAGE_ACCES", "keys")
    with pytest.raises(ValidationError, match="PROGIMAGE_ACCES is no setting; did you mean PROGIMAGE_ACCESS"):
        Settings()


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
    with pytest.raises(ValidationError, match="is no origin"):
        Settings(cors_origins=[origin])


def test_origins() -> None:
    given = ["*", "https://*.example.org", "http://localhost:3000", "HTTPS://Shop.Example"]
    assert Settings(cors_origins=given).cors_origins == [*given[:3], "https://shop.example"]
