"""
Every way that an open can take, searched to the end: nothing waits for ever, and nothing forbidden ever happens.

The graph: from each reachable state, `decide` with every fact that can happen there. Time is abstract: a look comes
before the act has settled, after, or after the deadline too. What `decide` never asks for (texts, memos, evidence,
instants beside their order) is left out of a state, and tries are capped, so that the graph is finite and closed.
"""

import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest

from provisioner.domain.attempt import Attempt, StepRow, Verb
from provisioner.domain.engine import (
    Blind,
    Commanded,
    Decision,
    Fact,
    Looked,
    NoAnswer,
    NotTaken,
    Poisoned,
    Rejected,
    Then,
    Took,
    decide,
)
from provisioner.domain.events import EventKind
from provisioner.domain.outcome import Acted, Done, Failed, Look, More, NotBegun, Unknown, Wait
from provisioner.domain.states import STEP_OPEN, AttemptState, Direction, StepState
from provisioner.domain.verbs import hand_over_begun
from provisioner.errors import FailureClass
from provisioner.steps import recipes
from tests.builders import T0, a_command, an_attempt

TRIES = 2
POLICIES = {name: replace(policy, tries=TRIES) for name, policy in recipes.policies().items()}
RECIPE = [step.name for step in recipes.OPEN]
EARLIER = T0 - timedelta(hours=9)
SEVERAL_ACTS = {"domain", "address", "switch_port", "free_domain", "drop_addresses", "close_ports", "quarantine"}
NEVER_ACTS = {"ping"}
UNDER_WAY = {StepState.BEGUN, StepState.ACTING, StepState.UNSURE}
REMEMBERED = {name for name, policy in POLICIES.items() if policy.undo}  #: whether it acted, when it is left behind


class State(NamedTuple):
    """One node; `install` says whether an install that was begun was since judged to have had no effect."""

    attempt: Attempt
    steps: tuple[StepRow, ...]
    install: str

    @property
    def row(self) -> StepRow:
        return next(row for row in self.steps if row.pos == self.attempt.pos)

    def key(self) -> tuple[object, ...]:
        rows = tuple((row.name, row.state, row.tries, row.refusals, row.acted_at, row.begun_at) for row in self.steps)
        attempt = self.attempt
        return (attempt.state, attempt.direction, attempt.pos, rows, self.install)


class Told(NamedTuple):
    """One label of an edge; *unhelpful* facts come after the deadline and still prove nothing."""

    name: str
    fact: Fact
    unhelpful: bool = False


class Edge(NamedTuple):
    before: State
    told: Told
    decision: Decision
    steps: tuple[StepRow, ...]  #: all rows after the decision
    after: State
    ends: tuple[int, int] = (-1, -1)  #: numbers of the nodes; the end of an attempt is no node


@dataclass
class Graph:
    nodes: list[State] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


# --- the facts that can happen ------------------------------------------------------------------------------------


def facts(state: State) -> Iterator[Told]:
    row = state.row
    if state.attempt.state is AttemptState.HELD:
        yield from commands(state)
    elif row.state is StepState.BEGUN:
        now = T0 + timedelta(seconds=1)
        yield Told("took", Took(Acted(), now), unhelpful=True)
        yield Told("not taken", NotTaken("locked", now, locked=True), unhelpful=True)
        yield Told("no answer", NoAnswer("time limit", now), unhelpful=True)
        for failure_class in (FailureClass.SERVER, FailureClass.SITE):
            yield Told(f"rejected {failure_class}", Rejected(failure_class, "no", now), unhelpful=True)
    else:
        yield from looks(row)
        yield Told("blind", Blind("away", instant(row, "late")))
        yield Told("look without end", NoAnswer("time limit", instant(row, "late")))
        yield Told("poisoned", Poisoned(instant(row, "early")))
        yield from commands(state)


