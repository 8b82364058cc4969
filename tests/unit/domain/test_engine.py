"""
`decide` over the whole product of states and facts: what becomes of the row, of the attempt, and what is done then.

The tables say it in words; `story` puts a decision into the same words. Rules of one kind follow in files of their own:
test_compensation.py, test_commands.py, test_memo.py, test_liveness.py.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

import pytest

from provisioner.domain import engine
from provisioner.domain.attempt import Attempt, Repeat, StepRow, Verb
from provisioner.domain.engine import (
    Blind,
    Commanded,
    Decision,
    Fact,
    IllegalFact,
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
from provisioner.domain.states import STEP_OPEN, AttemptState, Direction, JobKind, StepState
from provisioner.errors import FailureClass
from provisioner.steps import recipes
from tests.builders import T0, a_command, a_recipe, a_step_row, an_attempt, an_undo_row, at

POLICIES = recipes.policies()
TRIES = 3
MOMENT = timedelta(microseconds=1)

# --- the tables ---------------------------------------------------------------------------------------------------
# A word in <angle brackets> names a table below. `*` is any value.

#: engine.md §3, "step row is | fact | becomes"
ROW = """
fact        | pending        | begun      | acting        | unsure        | failed    | done, cancelled, skipped
done        | <done>         | illegal    | <done>        | <done>        | illegal   | illegal
not begun   | <begin>        | illegal    | <judge>       | <judge>       | illegal   | illegal
more        | <more>         | illegal    | <more>        | <more>        | illegal   | illegal
wait        | <wait pending> | illegal    | <wait acting> | <wait acting> | illegal   | illegal
unknown     | <unknown>      | illegal    | <unknown>     | <unknown>     | illegal   | illegal
failed      | <fail>         | illegal    | <fail>        | <fail>        | illegal   | illegal
took        | illegal        | <took>     | illegal       | illegal       | illegal   | illegal
not taken   | illegal        | <refused>  | illegal       | illegal       | illegal   | illegal
no answer   | stays; park    | unsure; park | stays; park | stays; park   | illegal   | illegal
rejected    | illegal        | <fail>     | illegal       | illegal       | illegal   | illegal
blind       | stays; park    | illegal    | stays; park   | stays; park   | illegal   | illegal
poisoned    | stays; hold    | illegal    | stays; hold   | stays; hold   | illegal   | illegal
cancel      | <cancel>       | illegal    | <cancel>      | <cancel>      | <cancel>  | illegal
swap        | <swap>         | illegal    | <swap>        | <swap>        | <swap>    | illegal
retry       | <too early>    | illegal    | <too early>   | <too early>   | <retry>   | illegal
retry from  | <too early>    | illegal    | <too early>   | <too early>   | <from>    | illegal
skip        | <too early>    | illegal    | <too early>   | <too early>   | <skip>    | illegal
"""

DONE = """
place           | becomes
hand_over       | done; end succeeded
last undo       | done; end released
*               | done; proceed
"""

#: a step that never began has a deadline too, but only a refusal or a blind wait uses it up
BEGIN = """
refused | reading       | acted | deadline       | becomes
no      | *             | *     | *              | begun, +1 try; act
yes     | before settle | yes   | *              | begun, +1 try; act
yes     | *             | *     | read after     | <fail unknown>
yes     | *             | *     | *              | begun, +1 try; act
"""

MORE = """
row             | acted | becomes
pending         | no    | illegal
*               | *     | begun, tries anew; act
"""

#: no trace of an act: believed once a reading began at or after begun_at + settle
JUDGE = """
reading       | repeat       | tries | deadline       | becomes
none          | *            | *     | *              | stays; park
before settle | *            | *     | *              | stays; park
after settle  | never        | *     | read after     | <fail unknown>
after settle  | never        | *     | *              | stays; park
after settle  | after_settle | left  | *              | pending; park
after settle  | after_settle | none  | *              | <fail exhausted>
"""

#: no deadline is judged blind: it, and the settle time of what was begun, passed before the reading began
WAIT_PENDING = """
reading       | acted | deadline       | becomes
none          | *     | *              | stays; park
before settle | yes   | *              | stays; park
*             | *     | read after     | <fail unknown>
*             | *     | *              | stays; park
"""

WAIT_ACTING = """
reading       | deadline       | becomes
after settle  | read after     | <fail unknown>
*             | *              | acting; park
"""

UNKNOWN = """
row           | reading       | acted | deadline       | becomes
pending       | before settle | no    | read after     | <fail unknown>
*             | after settle  | *     | read after     | <fail unknown>
*             | *             | *     | *              | stays; park
"""

TOOK = """
step        | becomes
install_os  | acting; park
*           | acting; look
"""

#: surely not taken; "first" is the first act ever of this row, which then never was
REFUSED = """
step   | act   | tries | becomes
claim  | first | left  | pending, act forgotten; park
claim  | later | left  | pending; park
claim  | first | none  | <fail lost>
claim  | later | none  | <fail lost>
*      | first | *     | pending, -1 try, act forgotten; park
*      | later | *     | pending, -1 try; park
"""

#: "What a failure does", before hand-over, and undoing; a claim that acted is looked at once more, by `release`
FAIL = """
place                | on_failure | server        | unknown       | site       | input      | lost | drift
account              | *          | over, as site | over, as site | over       | over       | over | over
claim, never acted   | *          | over          | over          | over       | over       | over | over
claim, acted         | *          | release       | release       | release    | release    | look | look
middle               | next       | quarantine    | quarantine    | release    | release    | lost | lost
middle               | hold       | hold          | hold          | release    | release    | lost | lost
hand_over, not begun | next       | quarantine    | quarantine    | release    | release    | lost | lost
hand_over, not begun | hold       | hold          | hold          | release    | release    | lost | lost
hand_over, begun     | *          | hold          | hold          | hold       | hold       | hold | hold
undo                 | *          | go on         | go on         | go on      | go on      | lost | lost
last undo            | *          | incomplete    | incomplete    | incomplete | incomplete | lost | lost
release job          | *          | put off       | put off       | put off    | put off    | lost | lost
"""

CANCEL = """
place                | becomes
account              | given up; end passed_over
claim, never acted   | given up; end passed_over
claim, acted         | given up; undo: release
middle               | given up; undo: release
hand_over, not begun | given up; undo: release
hand_over, begun     | <refused verb>
undo                 | stays; look
last undo            | stays; look
release job          | given up; end incomplete
"""

SWAP = """
place                | becomes
account              | given up; end passed_over
claim, never acted   | given up; end passed_over
claim, acted         | given up; undo: quarantine
middle               | given up; undo: quarantine
hand_over, not begun | given up; undo: quarantine
*                    | <refused verb>
"""

RETRY = """
place | becomes
*     | pending, tries anew; look
"""

#: retry_from the failed step itself; another start is in test_commands.py
FROM = """
place                | becomes
account              | pending, tries anew; look
middle, never acted  | pending, tries anew; look
middle, acted        | <refused verb>
release job          | pending, tries anew; look
*                    | <refused verb>
"""

SKIP = """
place                | becomes
middle               | skipped; proceed
release job          | skipped; proceed
*                    | <refused verb>
"""

# --- the product --------------------------------------------------------------------------------------------------

PLACES = ("account", "claim", "middle", "hand_over", "undo", "last undo", "release job")
LOOKS = ("done", "not begun", "more", "wait", "unknown", "failed")
ACTS = ("took", "not taken", "no answer", "rejected")
VERBS = ("cancel", "swap", "retry", "retry from", "skip")
FACTS = (*LOOKS, *ACTS, "blind", "poisoned", *VERBS)
READINGS = ("none", "before settle", "after settle")
DEADLINES = ("ahead", "passed unread", "read after")


@dataclass(frozen=True, slots=True)
class Situation:
    """One point of the product."""

    state: StepState
    fact: str
    place: str
    repeat: Repeat
    reading: str
    deadline: str
    tries_left: bool
    acted: bool  #: before the latest act, if one was begun
    refused: bool
    hold: bool
    failure_class: FailureClass

    @property
    def begun(self) -> bool:
        """Whether an act was ever begun."""
        return self.acted or self.state in {StepState.BEGUN, StepState.ACTING, StepState.UNSURE}


def product(state: StepState, fact: str) -> Iterator[Situation]:
    """Give all situations of one cell of the first table; what can't be is left out, with its reason."""
    places = [place for place in PLACES if "undo" not in place or state is not StepState.FAILED]  # it is left behind
    times = [
        (reading, deadline)
        for reading in READINGS
        for deadline in DEADLINES
        if (reading, deadline) != ("none", "read after")  # there was no reading
        if fact in LOOKS or (reading, deadline) == ("none", "ahead")  # only a look rests on a reading
    ]
    both = (True, False)
    refused = both if state is StepState.PENDING else (False,)  # the look that follows a refusal is judged by it
    classes = tuple(FailureClass) if fact in {"failed", "rejected"} else (FailureClass.SERVER,)  # else there is none
    for place, repeat, (reading, deadline), failure_class in itertools.product(places, Repeat, times, classes):
        for tries_left, acted, was_refused, hold in itertools.product(both, both, refused, both):
            yield Situation(
                state, fact, place, repeat, reading, deadline, tries_left, acted, was_refused, hold, failure_class
            )


