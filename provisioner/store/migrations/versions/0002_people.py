"""
Who hears of trouble, which servers are kept out of sale and why, what the auditor found, and which database this is.

Only adds: a worker of the release before runs with it.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
CREATE TABLE department (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name     text NOT NULL UNIQUE,  -- connections and packages name it
    desk     text NOT NULL DEFAULT 'email' CHECK (desk IN ('email')),
    address  text NOT NULL,  -- mailbox or queue, as the desk understands it
    language text NOT NULL DEFAULT 'en'
);

ALTER TABLE connection
    ADD in_charge bigint REFERENCES department,  -- to whom its errors go
    ADD calls_failed bigint NOT NULL DEFAULT 0;  -- looks and acts that found it away or refused us, ever

CREATE TABLE ticket (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    department_id bigint NOT NULL REFERENCES department,
    connection_id bigint REFERENCES connection,
    matter        text NOT NULL,  -- what it is about, the same for every event of one trouble
    subject       text NOT NULL,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    desk_ref      text NOT NULL DEFAULT '',  -- what the desk calls it, once it was delivered
    count         int NOT NULL DEFAULT 1,  -- events that it stands for
    opened_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at     timestamptz
);
-- one matter, one message: a second failure of the same matter finds the first
CREATE UNIQUE INDEX ticket_open ON ticket (matter) WHERE state = 'open';

CREATE TABLE delivery (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id   bigint NOT NULL REFERENCES ticket ON DELETE CASCADE,
    n           int NOT NULL,  -- 1 opens, later ones follow up; the desk gets them in this order
    kind        text NOT NULL CHECK (kind IN ('open', 'comment', 'close')),
    text        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz,
    tries       int NOT NULL DEFAULT 0,
    sent_at     timestamptz,
    error       text NOT NULL DEFAULT '',
    UNIQUE (ticket_id, n)
);
-- what is to be sent, without reading what was
CREATE INDEX delivery_due ON delivery (due_at) WHERE sent_at IS NULL;

-- events that somebody outside may have to hear of: written by the event's own transaction, taken by reconcile
CREATE TABLE outbox (event_id bigint PRIMARY KEY REFERENCES event ON DELETE CASCADE);

CREATE FUNCTION tell_people() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO outbox (event_id) VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER event_for_people AFTER INSERT ON event
   FOR EACH ROW WHEN (NEW.kind IN ('held', 'release_incomplete', 'job_ended', 'audit_found', 'connection_restricted',
                                   'connection_paused', 'connection_healed', 'installation_halted'))
   EXECUTE FUNCTION tell_people();

CREATE TABLE quarantine (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id bigint NOT NULL REFERENCES connection,
    server_ref    text NOT NULL,
    claim_id      bigint NOT NULL REFERENCES claim,
    step          text NOT NULL DEFAULT '',  -- that failed, '' where a person did it
    reason_class  text,
    reason        text NOT NULL,
    by            text NOT NULL DEFAULT 'engine',
    site          boolean NOT NULL DEFAULT false,  -- the place turned out to be to blame: goes back when it heals
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    retested_at   timestamptz,  -- the engine tries once to give it back
    ended_at      timestamptz,
    ended_by      text NOT NULL DEFAULT '',
    UNIQUE (claim_id)  -- one strike a claim, however often its end is saved
);
-- a server's strikes, newest first
CREATE INDEX quarantine_server ON quarantine (connection_id, server_ref, at);
-- what a healed place gives back, without reading what waits for a person
CREATE INDEX quarantine_site ON quarantine (connection_id, step)
 WHERE site AND ended_at IS NULL AND retested_at IS NULL;

CREATE TABLE finding (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id bigint NOT NULL REFERENCES connection ON DELETE CASCADE,
    kind          text NOT NULL,
    server_ref    text NOT NULL DEFAULT '',
    key           text NOT NULL,  -- what tells two findings of one kind apart: server, address or user
    evidence      text NOT NULL,
    first_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    gone_at       timestamptz
);
-- a finding is new once
CREATE UNIQUE INDEX finding_present ON finding (connection_id, kind, key) WHERE gone_at IS NULL;

ALTER TABLE installation
    ADD timeline int NOT NULL DEFAULT 0,  -- 0: not known yet
    ADD halted text NOT NULL DEFAULT '',  -- why workers refuse to act until a person has looked
    ADD halted_at timestamptz;

ALTER TABLE job DROP CONSTRAINT job_kind_check;
ALTER TABLE job ADD CONSTRAINT job_kind_check
    CHECK (kind IN ('open', 'release', 'retest', 'quarantine', 'close', 'suspend', 'resume', 'add_address',
                    'delete_address', 'change_password', 'reinstall', 'power', 'sync'));

-- pruning: what ended long ago
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL;
-- the row that is deleted or ended finds who points at it
CREATE INDEX job_claim ON job (claim_id) WHERE claim_id IS NOT NULL;
CREATE INDEX attempt_claim ON attempt (claim_id);
CREATE INDEX address_claim ON address (claim_id);
CREATE INDEX claim_service ON claim (service_id);
CREATE INDEX idempotency_job ON idempotency (job_id);
"""


def upgrade() -> None:
    """Add everything."""
    op.execute(TABLES)


def downgrade() -> None:
    """Refuse: the truth is not thrown away."""
    raise NotImplementedError
