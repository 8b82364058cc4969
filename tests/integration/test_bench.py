"""The bench of scale still runs: a few of each, no aim asked of a busy machine but those that count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import parked
from tests.bench.house import house

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_the_bench_of_scale_gives_its_figures(state_dir: Path) -> None:
    folder = state_dir / "scale"  # a server of its own: this session's may run in the one above
    folder.mkdir(mode=0o711)
    with house(folder, None) as made:
        figures = {one.name: one for one in parked.measure(made, rounds=2, places=2, parked=40, ended=300, ready=10)}

    assert figures["list calls while all wait, a round"].values == [2, 2]
    assert figures["10 servers ready at one instant → all handed over"].median > 0
    assert figures["database"].median > 5