# --- words of the tables ------------------------------------------------------------------------------------------


def parsed(table: str) -> list[dict[str, str]]:
    lines = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


TABLES = {
    "done": parsed(DONE),
    "begin": parsed(BEGIN),
    "more": parsed(MORE),
    "judge": parsed(JUDGE),
    "wait pending": parsed(WAIT_PENDING),
    "wait acting": parsed(WAIT_ACTING),
    "unknown": parsed(UNKNOWN),
    "took": parsed(TOOK),
    "refused": parsed(REFUSED),
    "cancel": parsed(CANCEL),
    "swap": parsed(SWAP),
    "retry": parsed(RETRY),
    "from": parsed(FROM),
    "skip": parsed(SKIP),
}
ROW_TABLE = {
    (line["fact"], state.strip()): cell
    for line in parsed(ROW)
    for states, cell in line.items()
    if states != "fact"
    for state in states.split(",")
}
FAIL_TABLE = parsed(FAIL)


def columns(it: Situation) -> dict[str, tuple[str, ...]]:
    """Give what each column of a table means for *it*; more than one word where a place has two names."""
    word = {True: "yes", False: "no"}
    places = {
        "claim": "claim, acted" if it.begun else "claim, never acted",
        "middle": "middle, acted" if it.begun else "middle, never acted",
        "hand_over": "hand_over, begun" if it.begun else "hand_over, not begun",
    }
    return {
        "place": (it.place, places.get(it.place, it.place)),
        "step": (step_name(it.place),),
        "row": (it.state.value,),
        "refused": (word[it.refused],),
        "acted": (word[it.begun],),
        "act": ("later" if it.acted else "first",),
        "reading": (it.reading,),
        "repeat": (it.repeat.value,),
        "tries": ("left" if it.tries_left else "none",),
        "deadline": (it.deadline,),
        "on_failure": ("hold" if it.hold else "next",),
    }


