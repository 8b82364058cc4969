"""
A ticket that a person closes is an answer: when each is looked at next, and which messages open one again.

Only adds: a worker of the release before runs with it, and looks at none.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

TABLES = """
ALTER TABLE ticket
    ADD read_at timestamptz,  -- when its desk is asked next whether it is closed; null: nobody looks
    ADD read_failures int NOT NULL DEFAULT 0;  -- looks in a row that came to nothing
-- what is looked at, without reading what is not
CREATE INDEX ticket_read ON ticket (read_at) WHERE read_at IS NOT NULL;
ALTER TABLE delivery ADD reopens boolean NOT NULL DEFAULT false;  -- its ticket may be closed at the desk
-- what was asked before this release is looked at, too
UPDATE ticket SET read_at = clock_timestamp()
  FROM department d
 WHERE d.id = ticket.department_id AND d.desk = 'rt' AND ticket.state = 'open' AND ticket.desk_ref <> ''
   AND ticket.matter LIKE 'remove:%';
"""


def upgrade() -> None:
    """Add everything."""
    op.execute(TABLES)


def downgrade() -> None:
    """Refuse: the truth is not thrown away."""
    raise NotImplementedError
