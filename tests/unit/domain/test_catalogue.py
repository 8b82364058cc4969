"""What an operator sets up: names, roles, loud warnings; and no fact shows a secret when it is printed."""

import pytest

from provisioner.domain.catalogue import RANK, Caller, ConnectionSettings, Role, name_of
from provisioner.domain.connection import Endpoint, TlsPolicy
from provisioner.errors import Invalid
from tests.builders import PASSWORD, an_order


@pytest.mark.parametrize("text", ["a", "dc-1", "dc_1.eu", "0", "a" * 63])
def test_a_plain_name_is_taken(text: str) -> None:
    assert name_of(text, field="connection") == text


@pytest.mark.parametrize("text", ["", "A", "-a", ".a", "a b", "a/b", "a\n", "a" * 64, "\u0430", "a\x00"])
def test_a_name_that_could_surprise_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        name_of(text, field="connection")

    assert refused.value.field == "connection"


def test_billing_sees_its_own_panel_and_the_others_see_all() -> None:
    assert Caller("whmcs", Role.BILLING, panel="whmcs").sees == "whmcs"
    assert Caller("whmcs", Role.BILLING).sees == ""
    assert {Caller("anna", role, panel="whmcs").sees for role in Role if role is not Role.BILLING} == {None}


def test_every_role_has_a_rank_and_no_two_the_same() -> None:
    assert sorted(RANK, key=lambda role: RANK[role]) == [Role.BILLING, Role.VIEWER, Role.OPERATOR, Role.ADMIN]


def settings(url: str = "https://dci.example.net:1500/dcimgr", **tls: object) -> ConnectionSettings:
    return ConnectionSettings("dc-1", "dcimanager5", url, "bill_admin", TlsPolicy(**tls))  # type: ignore[arg-type]  # fields


def test_a_connection_that_is_trusted_needs_no_warning() -> None:
    assert settings().warnings == ()
    assert settings(verify=False, fingerprint="ab" * 32).warnings == ()


@pytest.mark.parametrize(
    ("connection", "word"),
    [(settings(url="http://dci.example.net"), "NOT ENCRYPTED"), (settings(verify=False), "NOT CHECKED")],
    ids=["clear", "unchecked"],
)
def test_a_connection_that_anybody_can_read_is_loud(connection: ConnectionSettings, word: str) -> None:
    (warning,) = connection.warnings

    assert word in warning


def test_no_secret_is_shown_when_a_fact_is_printed() -> None:
    order = an_order(panel_password=PASSWORD)
    endpoint = Endpoint("dc-1", "https://dci.example.net", "bill_admin", PASSWORD)

    assert PASSWORD not in repr(order)
    assert PASSWORD not in str(order.fingerprint())
    assert PASSWORD not in repr(endpoint)


def test_two_orders_are_the_same_by_what_they_ask_for() -> None:
    one, other = an_order(panel_password="secret-1"), an_order(panel_password="secret-2")

    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != an_order(os="another").fingerprint()
