"""
What a service may be asked after its hand-over: jobs with a secret of their own, and holds.

Only adds: a worker of the release before runs with it.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
ALTER TABLE job
    ADD secret_id bigint REFERENCES secret,  -- a new password: erased when the job is over
    ADD held_reason text NOT NULL DEFAULT '';  -- why a person, or the blast guard, lets it wait
ALTER TABLE package ADD held_reason text NOT NULL DEFAULT '';  -- no job of it is planned meanwhile
ALTER TABLE connection ADD held_reason text NOT NULL DEFAULT '';
-- the blast guard: what one caller asked for within the hour
CREATE INDEX job_recent ON job (created_by, created_at) WHERE kind IN ('close', 'reinstall', 'suspend');
"""


def upgrade() -> None:
    """Add everything."""
    op.execute(TABLES)


def downgrade() -> None:
    """Refuse: the truth is not thrown away."""
    raise NotImplementedError
