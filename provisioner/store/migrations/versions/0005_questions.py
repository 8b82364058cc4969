"""
Steps that are done by people: what they were asked, and what they answered. Colocation.

Only adds: a worker of the release before runs with it, and leaves the steps that it does not know.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
CREATE TABLE question (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attempt_id    bigint NOT NULL REFERENCES attempt ON DELETE CASCADE,
    pos           int NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('placed', 'removed')),
    department_id bigint REFERENCES department,  -- who is asked; null: nobody is in charge
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at        timestamptz NOT NULL,  -- after it the administrator in charge hears of it
    overdue       boolean NOT NULL DEFAULT false,  -- and has heard
    says          text NOT NULL DEFAULT '',  -- why the last answer did not do
    answered_at   timestamptz,
    answered_by   text NOT NULL DEFAULT '',
    UNIQUE (attempt_id, pos)  -- one step asks one question, however often it is killed
);

ALTER TABLE package ADD department_id bigint REFERENCES department;  -- in charge of what people do for it
ALTER TABLE service ADD equipment text NOT NULL DEFAULT '';  -- colocation: what the customer brings

-- one server is never bound twice; a place that waits for its server to be named is none yet
DROP INDEX claim_live_server;
CREATE UNIQUE INDEX claim_live_server ON claim (connection_id, server_ref)
 WHERE state <> 'ended' AND server_ref <> '';
-- whose is a server: asked of many at once, where the one above is not used
CREATE INDEX claim_live ON claim (connection_id, server_ref) WHERE state <> 'ended';

DROP TRIGGER event_for_people ON event;
CREATE TRIGGER event_for_people AFTER INSERT ON event
   FOR EACH ROW WHEN (NEW.kind IN ('held', 'release_incomplete', 'job_ended', 'audit_found', 'connection_restricted',
                                   'connection_paused', 'connection_healed', 'installation_halted',
                                   'person_asked', 'person_overdue'))
   EXECUTE FUNCTION tell_people();
"""


def upgrade() -> None:
    """Add everything."""
    op.execute(TABLES)


def downgrade() -> None:
    """Refuse: the truth is not thrown away."""
    raise NotImplementedError
