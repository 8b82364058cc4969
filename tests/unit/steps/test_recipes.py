"""The recipe of an open, what undoes it, and how patient each step is."""

from datetime import timedelta

import pytest

from provisioner.domain.attempt import Awaits, Repeat
from provisioner.domain.states import JobKind
from provisioner.steps import recipes

POLICIES = recipes.policies()
NAMES = [step.name for step in recipes.OPEN]


def test_an_open_goes_through_the_steps_of_the_source_page() -> None:
    assert NAMES == [
        "account",
        "claim",
        "domain",
        "address",
        "switch_port",
        "power_on",
        "install_os",
        "ping",
        "hand_over",
    ]


def test_every_job_kind_has_a_recipe() -> None:
    assert {kind for kind, _ in recipes.every_recipe()} == set(JobKind)


def test_every_name_is_one_step() -> None:
    all_recipes = (*(r for _, r in recipes.every_recipe()), *recipes.COLOCATION.values(), recipes.UNDO)
    named = {step.name: step for recipe in all_recipes for step in recipe}

    assert set(recipes.STEPS) == set(named)
    assert all(type(recipes.STEPS[name]) is type(step) for name, step in named.items())
    assert all(step.name == name for name, step in recipes.STEPS.items())


def test_what_undoes_a_step_is_a_step_that_has_no_undo_itself() -> None:
    undos = {policy.undo for policy in POLICIES.values() if policy.undo}

    assert undos | {"release", "quarantine"} == {step.name for step in recipes.UNDO}
    assert all(POLICIES[undo].undo is None for undo in undos)


def test_engine_mds_table_of_undos() -> None:
    assert {name: POLICIES[name].undo for name in NAMES} == {
        "account": None,
        "claim": None,  # the end itself: release or quarantine
        "domain": "free_domain",
        "address": "drop_addresses",
        "switch_port": "close_ports",
        "power_on": None,
        "install_os": "cancel_install",
        "ping": None,
        "hand_over": None,
    }


def test_every_step_can_run_out_of_tries_only_after_it_could_be_seen() -> None:
    for policy in POLICIES.values():
        assert policy.tries >= 1
        assert timedelta(0) < policy.settle < policy.deadline
        assert timedelta(0) < policy.backoff <= policy.backoff_max


def test_an_install_outlasts_the_panels_slowest_visible_effect() -> None:
    assert POLICIES["install_os"].settle >= timedelta(seconds=120)
    assert POLICIES["install_os"].awaits is Awaits.LONG


def test_power_and_install_are_proven_by_a_list_and_the_rest_by_a_read() -> None:
    listed = {name for name, policy in POLICIES.items() if not policy.proven_by_read}

    assert listed == {"power_on", "power_off", "reboot", "install_os", "cancel_install", "inspect", "read_back"}


def test_only_an_install_wipes() -> None:
    assert [name for name, policy in POLICIES.items() if policy.wipes] == ["install_os"]


def test_no_step_of_an_open_is_one_that_may_never_be_sent_again() -> None:
    assert {name for name, policy in POLICIES.items() if policy.repeat is Repeat.NEVER} == {"reboot"}


def test_all_spans_are_scaled_for_the_demo() -> None:
    short = recipes.policies(scale=0.01)["install_os"]

    assert short.settle == POLICIES["install_os"].settle / 100
    assert short.deadline == POLICIES["install_os"].deadline / 100
    assert short.visible == POLICIES["install_os"].visible / 100
    assert (short.tries, short.undo) == (POLICIES["install_os"].tries, "cancel_install")


def test_an_override_wins_over_the_scale_and_touches_nothing_else() -> None:
    found = recipes.policies({"install_os": {"settle": 7, "tries": 1}}, scale=0.01)

    assert (found["install_os"].settle, found["install_os"].tries) == (timedelta(seconds=7), 1)
    assert found["power_on"] == recipes.policies(scale=0.01)["power_on"]


def test_an_override_of_no_step_is_refused() -> None:
    with pytest.raises(KeyError):
        recipes.policies({"dance": {"tries": 1}})


def test_an_override_of_no_field_is_refused() -> None:
    with pytest.raises(TypeError):
        recipes.policies({"install_os": {"patience": 1}})


@pytest.mark.parametrize("step", recipes.STEPS.values(), ids=recipes.STEPS.keys())
def test_a_step_names_itself_and_its_policy(step: object) -> None:
    assert getattr(step, "name", "")
    assert getattr(step, "policy", None)
