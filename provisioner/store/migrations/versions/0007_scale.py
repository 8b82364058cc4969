"""
Indexes without which a statement reads more the more has ended, and the pace that all processes keep together.

Only adds: a worker of the release before runs with it.
"""

from alembic import op

revision = "0007"
down_revision = "0005"

TABLES = """
-- a trouble that comes back looks for its last ticket: closed ones are kept for ever
CREATE INDEX ticket_matter ON ticket (matter, closed_at);
-- a secret that is erased is looked for in every row that could name it, by us and by the foreign keys
CREATE INDEX service_root_secret ON service (root_secret) WHERE root_secret IS NOT NULL;
CREATE INDEX service_panel_secret ON service (panel_secret) WHERE panel_secret IS NOT NULL;
CREATE INDEX job_secret ON job (secret_id) WHERE secret_id IS NOT NULL;
-- servers that a step has put out of sale: history is kept for ever
CREATE INDEX quarantine_open ON quarantine (connection_id, step) WHERE ended_at IS NULL;
-- when the next call to a connection may start; in no log, so that no call waits for a disk: lost by a crash, and then
-- nobody waits
CREATE UNLOGGED TABLE pace (
    connection_id bigint PRIMARY KEY REFERENCES connection ON DELETE CASCADE,
    free_at       timestamptz NOT NULL
);
"""


def upgrade() -> None:
    """Add everything."""
    op.execute(TABLES)


def downgrade() -> None:
    """Refuse: the truth is not thrown away."""
    raise NotImplementedError