def looks(row: StepRow) -> Iterator[Told]:
    early = instant(row, "early")
    yield Told("done", Looked(Done(""), early, early))
    for failure_class in (FailureClass.SERVER, FailureClass.SITE, FailureClass.INPUT, FailureClass.LOST):
        yield Told(f"failed {failure_class}", Looked(Failed(failure_class, ""), early, early))
    if row.name in SEVERAL_ACTS and row.acted_at is not None:
        yield Told("more", Looked(More({}, ""), early, early))
    unhelpful: list[Look] = [Wait(""), Unknown("")] if row.name in NEVER_ACTS else [Wait(""), Unknown(""), NotBegun()]
    for outcome, age in itertools.product(unhelpful, ("early", "settled", "late")):
        now = instant(row, age)
        yield Told(f"{type(outcome).__name__} {age}", Looked(outcome, now, now), unhelpful=age == "late")
    yield Told("unread", Looked(Unknown(""), instant(row, "late"), None))


def instant(row: StepRow, age: str) -> datetime:
    policy = POLICIES[row.name]
    spans = {"early": timedelta(seconds=1), "settled": policy.settle, "late": policy.deadline}
    assert spans["early"] < spans["settled"] <= spans["late"]
    return T0 + spans[age]


def commands(state: State) -> Iterator[Told]:
    now = T0 + timedelta(seconds=1)
    for verb in (Verb.CANCEL, Verb.SWAP, Verb.RETRY, Verb.SKIP):
        yield Told(verb, Commanded(a_command(verb), now))
    if state.row.state is StepState.FAILED:  # of a poisoned attempt: see test_commands.py
        for start in ("domain", "install_os"):
            yield Told(f"from {start}", Commanded(a_command(Verb.RETRY_FROM, step=start, wipe=True), now))


# --- a decision made a state --------------------------------------------------------------------------------------


def start() -> State:
    rows = tuple(StepRow(pos=pos, name=name) for pos, name in enumerate(RECIPE))
    return State(*bare(an_attempt(), rows), "none")


def step_on(state: State, told: Told) -> Edge:
    decision = decide(state.attempt, state.steps, told.fact, POLICIES)
    rows = {row.pos: row for row in (*state.steps, *decision.rows)}
    steps = tuple(rows[pos] for pos in sorted(rows))
    attempt = decision.attempt
    if decision.then in {Then.ACT, Then.LOOK, Then.PROCEED, Then.PARK} and attempt.state is not AttemptState.HELD:
        attempt = replace(attempt, state=AttemptState.RUNNING)
    install = install_after(state, told, decision)
    return Edge(state, told, decision, steps, State(*bare(attempt, steps, known=state), install))


def install_after(state: State, told: Told, decision: Decision) -> str:
    """Follow an install: none → begun → judged (or refused: none taken) → begun again."""
    if decision.attempt.direction is Direction.BACK or decision.then is Then.END:
        return "none"
    if isinstance(told.fact, Commanded):
        return "judged" if state.install == "begun" else state.install  # a person said so
    if state.row.name != "install_os":
        return state.install
    if decision.then is Then.ACT:
        return "begun"
    no_trace = isinstance(told.fact, Looked) and isinstance(told.fact.outcome, NotBegun)
    settled = told.name.endswith(("settled", "late"))
    if isinstance(told.fact, NotTaken) or (no_trace and settled):
        return "judged"
    return state.install


def bare(
    attempt: Attempt, steps: Sequence[StepRow], *, known: State | None = None
) -> tuple[Attempt, tuple[StepRow, ...]]:
    """Leave out what `decide` never asks for, and put time back to the instant of the latest act."""
    done = {id(row) for row in known.steps if row.pos != known.attempt.pos} if known else set()  # bare already
    rows = [row if id(row) in done and row.pos != attempt.pos else bare_row(row, attempt.pos) for row in steps]
    if attempt.direction is Direction.BACK:
        rows = bare_undo(rows, attempt.pos)
    rows = [row if row.pos == pos else replace(row, pos=pos) for pos, row in enumerate(rows)]
    present = next(pos for pos, row in enumerate(rows) if row.arrived_at)
    return Attempt(direction=attempt.direction, state=attempt.state, pos=present), tuple(rows)


