"""What the outer rooms are told of the recipes."""

import pytest

from provisioner.domain.spans import Spans
from provisioner.errors import BadConfig
from provisioner.ports import Wakeup
from provisioner.usecases import recipes


def a_wakeup(**changes: object) -> Wakeup:
    values: dict[str, object] = {
        "job_id": 7, "attempt_id": 9, "attempt_n": 1, "pos": 6, "step": "install_os", "undoes": None, "kind": "open",
        "order": "ord-1", "server": "101", "queue": "steps", "sends": 1, "root_id": "", "parent_id": None,
    }  # fmt: skip
    return Wakeup(**{**values, **changes})  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "dedicated.06_install_os"),
        ({"step": "close_ports", "undoes": 4, "pos": 10}, "undo.04_switch_port"),
        ({"step": "quarantine", "undoes": 1, "pos": 12}, "undo.quarantine"),
        ({"step": "release", "undoes": 1, "pos": 12}, "undo.release"),
        ({"service": "colocation", "pos": 1, "step": "ask_placed"}, "colocation.01_ask_placed"),
        ({"service": "colocation", "pos": 0, "step": "ask_removed", "kind": "close"}, "colocation.00_ask_removed"),
        ({"service": "colocation", "pos": 0, "step": "ports_off", "kind": "suspend"}, "suspend.00_ports_off"),
        ({"kind": "release", "step": "free_domain", "undoes": 2, "pos": 1}, "release.01_free_domain"),
    ],
)
def test_a_message_is_for_a_task_that_the_workers_know(changes: dict[str, object], name: str) -> None:
    found = recipes.task_name(a_wakeup(**changes))

    assert name == found
    assert found in recipes.task_names()


def test_the_production_figures_let_three_lists_into_the_settle_time_after_a_lease() -> None:
    recipes.check_patience(recipes.policies({}, scale=1.0), Spans())


def test_a_settle_time_that_a_dead_workers_lease_eats_up_is_refused_at_start() -> None:
    with pytest.raises(BadConfig, match="settle time of install_os is 30 s"):
        recipes.check_patience(recipes.policies({"install_os": {"settle": 30}}, scale=1.0), Spans())


@pytest.mark.parametrize("overrides", [{"instal_os": {"settle": 3}}, {"install_os": {"setle": 3}}])
def test_a_policy_that_names_nothing_is_refused(overrides: dict[str, dict[str, float]]) -> None:
    with pytest.raises(BadConfig, match="PROVISIONER_POLICIES"):
        recipes.policies(overrides, scale=1.0)
