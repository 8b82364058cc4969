"""Connection → driver: made once a revision, and never by a kind that is not there."""

import pytest

from provisioner import ports
from provisioner.domain.connection import Endpoint
from provisioner.drivers.dcimanager5.driver import Dcimanager5
from provisioner.drivers.registry import KINDS, Registry
from provisioner.errors import Invalid, Unreachable

PASSWORD = "hunter2"


def endpoint(name: str = "dci-1") -> Endpoint:
    return Endpoint(name=name, url="https://127.0.0.1:9/", username="u", password=PASSWORD)


class Rows:
    """The connection rows, as a store would load them."""

    def __init__(self) -> None:
        self.rows = {1: ("dcimanager5", 1, endpoint()), 2: ("dcimanager5", 1, endpoint("dci-2"))}

    def load(self, connection_id: int) -> tuple[str, int, Endpoint]:
        return self.rows[connection_id]


def drivers(registry: Registry) -> ports.Drivers:
    """mypy says here that the registry has the shape of the port."""
    return registry


def test_a_driver_is_kept_while_the_revision_stays() -> None:
    rows = Rows()
    registry = drivers(Registry(rows.load))

    first = registry.get(1)

    assert first is registry.get(1)
    assert first is not registry.get(2)
    assert (first.name, registry.get(2).name) == ("dci-1", "dci-2")


def test_a_new_revision_makes_a_new_driver() -> None:
    rows = Rows()
    registry = Registry(rows.load)
    old = registry.get(1)

    rows.rows[1] = ("dcimanager5", 2, endpoint("renamed"))

    assert registry.get(1) is not old
    assert registry.get(1).name == "renamed"
    assert registry.get(1) is registry.get(1)


def test_an_unknown_kind_is_a_place_that_is_away() -> None:
    rows = Rows()
    rows.rows[1] = ("dcimanager9", 1, endpoint())

    with pytest.raises(Unreachable, match="no driver of kind dcimanager9"):
        Registry(rows.load).get(1)


def test_a_probe_of_an_unknown_kind_is_the_callers_fault() -> None:
    with pytest.raises(Invalid, match="there are dcimanager5") as caught:
        Registry(Rows().load).probe("dcimanager9", endpoint())

    assert caught.value.field == "kind"


def test_a_probe_is_not_kept() -> None:
    registry = Registry(Rows().load)

    probe = registry.probe("dcimanager5", endpoint("draft"))

    assert isinstance(probe, Dcimanager5)
    assert probe is not registry.probe("dcimanager5", endpoint("draft"))
    assert registry.get(1).name == "dci-1"


def test_a_kind_of_the_tests_own_can_be_registered() -> None:
    registry = Registry(Rows().load)
    before = registry.get(1)

    class Own(Dcimanager5):
        pass

    registry.register("fake", Own)
    registry.register("dcimanager5", Own)

    assert registry.kinds() == ["dcimanager5", "fake"]
    assert isinstance(registry.get(1), Own)
    assert not isinstance(before, Own)
    assert list(KINDS) == ["dcimanager5"]


def test_making_a_driver_needs_no_good_endpoint() -> None:
    for url in ("", "no url", "https://[::1", "https://u:p@host/"):
        made = KINDS["dcimanager5"](Endpoint(name="dci-1", url=url, username="u", password=PASSWORD))

        with pytest.raises(Unreachable):
            made.whoami()
        assert PASSWORD not in repr(made)