def bare_row(row: StepRow, pos: int) -> StepRow:
    present, still_open = row.pos == pos, row.state in STEP_OPEN
    told = row.acted_at and (present or still_open or row.name in REMEMBERED)
    first_ever = row.state is StepState.BEGUN and row.acted_at == row.begun_at
    return StepRow(
        pos=row.pos,
        name=row.name,
        direction=row.direction,
        undoes=row.undoes,
        state=row.state if present or row.state is not StepState.SKIPPED else StepState.DONE,
        tries=row.tries if present or still_open else 0,
        refusals=min(row.refusals, 1) if present else 0,
        acted_at=(T0 if first_ever else EARLIER) if told else None,
        begun_at=T0 if told else None,
        arrived_at=T0 if present else None,
        deadline_at=T0 + POLICIES[row.name].deadline if present else None,
        reason_class=row.reason_class if present and row.state is StepState.FAILED else None,
    )


def bare_undo(rows: Sequence[StepRow], pos: int) -> list[StepRow]:
    """Keep of an undo: whether the claim was done, whether an undo has failed, and what is still to come."""
    claim = next(row for row in rows if row.name == "claim")
    was_done = replace(claim, acted_at=None, begun_at=None) if claim.state is StepState.DONE else StepRow(0, "claim")
    behind = [row for row in rows if row.direction is Direction.BACK and row.pos < pos]
    failed = [row for row in behind if row.state is StepState.FAILED]
    mark = StepRow(0, "free_domain", Direction.BACK, state=StepState.FAILED if failed else StepState.DONE)
    return [was_done, mark, *(row for row in rows if row.pos >= pos)]


def explore() -> Graph:
    graph, numbers = Graph([start()]), {start().key(): 0}
    for number, state in enumerate(graph.nodes):  # it grows meanwhile
        for told in facts(state):
            for edge in both_packages(state, told):
                after = -1
                if edge.after.attempt.state is not AttemptState.ENDED:
                    after = numbers.setdefault(edge.after.key(), len(graph.nodes))
                if after == len(graph.nodes):
                    graph.nodes.append(edge.after)
                graph.edges.append(edge._replace(ends=(number, after)))
    return graph


def both_packages(state: State, told: Told) -> Iterator[Edge]:
    """Give what becomes with either `on_failure`, where it makes a difference."""
    edge = step_on(state, told)
    yield edge
    if any(event.kind is EventKind.STEP_FAILED for event in edge.decision.events):
        holding = step_on(state._replace(attempt=replace(state.attempt, hold_on_failure=True)), told)
        yield holding._replace(before=state)


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    gc.disable()  # nothing here is garbage; looking for it takes as long as the search
    try:
        yield explore()
    finally:
        gc.enable()


def complain(wrong: Sequence[Edge], of: str) -> None:
    """Fail with a few of the edges that break a rule."""
    if wrong:
        told = [f"{edge.told.name} in {described(edge.before)} → {edge.decision.then}" for edge in wrong]
        pytest.fail(f"{len(wrong)} edges {of}, such as\n" + "\n".join(sorted(set(told))[:8]), pytrace=False)


def described(state: State) -> str:
    return f"{state.attempt.state} {state.attempt.direction} at {state.row.name} ({state.row.state})"


# --- a way out ----------------------------------------------------------------------------------------------------


def test_the_search_has_seen_every_step_and_every_end(graph: Graph) -> None:
    seen = {state.row.name for state in graph.nodes}
    results = {edge.decision.result for edge in graph.edges if edge.decision.result}

    assert seen >= {*RECIPE, *(step.name for step in recipes.UNDO)} - {"reopen_ports"}  # that is of a suspend
    assert {str(result) for result in results} == {
        "succeeded", "released", "quarantined", "incomplete", "lost", "passed_over"
    }  # fmt: skip


def test_every_state_has_a_way_to_the_end_or_to_a_person(graph: Graph) -> None:
    out = reaching(graph, lambda edge: edge.decision.then is Then.END or told_a_person(edge))

    assert [described(state) for number, state in enumerate(graph.nodes) if number not in out] == []


def test_a_person_too_always_has_a_way_to_the_end(graph: Graph) -> None:
    out = reaching(graph, lambda edge: edge.decision.then is Then.END)

    assert [described(state) for number, state in enumerate(graph.nodes) if number not in out] == []