def matching(table: list[dict[str, str]], it: Situation) -> list[dict[str, str]]:
    known = columns(it)
    return [
        line
        for line in table
        if all(cell == "*" or cell in known[column] for column, cell in line.items() if column in known)
    ]


def expected(it: Situation) -> str:
    """Read the tables."""
    cell = ROW_TABLE[it.fact, it.state.value]
    if not cell.startswith("<"):
        return cell.replace("stays", it.state.value)
    name = cell.strip("<>")
    if name == "fail":
        return expected_failure(it, it.failure_class)
    if name == "too early":
        return refused_verb(it)
    becomes = matching(TABLES[name], it)[0]["becomes"].replace("stays", it.state.value)
    if it.state is not StepState.FAILED:
        becomes = becomes.replace("given up", "cancelled")
    else:
        becomes = becomes.replace("given up", "failed")
    match becomes:
        case "<fail unknown>":
            return expected_failure(it, FailureClass.UNKNOWN)
        case "<fail exhausted>":
            return expected_failure(it, POLICIES[step_name(it.place)].exhausted)
        case "<fail lost>":
            return expected_failure(it, FailureClass.LOST)
        case "<refused verb>":
            return refused_verb(it)
        case _:
            return becomes


def expected_failure(it: Situation, failure_class: FailureClass) -> str:
    cell = matching(FAIL_TABLE, it)[0][failure_class.value]
    if cell == "put off":
        return "pending, tries anew; park"
    if cell == "over, as site":
        return "failed site; end passed_over"
    if cell == "look":  # it is another's; yet our act may take effect late, so `release` looks once more
        cell = "over" if it.fact == "not taken" and not it.acted else "release"
    ends = {
        "over": "end passed_over",
        "lost": "end lost",
        "incomplete": "end incomplete",
        "release": "undo: release",
        "quarantine": "undo: quarantine",
        "go on": "proceed",
        "hold": "hold",
    }
    return f"failed {failure_class}; {ends[cell]}"


