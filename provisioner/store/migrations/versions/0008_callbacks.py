"""
Billing hears by itself: where a panel is told, and which of its services changed since it was.

Only adds: a worker of the release before runs with it, and what it writes is told as well.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = """
CREATE TABLE callback (
    panel         text PRIMARY KEY,  -- one receiver a panel: it alone says which state is the newest
    url           text NOT NULL,
    secret_id     bigint NOT NULL REFERENCES secret,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    owner         text NOT NULL DEFAULT '',
    lease_until   timestamptz,  -- one call at a time: two could arrive in the wrong order
    taken_at      timestamptz,
    asked_at      timestamptz,  -- a message says "send" and was not answered yet
    rests_until   timestamptz,  -- it failed, or was slow: others go first
    failures      int NOT NULL DEFAULT 0,  -- in a row
    failing_since timestamptz,
    error         text NOT NULL DEFAULT '',
    sent_at       timestamptz
);

-- refers to nothing, so that an event takes no lock beyond its own row: services are never deleted, and a receiver that
-- just is must not make an event wait, or fail
CREATE TABLE callback_due (
    service_id    bigint PRIMARY KEY,  -- newer supersedes older
    panel         text NOT NULL,
    seq           bigint NOT NULL,  -- of the newest event that is to be told
    replay        bigint NOT NULL DEFAULT 0,  -- ms since 1970 of a replay, 0: told for the first time
    due_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries         int NOT NULL DEFAULT 0,
    failing_since timestamptz,
    failed_at     timestamptz  -- given up, until something new happens or it is replayed
);
-- what is next, without reading what was given up
CREATE INDEX callback_next ON callback_due (panel, due_at) WHERE failed_at IS NULL;

-- one statement in the event's own transaction; without a receiver it writes nothing
CREATE FUNCTION tell_billing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO callback_due AS d (service_id, panel, seq)
  SELECT s.id, s.panel, NEW.seq FROM service s JOIN callback c ON c.panel = s.panel WHERE s.id = NEW.service_id
      ON CONFLICT (service_id) DO UPDATE
     SET seq = excluded.seq, panel = excluded.panel, replay = 0, failed_at = NULL,
         due_at = CASE WHEN d.tries = 0 OR d.failed_at IS NOT NULL THEN excluded.due_at ELSE d.due_at END,
         tries = CASE WHEN d.failed_at IS NULL THEN d.tries ELSE 0 END,
         failing_since = CASE WHEN d.failed_at IS NULL THEN d.failing_since END;
  RETURN NULL;
END $$;
CREATE TRIGGER event_for_billing AFTER INSERT ON event
   FOR EACH ROW WHEN (NEW.service_id IS NOT NULL AND NEW.kind IN (
     'asked', 'configured', 'waiting', 'attempt_started', 'compensating', 'held', 'commanded', 'handed_over',
     'job_ended', 'secret_erased', 'person_asked', 'person_overdue'))
   EXECUTE FUNCTION tell_billing();
DROP TRIGGER event_for_people ON event;
CREATE TRIGGER event_for_people AFTER INSERT ON event
   FOR EACH ROW WHEN (NEW.kind IN ('held', 'release_incomplete', 'job_ended', 'audit_found', 'connection_restricted',
                                   'connection_paused', 'connection_healed', 'installation_halted',
                                   'person_asked', 'person_overdue', 'callback_failed'))
   EXECUTE FUNCTION tell_people();
"""


def upgrade() -> None:
    """Add everything."""
    op.execute(TABLES)


def downgrade() -> None:
    """Refuse: the truth is not thrown away."""
    raise NotImplementedError
