"""Faults that wait for a call, or are about one user: what the fault table orders."""

import pytest

from provisioner.simulators import Control
from provisioner.simulators.faults import FaultBook, Occasion
from tests.unit.simulators.wire import Wire


def test_a_fault_of_one_target_spares_the_others() -> None:
    book = FaultBook(seed=1)
    book.add({"kind": "lost_after", "func": "user.edit", "target": "ivanov"})

    assert book.take_call(Occasion(func="user.edit", target="petrov")) is None
    assert book.take_call(Occasion(func="user.edit", target="ivanov")) is not None


def test_a_fault_sleeps_until_the_call_that_it_waits_for_has_come() -> None:
    book = FaultBook(seed=1)
    book.add({"kind": "cut", "func": "iplist", "armed_by": {"func": "server.edit", "server": "101", "after": 1}})
    look = Occasion(func="iplist", server="101", mutating=False)

    for wakes in (
        Occasion(func="server.edit", server="102"),
        Occasion(func="server.edit", server="101", mutating=False),
        Occasion(func="server.edit", server="101"),
    ):
        book.wake(wakes)
        assert book.take_call(look) is None
    book.wake(Occasion(func="server.edit", server="101"))

    assert book.take_call(look) is not None


@pytest.mark.parametrize(
    "ill", [{}, "server.edit", {"func": "server.edit", "colour": "red"}, {"func": "x", "after": -1}]
)
def test_an_ill_trigger_is_refused(ill: object) -> None:
    with pytest.raises(ValueError, match="armed_by"):
        FaultBook(seed=1).add({"kind": "cut", "armed_by": ill})


def test_somebody_else_creates_the_user_that_we_are_about_to_create(wire: Wire, control: Control) -> None:
    control.add_fault("foreign_user", func="user.edit", target="ivanov")

    refused = wire.xml("user.edit", sok="ok", level="lvUser", name="ivanov", passwd="long-enough").find("error")

    assert refused is not None
    assert (refused.get("type"), refused.get("object")) == ("exists", "user")
    assert [user["name"] for user in control.world()["users"]].count("ivanov") == 1