def told_a_person(edge: Edge) -> bool:
    return edge.decision.then is Then.HOLD and any(event.kind is EventKind.HELD for event in edge.decision.events)


def reaching(graph: Graph, goal: Callable[[Edge], bool]) -> set[int]:
    """Give the nodes from which an edge that is a *goal* can be reached."""
    into: dict[int, list[int]] = {}
    todo: list[int] = []
    for edge in graph.edges:
        before, after = edge.ends
        if goal(edge):
            todo.append(before)
        else:
            into.setdefault(after, []).append(before)
    found = set(todo)
    while todo:
        for number in into.pop(todo.pop(), ()):
            if number not in found:
                found.add(number)
                todo.append(number)
    return found


def test_whoever_is_held_was_told_to_a_person(graph: Graph) -> None:
    complain(
        [
            edge
            for edge in graph.edges
            if edge.decision.attempt.state is AttemptState.HELD and edge.before.attempt.state is not AttemptState.HELD
            if not told_a_person(edge)
        ],
        "hold without a word",
    )


def test_a_held_attempt_stays_held_unless_a_verb_was_obeyed(graph: Graph) -> None:
    complain(
        [
            edge
            for edge in graph.edges
            if edge.before.attempt.state is AttemptState.HELD
            if any(event.kind is EventKind.COMMAND_REFUSED for event in edge.decision.events)
            if edge.decision.then is not Then.HOLD
        ],
        "wake a held attempt by a verb that was refused",
    )


def test_every_wait_ends_by_itself_before_long(graph: Graph) -> None:
    parked = [edge for edge in graph.edges if edge.decision.then is Then.PARK]
    longest = max(max(policy.deadline, policy.settle, policy.backoff_max) for policy in POLICIES.values())

    assert parked
    complain(
        [
            edge
            for edge in parked
            if edge.decision.resume_at is None
            or not edge.told.fact.now < edge.decision.resume_at <= edge.told.fact.now + longest
        ],
        "wait without an end",
    )


def test_no_row_stands_open_without_a_deadline(graph: Graph) -> None:
    present = [(edge, next(row for row in edge.steps if row.pos == edge.decision.attempt.pos)) for edge in graph.edges]

    complain([edge for edge, row in present if row.state in STEP_OPEN and row.deadline_at is None], "lack a deadline")


def test_no_row_of_unhelpful_answers_goes_on_for_ever(graph: Graph) -> None:
    """After the deadline, usable readings that prove nothing and acts that do nothing must come to an end."""
    onward: dict[int, list[int]] = {}
    for edge in graph.edges:
        before, after = edge.ends
        if edge.told.unhelpful and edge.decision.then not in {Then.END, Then.HOLD}:
            onward.setdefault(before, []).append(after)

    assert [described(graph.nodes[number]) for number in circling(onward)] == []


def circling(onward: dict[int, list[int]]) -> list[int]:
    """Take nodes without a way on away, again and again; give those that stay: they lead into circles."""
    into: dict[int, list[int]] = {}
    ways = {number: len(following) for number, following in onward.items()}
    for number, following in onward.items():
        for after in following:
            into.setdefault(after, []).append(number)
    todo = [number for number in into if number not in ways]
    while todo:
        for number in into.get(todo.pop(), ()):
            ways[number] -= 1
            if not ways[number]:
                todo.append(number)
    return [number for number, left in ways.items() if left]


# --- what never happens -------------------------------------------------------------------------------------------


def changes(edge: Edge) -> Iterator[tuple[StepRow, StepRow]]:
    """Give the rows that were there before, as they were and as they became."""
    was = {row.pos: row for row in edge.before.steps}
    return ((was[row.pos], row) for row in edge.decision.rows if row.pos in was)


def test_a_first_act_is_forgotten_only_when_it_surely_never_was(graph: Graph) -> None:
    complain(
        [
            edge
            for edge in graph.edges
            for was, row in changes(edge)
            if was.acted_at and not row.acted_at
            if not (isinstance(edge.told.fact, NotTaken) and was.acted_at == was.begun_at)
        ],
        "forget an act",
    )


