"""A panel shows a new certificate while workers run: it is used as soon as it is trusted, and nothing is restarted."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.demo.children import Children
from tests.chaos.town import Town

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]
PATIENCE = 180.0
WORKERS = ("steps-1", "control-1")
OS = "ISPsystem__Debian-12-x86_64"


class Renewed(Town):
    """One place with TLS; our processes trust the authorities of a file, as they do those of a system."""

    @property
    def authorities(self) -> Path:
        return self.folder / "authorities.pem"

    @property
    def shown(self) -> Path:
        """Where the simulated panel keeps the certificate that it shows."""
        return Path(json.loads(self.first_line("dc1", "{"))["ca_file"])

    def first_line(self, name: str, start: str) -> str:
        """Trust the panel as soon as it says what it shows, before anybody calls it."""
        said = super().first_line(name, start)
        if name == "dc1" and not self.authorities.exists():
            self.authorities.write_bytes(Path(json.loads(said)["ca_file"]).read_bytes())
        return said

    def trust_it(self) -> None:
        """Replace the system's authorities, as an upgrade of the system does."""
        fresh = self.folder / "fresh.pem"
        fresh.write_bytes(self.shown.read_bytes())
        fresh.replace(self.authorities)

    def order(self, ref: str) -> None:
        self.api.post("/v1/services", {
            "external_ref": ref, "package": "any", "hostname": f"{ref}.example.net", "os": OS,
            "customer": {"reference": ref, "login": ref},
        })  # fmt: skip

    def until_active(self, ref: str) -> None:
        self.wait(f"{ref} active", lambda: bool(self.api.get(f"/v1/services/{ref}")["state"] == "active"), PATIENCE)

    def until_paused(self) -> str:
        """Wait until the connection is paused; give the reason."""
        row = "SELECT pause_reason FROM connection WHERE state = 'paused'"
        self.wait("the pause", lambda: self.database.row(row) is not None, PATIENCE)
        return str(self.database.value(row))

    def pids(self) -> list[Any]:
        return [self.children.pid(name) for name in WORKERS]


@pytest.fixture
def town() -> Iterator[Renewed]:
    folder = Path(tempfile.mkdtemp(prefix="renewed-"))
    folder.chmod(0o711)
    made = Renewed(folder, Children(), workers=WORKERS, site_options=("--tls",))
    made.our_environment = {"SSL_CERT_FILE": str(made.authorities)}
    try:
        made.start(places=1, servers=8, seed=1)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_certificate_that_was_renewed_is_used_without_a_restart(town: Renewed) -> None:
    town.order("before")
    town.until_active("before")
    before = town.pids()

    town.places[0].control.new_certificate()
    town.order("renewed")
    why = town.until_paused()
    town.trust_it()
    town.until_active("renewed")

    town.places[0].control.new_certificate()
    town.order("pasted")
    town.until_paused()
    shown = town.api.get("/v1/connections/dc1")
    given = {name: shown[name] for name in ("kind", "url", "username", "max_in_flight", "location")}
    town.api.put(
        "/v1/connections/dc1",
        {**given, "password": "Planted-admin-of-the-panel", "tls": {"ca_pem": town.shown.read_text()}},
    )
    town.until_active("pasted")

    assert "the certificate is not trusted" in why
    assert town.pids() == before
    assert town.restarts == 0