def refused_verb(it: Situation) -> str:
    then = "hold" if it.state is StepState.FAILED else "look"
    return f"{it.state}, verb refused; {then}"


# --- a situation made real, a decision put into words -------------------------------------------------------------

READ_AT = at(1000)  #: when the reading of a look began
NOW = at(1001)
SETTLE = timedelta(seconds=300)


def step_name(place: str) -> str:
    return {
        "middle": "install_os",
        "undo": "free_domain",
        "last undo": "release",
        "release job": "close_ports",
    }.get(place, place)


@cache
def policies_of(place: str, repeat: Repeat) -> engine.Policies:
    name = step_name(place)
    return {**POLICIES, name: replace(POLICIES[name], repeat=repeat, settle=SETTLE, tries=TRIES)}


def begun_at(it: Situation) -> datetime:
    """Give the instant of the latest act: its settle time ends exactly at the reading, or a moment later."""
    return READ_AT - SETTLE + (MOMENT if it.reading == "before settle" else timedelta(0))


def deadline_at(it: Situation) -> datetime:
    return {"ahead": NOW + MOMENT, "passed unread": READ_AT + MOMENT, "read after": READ_AT}[it.deadline]


@cache
def bare_row(place: str) -> StepRow:
    match place:
        case "undo":
            return an_undo_row("free_domain", pos=9)
        case "last undo":
            return an_undo_row("release", pos=10, undoes=1)
        case "release job":
            return a_step_row("close_ports", pos=0)
        case _:
            return a_step_row(step_name(place))


def the_row(it: Situation) -> StepRow:
    earlier = T0 - timedelta(hours=1)
    tries = 1 if it.tries_left else TRIES
    return replace(
        bare_row(it.place),
        state=it.state,
        tries=tries if it.begun else 0,
        acted_at=earlier if it.acted else begun_at(it) if it.begun else None,
        begun_at=begun_at(it) if it.begun else None,
        deadline_at=deadline_at(it),
        refusals=int(it.refused),
        reason_class=FailureClass.SERVER if it.state is StepState.FAILED else None,
    )


@cache
def rows_around(place: str) -> tuple[tuple[StepRow, ...], tuple[StepRow, ...]]:
    """Give the rows before and behind the present one."""
    present = bare_row(place)
    failed = a_step_row("switch_port", state=StepState.FAILED)
    undone = an_undo_row("free_domain", pos=9, state=StepState.DONE)
    steps: tuple[StepRow, ...]
    match place:
        case "release job":
            steps = (present, StepRow(pos=1, name="quarantine"))
        case "undo":
            steps = (*a_recipe(failed), present, an_undo_row("release", pos=10, undoes=1))
        case "last undo":
            steps = (*a_recipe(failed), undone, present)
        case _:
            steps = a_recipe(present)
    return tuple(row for row in steps if row.pos < present.pos), tuple(row for row in steps if row.pos > present.pos)


@cache
def the_attempt(place: str, *, held: bool, hold: bool) -> Attempt:
    return an_attempt(
        kind=JobKind.RELEASE if place == "release job" else JobKind.OPEN,
        direction=Direction.BACK if place in {"undo", "last undo"} else Direction.FORWARD,
        state=AttemptState.HELD if held else AttemptState.RUNNING,
        pos=bare_row(place).pos,
        hold_on_failure=hold,
    )


def the_fact(it: Situation) -> Fact:
    reading_at = None if it.reading == "none" else READ_AT
    return a_fact(it.fact, it.place, it.failure_class, reading_at)


@cache
def a_fact(word: str, place: str, failure_class: FailureClass, reading_at: datetime | None) -> Fact:
    looks: dict[str, Look] = {
        "done": Done("seen"),
        "not begun": NotBegun({"rows": ["1"]}),
        "more": More({"rows": ["1", "2"]}, "one of two"),
        "wait": Wait("under way"),
        "unknown": Unknown("hard to say"),
        "failed": Failed(failure_class, "broken"),
    }
    if word in looks:
        return Looked(looks[word], NOW, reading_at)
    verbs = {"cancel": Verb.CANCEL, "swap": Verb.SWAP, "retry": Verb.RETRY, "skip": Verb.SKIP}
    facts: dict[str, Fact] = {
        "took": Took(Acted({"id": "9"}), NOW),
        "not taken": NotTaken("locked", NOW, locked=True),
        "no answer": NoAnswer("time limit", NOW),
        "rejected": Rejected(failure_class, "refused", NOW),
        "blind": Blind("unreachable", NOW),
        "poisoned": Poisoned(NOW),
        "retry from": Commanded(a_command(Verb.RETRY_FROM, step=step_name(place)), NOW),
        **{word: Commanded(a_command(verb), NOW) for word, verb in verbs.items()},
    }
    return facts[word]