def test_the_first_act_never_moves(graph: Graph) -> None:
    complain(
        [
            edge
            for edge in graph.edges
            for was, row in changes(edge)
            if was.acted_at and row.acted_at and was.acted_at != row.acted_at
        ],
        "move the first act",
    )


def test_nothing_acts_before_its_memo_is_committed(graph: Graph) -> None:
    complain(
        [
            edge
            for edge in graph.edges
            if (edge.decision.then is Then.ACT) != any(row.state is StepState.BEGUN for row in edge.decision.rows)
        ],
        "act without a begun row, or begin without an act",
    )


def test_an_act_is_counted_and_marked_before_it_is_sent(graph: Graph) -> None:
    begun = [edge for edge in graph.edges if edge.decision.then is Then.ACT]

    assert begun
    complain(
        [
            edge
            for edge in begun
            for row in edge.decision.rows
            if not row.acted_at or row.begun_at != edge.told.fact.now or row.tries < 1 or "before" not in row.memo
        ],
        "act uncounted",
    )


def test_a_step_under_way_is_not_begun_again_without_a_look(graph: Graph) -> None:
    complain(
        [
            edge
            for edge in graph.edges
            if edge.decision.then is Then.ACT and edge.before.row.state in UNDER_WAY and edge.told.name != "more"
        ],
        "send an act again that may be under way",
    )


def test_there_is_no_way_forward_from_going_back(graph: Graph) -> None:
    complain(
        [
            edge
            for edge in graph.edges
            if edge.before.attempt.direction is Direction.BACK
            if edge.decision.attempt.direction is not Direction.BACK
            or any(row.direction is Direction.FORWARD for row in edge.decision.rows)
        ],
        "go forward while going back",
    )


def test_once_hand_over_has_begun_nothing_is_undone(graph: Graph) -> None:
    handed = [edge for edge in graph.edges if hand_over_begun(edge.before.steps)]

    assert handed
    complain(
        [
            edge
            for edge in handed
            if edge.decision.attempt.direction is Direction.BACK
            or any(row.direction is Direction.BACK for row in edge.decision.rows)
            if not isinstance(edge.told.fact, NotTaken)
        ],
        "undo what is a customer's",
    )


def test_no_install_is_sent_twice_while_the_first_may_still_begin(graph: Graph) -> None:
    again = [edge for edge in graph.edges if edge.decision.then is Then.ACT and edge.before.row.name == "install_os"]

    assert {edge.before.install for edge in again} >= {"none", "judged"}
    complain([edge for edge in again if edge.before.install == "begun"], "install twice")


def test_an_attempt_that_ended_or_goes_back_leaves_no_step_under_way(graph: Graph) -> None:
    turned = [
        edge
        for edge in graph.edges
        if edge.decision.then is Then.END
        or (edge.decision.attempt.direction is Direction.BACK and edge.before.attempt.direction is Direction.FORWARD)
    ]

    assert turned
    complain([edge for edge in turned if any(row.state in UNDER_WAY for row in edge.steps)], "leave a step under way")


def test_an_attempt_that_ended_has_undone_or_named_all_that_acted(graph: Graph) -> None:
    turned = [
        edge
        for edge in graph.edges
        if edge.decision.attempt.direction is Direction.BACK and edge.before.attempt.direction is Direction.FORWARD
    ]
    wrong = []
    for edge in turned:
        appended = [row for row in edge.decision.rows if row.direction is Direction.BACK]
        undone = {row.undoes for row in appended}
        acted = {row.pos for row in edge.steps if row.acted_at and row.direction is Direction.FORWARD}
        due = {row.pos for row in edge.steps if row.pos in acted and POLICIES[row.name].undo}
        if not due <= undone or appended[-1].name not in {"release", "quarantine"}:
            wrong.append(edge)

    assert turned
    complain(wrong, "forget an undo, or the end")


def test_every_end_says_how(graph: Graph) -> None:
    complain(
        [edge for edge in graph.edges if (edge.decision.then is Then.END) != (edge.decision.result is not None)], ""
    )
