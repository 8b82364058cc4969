"""
Since when an attempt is ready: how long its message lies, whatever was sent again meanwhile.

Only adds: a worker of the release before runs with it, and leaves the instant as it was. Who takes such an attempt next
thinks that its message lay longer than it did, and lets the following one lie longer before it counts as lost.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

TABLES = """
ALTER TABLE attempt ADD ready_since timestamptz NOT NULL DEFAULT now();  -- of old rows this instant, without a rewrite
ALTER TABLE attempt ALTER ready_since SET DEFAULT clock_timestamp();
"""


def upgrade() -> None:
    """Add it."""
    op.execute(TABLES)


def downgrade() -> None:
    """Refuse: the truth is not thrown away."""
    raise NotImplementedError
