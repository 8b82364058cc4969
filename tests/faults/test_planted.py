"""
The table is a net: each of four bugs, planted once, makes cells end otherwise than they are written.

The fifth, a memo that is not committed before the act, needs a worker that dies between the two: the kill matrix
(`tests/integration/test_life_kills.py`) plants it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from provisioner.demo.postgres import EmbeddedPostgres
from tests.chaos.plants import PLANTS
from tests.faults import runner
from tests.faults.runner import Runner
from tests.faults.table import CELLS

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

#: bug → cells of which one at least must end otherwise: where a late effect is met by a second act, is a matter of time
NETS: Mapping[str, Sequence[str]] = {
    "unknown-is-not-begun": ["install-restart"],
    "no-settle": [f"{act}-late" for act in ("account", "claim", "domain", "address", "power", "install", "hand_over")],
    "lost-for-ever": ["claim-busy", "enable-busy"],
    "addresses-stay": ["address_delete-busy", "release-busy"],
}
LIMIT = 60.0  #: seconds; what nobody looks at again has no end


@pytest.mark.parametrize("bug", NETS)
def test_a_planted_bug_is_seen_in_the_table(
    bug: str, postgres: EmbeddedPostgres, template_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LIMIT", LIMIT)
    PLANTS[bug](monkeypatch.setattr)
    postgres.create_database("planted", template=template_database)
    made = Runner(postgres.url("planted"), panels=len(NETS[bug]))
    ran = made.run_cells(CELLS[name] for name in NETS[bug])
    made.close()
    postgres.drop_database("planted")

    assert [name for name in NETS[bug] if ran[name].differences]