def decided(it: Situation, row: StepRow) -> Decision | None:
    """Decide; None when the fact is refused as impossible."""
    before, behind = rows_around(it.place)
    attempt = the_attempt(it.place, held=it.state is StepState.FAILED, hold=it.hold)
    try:
        return decide(attempt, (*before, row, *behind), the_fact(it), policies_of(it.place, it.repeat))
    except IllegalFact:
        return None


def story(before: StepRow, decision: Decision | None) -> str:
    """Put a decision into the words of the tables."""
    if decision is None:
        return "illegal"
    after = next(row for row in decision.rows if row.pos == before.pos)
    words = [after.state.value]
    if after.state is StepState.FAILED and before.state is not StepState.FAILED:
        words = [f"failed {after.reason_class}"]
    words += _counters(before, after)
    words += ["verb refused"] if any(e.kind is EventKind.COMMAND_REFUSED for e in decision.events) else []
    return f"{', '.join(words)}; {_then(decision)}"


def _counters(before: StepRow, after: StepRow) -> list[str]:
    words = []
    anew = before.state is StepState.FAILED or (before.state in STEP_OPEN and after.outcome == "one of two")
    if after.state is StepState.PENDING and after.refusals == 0 and (anew or after.deadline_at != before.deadline_at):
        words.append("tries anew" if after.tries == 0 else "tries kept")
    elif after.state is StepState.BEGUN and anew:
        words.append("tries anew" if after.tries == 1 else "tries kept")
    elif after.tries != before.tries:
        words.append(f"{after.tries - before.tries:+d} try")
    if before.acted_at and not after.acted_at and after.state is not StepState.FAILED:
        words.append("act forgotten")
    return words


def _then(decision: Decision) -> str:
    appended = [row for row in decision.rows if row.direction is Direction.BACK and row.undoes == 1]
    if any(event.kind is EventKind.COMPENSATING for event in decision.events):
        assert decision.then is Then.PROCEED
        return f"undo: {appended[-1].name}"
    return f"end {decision.result}" if decision.then is Then.END else decision.then.value


# --- proofs -------------------------------------------------------------------------------------------------------

CELLS = [(state, fact) for state in StepState for fact in FACTS]


@pytest.mark.parametrize(("state", "fact"), CELLS, ids=[f"{state} and {fact}" for state, fact in CELLS])
def test_every_state_meets_every_fact_as_the_tables_say(state: StepState, fact: str) -> None:
    found, wrong = 0, []
    for situation in product(state, fact):
        found += 1
        row = the_row(situation)
        want, got = expected(situation), story(row, decided(situation, row))
        if want != got:
            wrong.append(f"{want!r} is right, {got!r} was decided, where {situation}")

    assert found, "the product is empty here"
    if wrong:
        pytest.fail(f"{len(wrong)} of {found}, such as\n" + "\n".join(wrong[:: 1 + len(wrong) // 3]), pytrace=False)


def test_the_tables_have_no_cell_missing() -> None:
    assert {(fact, state.value) for fact in FACTS for state in StepState} == set(ROW_TABLE)
    for state, fact in CELLS:
        cell = ROW_TABLE[fact, state.value]
        if not cell.startswith("<") or cell == "<too early>":
            continue
        table = FAIL_TABLE if cell == "<fail>" else TABLES[cell.strip("<>")]
        assert all(matching(table, situation) for situation in product(state, fact)), (state, fact)


def test_the_words_of_the_product_are_all_facts_there_are() -> None:
    some = [next(product(StepState.PENDING, fact)) for fact in FACTS]
    looks = {type(fact.outcome) for fact in map(the_fact, some) if isinstance(fact, Looked)}

    assert set(engine.Fact.__args__) == {type(the_fact(situation)) for situation in some}
    assert set(Look.__args__) == looks
    assert set(Verb) - {Verb.INTERRUPT, Verb.HOLD} == {
        fact.command.verb for fact in map(the_fact, some) if isinstance(fact, Commanded)
    }
