"""
The tables that the engine stands on (`engine.md` §2); constraints and indexes say what they prevent.

Times are timestamptz, by the database's clock. Expand first: the code before a migration must run with it.
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE installation (
    id                int PRIMARY KEY CHECK (id = 1),  -- one row: which database this is
    name              text NOT NULL DEFAULT gen_random_uuid()::text,
    system_identifier text NOT NULL,
    database_oid      bigint NOT NULL
);

CREATE TABLE heartbeat (
    name text PRIMARY KEY,
    at   timestamptz NOT NULL,
    data jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE secret (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ciphertext bytea NOT NULL,
    key_id     text NOT NULL,
    expires_at timestamptz
);
-- finds what is due to be erased without reading the rest
CREATE INDEX secret_expiry ON secret (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE token (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE,  -- a token is revoked by name
    hash       text NOT NULL UNIQUE,  -- SHA-256; the token itself is never stored
    role       text NOT NULL CHECK (role IN ('billing', 'viewer', 'operator', 'admin')),
    panel      text NOT NULL DEFAULT '',  -- of a billing token: which panel's services it sees
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CHECK (role <> 'billing' OR panel <> '')  -- a billing token without a panel would own nothing
);

CREATE TABLE connection (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                text NOT NULL UNIQUE,  -- packages and people name it
    kind                text NOT NULL,
    location            text NOT NULL DEFAULT '',
    queue               text NOT NULL DEFAULT 'steps',
    url                 text NOT NULL,
    username            text NOT NULL,
    secret_id           bigint NOT NULL REFERENCES secret,
    tls                 jsonb NOT NULL DEFAULT '{}',
    admin_user          text NOT NULL,
    bmc_port_pattern    text NOT NULL DEFAULT '',
    state               text NOT NULL DEFAULT 'active'
                        CHECK (state IN ('active', 'restricted', 'paused', 'disabled')),
    pause_reason        text NOT NULL DEFAULT '',
    paused_by           text NOT NULL DEFAULT '' CHECK (paused_by IN ('', 'away', 'denied', 'hand')),
    paused_at           timestamptz,
    away_count          int NOT NULL DEFAULT 0,  -- looks and acts in a row that found it away
    denied_count        int NOT NULL DEFAULT 0,  -- refused logins in a row: panels lock accounts
    restricted_step     text NOT NULL DEFAULT '',
    canary_at           timestamptz,  -- when the next order may try a restricted place
    canary_seconds      double precision NOT NULL DEFAULT 0,
    failures            jsonb NOT NULL DEFAULT '{}',  -- step -> [[server, instant], ...]: the burn-through guard
    max_in_flight       int NOT NULL DEFAULT 4 CHECK (max_in_flight > 0),
    calls_per_second    double precision NOT NULL DEFAULT 0 CHECK (calls_per_second >= 0),
    revision            int NOT NULL DEFAULT 1,  -- raised by each change: drivers are cached by it
    observed_from       timestamptz,  -- start of the last whole list call: the age of every view
    observations        timestamptz[] NOT NULL DEFAULT '{}',  -- starts of the latest whole list calls
    observe_lease_until timestamptz,
    observe_owner       text,
    observe_tried_at    timestamptz,
    observe_error       text NOT NULL DEFAULT '',
    next_seq            bigint NOT NULL DEFAULT 1
);

CREATE TABLE slot (
    connection_id bigint NOT NULL REFERENCES connection ON DELETE CASCADE,
    n             int NOT NULL,
    owner         text,
    lease_until   timestamptz,
    PRIMARY KEY (connection_id, n)  -- more touches at once than max_in_flight have no row to take
);

CREATE TABLE package (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                   text NOT NULL UNIQUE,  -- billing orders by it
    kind                   text NOT NULL DEFAULT 'dedicated' CHECK (kind IN ('dedicated', 'colocation')),
    server_type            text NOT NULL,
    os_allowed             jsonb NOT NULL DEFAULT '[]',
    ipv4                   int NOT NULL DEFAULT 1 CHECK (ipv4 >= 0),
    ipv6                   int NOT NULL DEFAULT 0 CHECK (ipv6 >= 0),
    address_before_install boolean NOT NULL DEFAULT true,
    recipe_script          text NOT NULL DEFAULT '',
    probe                  text NOT NULL,
    suspend_by             text NOT NULL DEFAULT 'ports' CHECK (suspend_by IN ('ports', 'ports+disable')),
    attempts_max           int NOT NULL DEFAULT 3 CHECK (attempts_max > 0),
    on_failure             text NOT NULL DEFAULT 'next' CHECK (on_failure IN ('next', 'hold')),
    stock_wait_seconds     double precision NOT NULL CHECK (stock_wait_seconds > 0),
    disabled_at            timestamptz
);

CREATE TABLE package_connection (
    package_id    bigint NOT NULL REFERENCES package ON DELETE CASCADE,
    connection_id bigint NOT NULL REFERENCES connection,
    priority      int NOT NULL DEFAULT 0,
    PRIMARY KEY (package_id, connection_id)
);

CREATE TABLE account (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    panel            text NOT NULL,
    billing_ref      text NOT NULL,
    connection_id    bigint NOT NULL REFERENCES connection,
    login            text NOT NULL,
    panel_user_ref   text,
    created_by_us    boolean NOT NULL DEFAULT false,
    state            text NOT NULL CHECK (state IN ('creating', 'live')),
    creating_attempt bigint,
    ids_before       jsonb NOT NULL DEFAULT '[]',
    UNIQUE (panel, billing_ref, connection_id),  -- one customer, one user a DCIM
    UNIQUE (connection_id, login),  -- two customers never share one clipped login
    CHECK (state = 'creating' OR panel_user_ref IS NOT NULL)
);

CREATE TABLE service (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    panel           text NOT NULL,
    external_ref    text NOT NULL,
    account_id      bigint REFERENCES account,
    package_id      bigint NOT NULL REFERENCES package,
    package         jsonb NOT NULL,  -- snapshot of the moment of the order
    kind            text NOT NULL DEFAULT 'dedicated',
    state           text NOT NULL CHECK (state IN ('ordered', 'active', 'suspended', 'closing', 'closed', 'failed')),
    desired         text NOT NULL DEFAULT 'active' CHECK (desired IN ('active', 'suspended', 'closed')),
    suspended_by    jsonb NOT NULL DEFAULT '[]',
    customer_ref    text NOT NULL,
    login           text NOT NULL,
    hostname        text NOT NULL,
    os              text NOT NULL,
    fingerprint     jsonb NOT NULL,  -- of the order: the same again, or another one
    claim_id        bigint,
    root_secret     bigint REFERENCES secret,
    panel_secret    bigint REFERENCES secret,
    panel_password_made boolean NOT NULL DEFAULT false,  -- by us: billing may read it once
    handed_over_at  timestamptz,
    facts           jsonb NOT NULL DEFAULT '{}',  -- as last read
    held_reason     text NOT NULL DEFAULT '',
    next_seq        bigint NOT NULL DEFAULT 1,
    next_job_seq    int NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (panel, external_ref)  -- one paid thing, one service, whatever the key
);

CREATE TABLE claim (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the serial: a token above our highest says
                                                                    -- that the database went back
    connection_id bigint NOT NULL REFERENCES connection,
    server_ref    text NOT NULL,
    service_id    bigint REFERENCES service,
    state         text NOT NULL CHECK (state IN ('held', 'handed', 'releasing', 'quarantined', 'ended')),
    note_token    text NOT NULL UNIQUE,  -- two claims never recognise one note
    reason        text NOT NULL DEFAULT '',
    strikes       int NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    next_seq      bigint NOT NULL DEFAULT 1
);
-- one server is never bound twice
CREATE UNIQUE INDEX claim_live_server ON claim (connection_id, server_ref) WHERE state <> 'ended';
-- one service never holds two servers; a quarantined one does not hinder the next candidate
CREATE UNIQUE INDEX claim_live_service ON claim (service_id) WHERE state IN ('held', 'handed', 'releasing');
ALTER TABLE service ADD FOREIGN KEY (claim_id) REFERENCES claim;

CREATE TABLE job (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service_id          bigint REFERENCES service,
    claim_id            bigint REFERENCES claim,
    seq                 int NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('open', 'release')),
    params              jsonb NOT NULL DEFAULT '{}',
    state               text NOT NULL CHECK (state IN ('queued', 'running', 'interrupted', 'compensating',
                                                       'succeeded', 'failed', 'cancelled', 'superseded')),
    waits_for           text CHECK (waits_for IN ('stock', 'slot', 'job', 'hold', 'person', 'site')),
    waits_since         timestamptz,
    plan_at             timestamptz,  -- of a queued job: when planning looks next; null: not before it is woken
    plan_sent_at        timestamptz,
    stock_since         timestamptz,  -- since when it waits for a server: ends with stock_wait
    attempts_from       int NOT NULL DEFAULT 0,  -- attempts up to this one do not count (a retry counts anew)
    cancel_requested_at timestamptz,
    cancel_by           text NOT NULL DEFAULT '',
    deadline_at         timestamptz,
    reason              text NOT NULL DEFAULT '',
    created_by          text NOT NULL DEFAULT '',
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at            timestamptz,
    CHECK ((service_id IS NULL) <> (claim_id IS NULL)),  -- a job is about a service or about nobody's server
    UNIQUE (service_id, seq)  -- jobs of a service have one order
);
-- one live job a service: two jobs never pull at one server
CREATE UNIQUE INDEX job_live_service ON job (service_id) WHERE state IN ('running', 'compensating');
-- the same for a server that is nobody's
CREATE UNIQUE INDEX job_live_claim ON job (claim_id) WHERE state IN ('running', 'compensating');
-- planning reads what is due, oldest first, and nothing else
CREATE INDEX job_to_plan ON job (plan_at) WHERE state = 'queued' AND plan_at IS NOT NULL;
-- a service's jobs without reading the others'
CREATE INDEX job_service ON job (service_id);
-- lists of what is open, without reading the finished
CREATE INDEX job_open ON job (state, id) WHERE state IN ('queued', 'running', 'interrupted', 'compensating');

CREATE TABLE attempt (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id        bigint NOT NULL REFERENCES job,
    n             int NOT NULL,
    connection_id bigint REFERENCES connection,
    claim_id      bigint REFERENCES claim,
    direction     text NOT NULL DEFAULT 'forward' CHECK (direction IN ('forward', 'back')),
    state         text NOT NULL CHECK (state IN ('ready', 'running', 'waiting', 'held', 'ended')),
    pos           int NOT NULL DEFAULT 0,
    epoch         bigint NOT NULL DEFAULT 0,  -- raised by each claim of the row: the fence
    owner         text,
    lease_until   timestamptz,
    resume_at     timestamptz,  -- waiting: look then; ready: send again then
    awaits        text CHECK (awaits IN ('short', 'long')),  -- a list reading answers
    seen_from     timestamptz,  -- age of the list that it judged by: a server that changed since wakes it
    wake_distance double precision NOT NULL DEFAULT 0,  -- seconds between two sends of a ready attempt
    starved       boolean NOT NULL DEFAULT false,  -- came when no slot was free
    held_since    timestamptz,
    deliveries    int NOT NULL DEFAULT 0,
    put_off       int NOT NULL DEFAULT 0,
    root_task_id  text NOT NULL DEFAULT '',
    last_task_id  text NOT NULL DEFAULT '',
    worker        text NOT NULL DEFAULT '',
    command       jsonb,
    given_up      text,
    canary        boolean NOT NULL DEFAULT false,
    result        text,
    reason_class  text,
    reason        text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    UNIQUE (job_id, n),
    CHECK ((state = 'running') = (owner IS NOT NULL))  -- nobody works without a lease, nobody holds one idle
);
-- one live attempt a job: an order never holds two servers
CREATE UNIQUE INDEX attempt_live ON attempt (job_id) WHERE state <> 'ended';
-- reconcile: what is due by the clock; parked installs are not in it
CREATE INDEX attempt_due ON attempt (resume_at) WHERE state IN ('ready', 'waiting') AND awaits IS NULL;
-- reconcile: leases that ran out
CREATE INDEX attempt_lease ON attempt (lease_until) WHERE state = 'running';
-- observe: is anybody of this connection being touched
CREATE INDEX attempt_running ON attempt (connection_id) WHERE state = 'running';
-- observe: who of this connection waits for its list
CREATE INDEX attempt_awaits ON attempt (connection_id, awaits) WHERE awaits IS NOT NULL;
-- the save that frees a slot: who came when none was free
CREATE INDEX attempt_starved ON attempt (connection_id, resume_at) WHERE starved;
-- what stands on a connection, without reading the ended
CREATE INDEX attempt_open ON attempt (connection_id) WHERE state <> 'ended';

CREATE TABLE step (
    attempt_id   bigint NOT NULL REFERENCES attempt ON DELETE CASCADE,
    pos          int NOT NULL,
    name         text NOT NULL,
    direction    text NOT NULL,
    undoes       int,
    state        text NOT NULL CHECK (state IN ('pending', 'begun', 'acting', 'unsure', 'done', 'failed',
                                                'cancelled', 'skipped')),
    tries        int NOT NULL DEFAULT 0,
    refusals     int NOT NULL DEFAULT 0,
    sends        int NOT NULL DEFAULT 0,  -- messages sent for it: no task id is used twice
    acted_at     timestamptz,
    begun_at     timestamptz,
    arrived_at   timestamptz,
    deadline_at  timestamptz,
    ended_at     timestamptz,
    memo         jsonb NOT NULL DEFAULT '{}',
    token        jsonb NOT NULL DEFAULT '{}',
    reason_class text,
    outcome      text NOT NULL DEFAULT '',
    PRIMARY KEY (attempt_id, pos),  -- the recipe is frozen when the attempt is planned
    CHECK (state <> 'begun' OR begun_at IS NOT NULL)  -- nothing acts before its memo is committed
);

CREATE TABLE server_view (
    connection_id      bigint NOT NULL REFERENCES connection ON DELETE CASCADE,
    server_ref         text NOT NULL,
    listed             jsonb NOT NULL,  -- the row as read
    server_type        text NOT NULL,
    barred             text NOT NULL DEFAULT '',  -- why it may not be sold; '' when it may
    trouble            int NOT NULL DEFAULT 0,
    changed_from       timestamptz NOT NULL,
    gone_from          timestamptz,
    edges              jsonb NOT NULL DEFAULT '{}',  -- last rise and fall of power, power_error, install, failed
    passed_over_until  timestamptz,
    passed_over_count  int NOT NULL DEFAULT 0,
    passed_over_reason text NOT NULL DEFAULT '',
    PRIMARY KEY (connection_id, server_ref)
);
-- planning: what may be sold, by type
CREATE INDEX server_view_sellable ON server_view (connection_id, server_type) WHERE barred = '' AND gone_from IS NULL;

CREATE TABLE address (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service_id    bigint REFERENCES service,
    claim_id      bigint REFERENCES claim,
    connection_id bigint NOT NULL REFERENCES connection,
    row_ref       text NOT NULL,
    ip            text NOT NULL,
    family        text NOT NULL CHECK (family IN ('ipv4', 'ipv6')),
    netmask       text NOT NULL DEFAULT '',
    gateway       text NOT NULL DEFAULT '',
    main          boolean NOT NULL DEFAULT false,
    state         text NOT NULL CHECK (state IN ('allocating', 'live', 'dropping', 'gone'))
);
-- a live address belongs to one
CREATE UNIQUE INDEX address_live ON address (connection_id, ip) WHERE state = 'live';
CREATE INDEX address_service ON address (service_id);

CREATE TABLE idempotency (
    panel       text NOT NULL,
    key         text NOT NULL,
    fingerprint jsonb NOT NULL,
    service_id  bigint NOT NULL REFERENCES service,
    job_id      bigint NOT NULL REFERENCES job,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (panel, key)  -- the same key gives the same answer
);

CREATE TABLE event (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service_id    bigint REFERENCES service,
    claim_id      bigint REFERENCES claim,
    connection_id bigint REFERENCES connection,
    seq           bigint NOT NULL,
    job_id        bigint REFERENCES job,
    attempt_n     int,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind          text NOT NULL,
    text          text NOT NULL,
    data          jsonb NOT NULL DEFAULT '{}',
    CHECK (num_nonnulls(service_id, claim_id, connection_id) = 1),  -- an event has one timeline
    UNIQUE (service_id, seq),  -- a follower pages by it; a plain serial skips rows that commit late
    UNIQUE (claim_id, seq),
    UNIQUE (connection_id, seq)
);
-- a job's own timeline
CREATE INDEX event_job ON event (job_id, id) WHERE job_id IS NOT NULL;

-- whoever holds `GET /v1/jobs/{id}?wait=` open hears of a change
CREATE FUNCTION tell_listeners() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('job', NEW.job_id::text); RETURN NULL; END $$;
CREATE TRIGGER event_told AFTER INSERT ON event
   FOR EACH ROW WHEN (NEW.job_id IS NOT NULL) EXECUTE FUNCTION tell_listeners();

INSERT INTO installation (id, system_identifier, database_oid)
SELECT 1, (SELECT system_identifier::text FROM pg_control_system()),
       (SELECT oid FROM pg_database WHERE datname = current_database());
"""


def upgrade() -> None:
    """Create everything."""
    op.execute(TABLES)


def downgrade() -> None:
    """Refuse: the truth is not thrown away."""
    raise NotImplementedError
