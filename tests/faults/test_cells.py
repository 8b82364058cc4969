"""Each cell of the table, run: one named test a cell; what ran is shared by the cells of a few faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import pytest

from provisioner.demo.postgres import EmbeddedPostgres
from tests.faults.runner import Ran, Runner
from tests.faults.table import CELLS

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

Ask = Callable[[str], Mapping[str, Ran]]
FAULTS_AT_ONCE = 3
_FAULTS = list(dict.fromkeys(cell.fault for cell in CELLS.values()))
_GROUPS: Mapping[str, int] = {fault: n // FAULTS_AT_ONCE for n, fault in enumerate(_FAULTS)}


@pytest.fixture(scope="module")
def runner(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Runner]:
    postgres.create_database("fault_table", template=template_database)
    made = Runner(postgres.url("fault_table"))
    yield made
    made.close()
    postgres.drop_database("fault_table")


@pytest.fixture(scope="module")
def ran(runner: Runner) -> Ask:
    """Give what runs the group of a fault, once."""

    @cache
    def group(number: int) -> Mapping[str, Ran]:
        return runner.run_cells(cell for cell in CELLS.values() if _GROUPS[cell.fault] == number)

    return lambda fault: group(_GROUPS[fault])


@pytest.mark.parametrize("name", [cell.name for cell in sorted(CELLS.values(), key=lambda cell: _GROUPS[cell.fault])])
def test_a_cell_ends_as_it_is_written(name: str, ran: Ask, runner: Runner) -> None:
    found = ran(CELLS[name].fault)[name]

    assert not found.differences, "\n".join([*found.differences, found.trail])
    assert runner.crashes == []
