"""What a row remembers: the memo before, first and seen, its counters, its deadline, and when it is looked at again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from provisioner.domain.attempt import Awaits, StepRow
from provisioner.domain.engine import (
    Blind,
    Decision,
    Fact,
    IllegalFact,
    Looked,
    NoAnswer,
    NotTaken,
    Then,
    Took,
    decide,
)
from provisioner.domain.events import EventKind
from provisioner.domain.outcome import AccountReserved, Acted, AddressesRead, Done, More, NotBegun, Unknown, Wait
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps import recipes
from tests.builders import T0, a_policy, a_recipe, a_step_row, acted, an_address, an_attempt, at, remembering

POLICIES = recipes.policies()


def given(row: StepRow, fact: Fact, **policy: object) -> Decision:
    policies = POLICIES
    if policy:
        policies = {**POLICIES, row.name: replace(POLICIES[row.name], **policy)}  # type: ignore[arg-type]  # fields
    return decide(an_attempt(pos=row.pos), a_recipe(row), fact, policies)


def becomes(row: StepRow, fact: Fact, **policy: object) -> StepRow:
    return given(row, fact, **policy).rows[0]


def looked(outcome: Done | NotBegun | More | Wait | Unknown, seconds: float) -> Looked:
    return Looked(outcome, at(seconds), at(seconds))


# --- before, first, seen ------------------------------------------------------------------------------------------


def test_the_memo_is_committed_before_the_act() -> None:
    decision = given(a_step_row("address"), looked(NotBegun({"rows": ["901"]}), 5))
    row = decision.rows[0]

    assert decision.then is Then.ACT
    assert (row.state, row.tries, row.acted_at, row.begun_at) == (StepState.BEGUN, 1, at(5), at(5))
    assert (row.before, row.first, row.seen) == ({"rows": ["901"]}, {"rows": ["901"]}, {})
    assert EventKind.STEP_BEGUN in [event.kind for event in decision.events]


def test_what_was_there_before_the_first_act_ever_is_never_overwritten() -> None:
    row = remembering(acted(a_step_row("address")), {"rows": ["901"]})
    again = becomes(row, looked(More({"rows": ["901", "902"]}, "one"), 40))

    assert (again.before, again.first) == ({"rows": ["901", "902"]}, {"rows": ["901"]})
    assert (again.acted_at, again.begun_at, again.tries) == (T0, at(40), 1)


def test_more_of_a_step_that_never_acted_is_refused() -> None:
    with pytest.raises(IllegalFact, match="never acted"):
        given(a_step_row("address"), looked(More({}, "one"), 5))


def test_what_a_look_has_seen_is_merged_and_leaves_the_rest_alone() -> None:
    row = remembering(acted(a_step_row("install_os")), {"host_key": "old"}, seen={"up": True})
    row = becomes(row, looked(Unknown("silent", {"silent": True}), 10))

    assert row.seen == {"up": True, "silent": True}
    assert (row.before, row.first) == ({"host_key": "old"}, {"host_key": "old"})


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
def test_what_a_waiting_look_has_seen_is_kept_in_every_state(state: StepState) -> None:
    row = replace(a_step_row("ping"), state=state)

    assert becomes(row, looked(Wait("answers", seen={"since": "now"}), 10)).seen == {"since": "now"}


def test_what_was_seen_before_an_act_says_nothing_after_it() -> None:
    row = remembering(a_step_row("power_on"), {}, seen={"up": True})

    assert becomes(row, looked(NotBegun({"power": "off"}), 5)).seen == {}


def test_an_undo_does_not_lose_what_it_must_know_when_it_acts() -> None:
    row = a_step_row("drop_addresses", memo={"undone": {"first": {"rows": ["901"]}}})
    decision = decide(
        an_attempt(pos=row.pos), (*a_recipe(a_step_row("ping")), row), looked(NotBegun({"row": "902"}), 5), POLICIES
    )

    assert decision.rows[0].undone == {"first": {"rows": ["901"]}}


def test_what_our_books_gain_goes_with_the_commit_of_the_look() -> None:
    reserved = AccountReserved("ivanov", ())
    read = AddressesRead((an_address(),))
    begun = given(a_step_row("account"), looked(NotBegun({"login": "ivanov"}, (reserved,)), 5))
    more = given(acted(a_step_row("address")), looked(More({}, "one", (read,)), 5))
    done = given(acted(a_step_row("address")), looked(Done("two", (read,)), 5))

    assert (begun.records, more.records, done.records) == ((reserved,), (read,), (read,))


# --- counters -----------------------------------------------------------------------------------------------------


def test_a_first_act_that_was_surely_not_taken_never_was() -> None:
    begun = becomes(a_step_row("domain"), looked(NotBegun({"row": "901"}), 5))
    row = becomes(begun, NotTaken("locked", at(6), locked=True))

    assert (row.state, row.tries, row.acted_at, row.begun_at) == (StepState.PENDING, 0, None, None)
    assert row.refusals == 1


def test_what_was_seen_before_an_act_that_never_was_is_seen_anew() -> None:
    begun = becomes(a_step_row("address"), looked(NotBegun({"rows": ["901"]}), 5))
    refused = becomes(begun, NotTaken("locked", at(6), locked=True))
    row = becomes(refused, looked(NotBegun({"rows": ["901", "950"]}), 60))

    assert row.first == {"rows": ["901", "950"]}  # 950 is another's: our undo must not drop it


def test_a_later_act_that_was_not_taken_leaves_the_first_one_standing() -> None:
    row = acted(a_step_row("domain"), StepState.BEGUN, when=at(40), tries=2, acted_at=T0)
    row = becomes(row, NotTaken("locked", at(41), locked=True))

    assert (row.tries, row.acted_at) == (1, T0)


def test_a_second_act_in_the_same_instant_that_was_not_taken_leaves_the_first_one_standing() -> None:
    # one touch, one reading of the clock: act, look, More, act again, refused
    first = becomes(a_step_row("address"), Looked(NotBegun({"rows": []}), T0, T0))
    taken = becomes(first, Took(Acted(), T0))
    second = becomes(taken, Looked(More({"rows": ["902"]}, "one"), T0, T0))
    row = becomes(second, NotTaken("busy", T0))

    assert row.acted_at == T0


def test_only_a_claim_pays_for_being_refused() -> None:
    assert [name for name, policy in POLICIES.items() if policy.refusal_costs] == ["claim"]


@pytest.mark.parametrize(("locked", "state"), [(True, StepState.FAILED), (False, StepState.PENDING)])
def test_only_a_locked_object_costs_the_claim_a_try(locked: bool, state: StepState) -> None:  # noqa: FBT001 - a case
    # while the place is away no candidate may be passed over after the other
    row = acted(a_step_row("claim"), StepState.BEGUN, tries=POLICIES["claim"].tries)
    after = becomes(row, NotTaken("no", at(5), locked=locked))

    assert after.state is state
    assert after.tries == (row.tries if locked else row.tries - 1)


def test_a_refused_step_is_tried_again_at_growing_distance() -> None:
    policy = POLICIES["domain"]
    distances = []
    for refusals in range(8):
        row = acted(a_step_row("domain", refusals=refusals), StepState.BEGUN, when=at(5))
        resume_at = given(row, NotTaken("locked", at(6), locked=True)).resume_at
        assert resume_at is not None
        distances.append(resume_at - at(6))

    assert distances[:3] == [policy.backoff, 2 * policy.backoff, 4 * policy.backoff]
    assert max(distances) == policy.backoff_max


def test_an_old_refusal_does_not_forbid_to_send_an_act_again() -> None:
    # refused once, then taken; no effect by the deadline: the second try must not be called "refused until"
    row = acted(a_step_row("domain", refusals=1, deadline_at=at(590)), StepState.BEGUN, when=at(500))
    taken = becomes(row, Took(Acted(), at(501)))
    free_again = becomes(taken, looked(NotBegun(), 600))
    decision = given(free_again, looked(NotBegun({"row": "901"}), 601))

    assert free_again.state is StepState.PENDING
    assert decision.then is Then.ACT


@pytest.mark.parametrize("fact", [Blind("unreachable", at(9)), looked(Wait("under way"), 9), NoAnswer("limit", at(9))])
def test_a_look_is_not_a_try(fact: Fact) -> None:
    row = acted(a_step_row("domain"), tries=2)

    assert becomes(row, fact).tries == 2


@pytest.mark.parametrize(
    ("name", "failure_class"),
    [
        ("account", FailureClass.SITE),
        ("address", FailureClass.SITE),
        ("domain", FailureClass.SERVER),
        ("switch_port", FailureClass.SERVER),
        ("power_on", FailureClass.SERVER),
        ("install_os", FailureClass.SERVER),
    ],
)
def test_used_up_tries_blame_whom_the_step_names(name: str, failure_class: FailureClass) -> None:
    policy = POLICIES[name]
    row = acted(a_step_row(name), tries=policy.tries, deadline_at=at(90_000))

    assert becomes(row, looked(NotBegun(), policy.settle.total_seconds())).reason_class is failure_class


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_deadline_starts_when_the_attempt_comes_to_the_step() -> None:
    decision = given(acted(a_step_row("domain")), looked(Done("set"), 40))
    arriving = decision.rows[1]

    assert (arriving.name, arriving.arrived_at) == ("address", at(40))
    assert arriving.deadline_at == at(40) + POLICIES["address"].deadline


def test_an_act_that_begins_behind_its_deadline_gets_a_new_one() -> None:
    row = becomes(a_step_row("domain", deadline_at=at(10)), looked(NotBegun({"row": "901"}), 700))

    assert row.deadline_at == at(700) + POLICIES["domain"].deadline


def test_an_act_that_begins_in_time_keeps_its_deadline() -> None:
    row = becomes(a_step_row("domain", deadline_at=at(900)), looked(NotBegun({"row": "901"}), 700))

    assert row.deadline_at == at(900)


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
def test_no_deadline_is_judged_blind(state: StepState) -> None:
    row = acted(a_step_row("domain"), state, deadline_at=at(100))
    silent = Looked(Unknown("hm"), at(1000), None)
    old = Looked(Unknown("hm"), at(1000), at(99))
    good = Looked(Unknown("hm"), at(1000), at(100))

    assert [becomes(row, fact).state for fact in (Blind("away", at(1000)), silent, old)] == [state] * 3
    assert becomes(row, good).state is StepState.FAILED


@pytest.mark.parametrize("fact", [NoAnswer("time limit", at(9999)), Blind("unreachable", at(9999))])
def test_no_time_limit_fails_a_step(fact: Fact) -> None:
    begun = acted(a_step_row("domain"), StepState.BEGUN, deadline_at=at(100))
    acting = replace(begun, state=StepState.ACTING)

    assert becomes(acting, fact).state is StepState.ACTING
    if isinstance(fact, NoAnswer):
        assert becomes(begun, fact).state is StepState.UNSURE


def test_an_act_without_an_answer_is_looked_at_soon() -> None:
    decision = given(acted(a_step_row("install_os"), StepState.BEGUN), NoAnswer("limit", at(15)))

    assert decision.resume_at == at(15) + POLICIES["install_os"].backoff
    assert EventKind.STEP_UNSURE in [event.kind for event in decision.events]


def test_a_step_that_the_list_proves_waits_for_the_next_list() -> None:
    decision = given(acted(a_step_row("install_os"), StepState.BEGUN), Took(Acted({"task": "1"}), at(1)))

    assert (decision.then, decision.awaits) == (Then.PARK, Awaits.LONG)
    assert decision.rows[0].token == {"task": "1"}


def test_a_step_that_a_read_proves_is_looked_at_in_the_same_touch() -> None:
    decision = given(acted(a_step_row("domain"), StepState.BEGUN), Took(Acted(), at(1)))

    assert (decision.then, decision.rows[0].state) == (Then.LOOK, StepState.ACTING)


def test_a_listed_wait_ends_by_itself_when_time_changes_what_the_list_means() -> None:
    row = acted(a_step_row("install_os"), deadline_at=at(9000))
    early = given(row, looked(Wait("running", listed=True), 10))
    late = given(row, looked(Wait("running", listed=True), 300))

    assert early.resume_at == T0 + POLICIES["install_os"].settle
    assert late.resume_at == at(9000)


@pytest.mark.parametrize("outcome", [NotBegun(), Wait("not visible", listed=True), Unknown("hm", listed=True)])
def test_a_turn_that_no_list_has_reached_yet_is_asked_of_the_next_list(outcome: NotBegun | Wait | Unknown) -> None:
    # woken at the settle time, yet the last list began before it: the deadline must not be the next turn
    policy = POLICIES["install_os"]
    row = acted(a_step_row("install_os"), deadline_at=at(9000))
    now = T0 + policy.settle + timedelta(seconds=1)
    unread = given(row, Looked(outcome, now, now - timedelta(seconds=20)))

    assert unread.resume_at == now + policy.backoff
    if not isinstance(outcome, NotBegun):
        assert given(row, Looked(outcome, now, now)).resume_at == at(9000)


def test_a_list_is_read_often_until_an_unanswered_act_is_seen() -> None:
    decision = given(acted(a_step_row("install_os"), StepState.BEGUN), NoAnswer("limit", at(15)))

    assert decision.awaits is Awaits.SHORT
    assert given(acted(a_step_row("domain"), StepState.BEGUN), NoAnswer("limit", at(15))).awaits is None


def test_a_wait_says_itself_whether_the_list_is_read_often() -> None:
    row = acted(a_step_row("install_os"))

    assert given(row, looked(Wait("not visible", listed=True, soon=True), 5)).awaits is Awaits.SHORT
    assert given(row, looked(Wait("running", listed=True), 5)).awaits is Awaits.LONG
    assert given(row, looked(Wait("later"), 5)).awaits is None


def test_a_wait_for_an_instant_is_woken_then() -> None:
    assert given(a_step_row("ping"), looked(Wait("second look", until=at(30)), 10)).resume_at == at(30)


@pytest.mark.parametrize("until", [None, at(5)])
def test_every_wait_has_an_end_in_the_future(until: object) -> None:
    for state in (StepState.PENDING, StepState.ACTING, StepState.UNSURE):
        for listed in (True, False):
            row = acted(a_step_row("ping", deadline_at=at(7)), state, deadline_at=at(7))
            wait = Wait("hm", until=until, listed=listed)  # type: ignore[arg-type]  # an instant or None
            decision = given(row, Looked(wait, at(100), at(6)))

            assert decision.then is Then.PARK
            assert decision.resume_at is not None
            assert decision.resume_at > at(100)


def test_looks_grow_rarer_with_the_age_of_an_act() -> None:
    policy = a_policy(backoff=timedelta(seconds=5), backoff_max=timedelta(seconds=60))
    distances = []
    for age in (1, 60, 6000):
        row = acted(a_step_row("domain", deadline_at=at(90_000)), deadline_at=at(90_000))
        decision = given(row, Blind("away", at(age)), backoff=policy.backoff, backoff_max=policy.backoff_max)
        assert decision.resume_at is not None
        distances.append((decision.resume_at - at(age)).total_seconds())

    assert distances == [5, 15, 60]
