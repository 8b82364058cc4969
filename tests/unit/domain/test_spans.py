"""The spans of the engine stand in the order in which a lease never runs out under an act."""

from dataclasses import fields, replace
from datetime import timedelta
from itertools import pairwise

import pytest

from provisioner.domain.spans import Spans
from provisioner.errors import BadConfig

ORDER = ("call", "soft", "hard", "lease")


def test_the_production_figures_stand_in_order() -> None:
    spans = Spans()

    assert (spans.call, spans.soft, spans.hard, spans.lease) == (15, 20, 25, 30)


def test_the_short_figures_of_the_demo_are_good_too() -> None:
    Spans(call=1.5, soft=2, hard=2.5, lease=3, reconcile=0.2, observe_short=0.3)


@pytest.mark.parametrize(("small", "large"), list(pairwise(ORDER)))
@pytest.mark.parametrize("by", [0.0, 1.0])
def test_a_span_that_is_not_shorter_than_the_next_is_refused(small: str, large: str, by: float) -> None:
    with pytest.raises(BadConfig, match=f"{small} must be shorter than {large}"):
        replace(Spans(), **{small: getattr(Spans(), large) + by})


@pytest.mark.parametrize("name", [field.name for field in fields(Spans)])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_span_that_is_no_time_is_refused(name: str, value: float) -> None:
    with pytest.raises(BadConfig, match=name):
        replace(Spans(), **{name: value})  # type: ignore[arg-type]  # fields


def test_a_span_is_given_by_its_name() -> None:
    assert Spans().seconds("lease") == timedelta(seconds=30)
