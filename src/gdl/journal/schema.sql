-- The journal: what was asked for, what was rented, what happened. Times are UTC, ISO 8601.
-- No secret is ever stored here: keys are files, and the journal holds their paths.

CREATE TABLE IF NOT EXISTS deployments (
    id         TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    model      TEXT NOT NULL,
    backend    TEXT NOT NULL,
    outcome    TEXT NOT NULL DEFAULT '',
    owner_pid  INTEGER NOT NULL DEFAULT 0,
    owner_mark TEXT NOT NULL DEFAULT '',
    engine     TEXT NOT NULL DEFAULT 'vllm'
);

CREATE TABLE IF NOT EXISTS events (
    deployment_id TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    at            TEXT NOT NULL,
    type          TEXT NOT NULL,
    payload       TEXT NOT NULL,
    PRIMARY KEY (deployment_id, seq)
) WITHOUT ROWID;

-- One row per rent request, written before the request goes out.
CREATE TABLE IF NOT EXISTS rentals (
    intent_id     TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    backend       TEXT NOT NULL,
    provider      TEXT NOT NULL,
    offer_id      TEXT NOT NULL,
    consumer_id   TEXT NOT NULL,
    price         REAL NOT NULL,
    requested_at  TEXT NOT NULL,
    billing       TEXT NOT NULL,
    session_id    TEXT,
    model         TEXT NOT NULL DEFAULT '',
    served_name   TEXT NOT NULL DEFAULT '',
    host          TEXT NOT NULL DEFAULT '',
    port          INTEGER NOT NULL DEFAULT 0,
    user          TEXT NOT NULL DEFAULT '',
    alias         TEXT NOT NULL DEFAULT '',
    agent_auth    INTEGER NOT NULL DEFAULT 0,
    key_file      TEXT NOT NULL DEFAULT '',
    host_key_file TEXT NOT NULL DEFAULT '',
    api_key_file  TEXT NOT NULL DEFAULT '',
    work_dir      TEXT NOT NULL DEFAULT '',
    engine_log    TEXT NOT NULL DEFAULT '',
    engine_port   INTEGER NOT NULL DEFAULT 0,
    has_gpu       INTEGER NOT NULL DEFAULT 0,
    released_at   TEXT,
    service_url   TEXT NOT NULL DEFAULT '',
    engine        TEXT NOT NULL DEFAULT 'vllm',
    seen          INTEGER NOT NULL DEFAULT 0,
    release_requested_at TEXT,
    release_requests INTEGER NOT NULL DEFAULT 0,
    release_took_s REAL NOT NULL DEFAULT 0,
    error_before  TEXT NOT NULL DEFAULT '',
    doubt         TEXT NOT NULL DEFAULT '',
    ended_in_doubt INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS rentals_by_session ON rentals (session_id);
CREATE INDEX IF NOT EXISTS rentals_by_deployment ON rentals (deployment_id);

-- Who is excluded from coming deployments. until NULL: until it is cleared.
CREATE TABLE IF NOT EXISTS exclusions (
    backend TEXT NOT NULL,
    kind    TEXT NOT NULL,
    key     TEXT NOT NULL,
    reason  TEXT NOT NULL,
    cause   TEXT NOT NULL DEFAULT '',
    scope   TEXT NOT NULL DEFAULT 'remembered',
    since   TEXT NOT NULL,
    until   TEXT,
    PRIMARY KEY (backend, kind, key)
) WITHOUT ROWID;

-- One row per benchmarked point. workload: what was asked. report: the figures, as JSON.
CREATE TABLE IF NOT EXISTS benchmarks (
    id            INTEGER PRIMARY KEY,
    at            TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    session_id    TEXT NOT NULL,
    backend       TEXT NOT NULL,
    model         TEXT NOT NULL,
    gpu           TEXT NOT NULL,
    gpu_count     INTEGER NOT NULL,
    provider      TEXT NOT NULL,
    price         REAL NOT NULL,
    workload      TEXT NOT NULL,
    best          INTEGER NOT NULL,
    report        TEXT NOT NULL,
    simulated     INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS benchmarks_by_model ON benchmarks (model, at);

-- Endpoints that can be reached from everywhere. url '': it is being made.
CREATE TABLE IF NOT EXISTS public_endpoints (
    session_id TEXT PRIMARY KEY,
    url        TEXT NOT NULL,
    since      TEXT NOT NULL
) WITHOUT ROWID;

-- What guards a rented machine; guard: as JSON.
CREATE TABLE IF NOT EXISTS guards (
    intent_id TEXT PRIMARY KEY,
    guard     TEXT NOT NULL
) WITHOUT ROWID;

-- What happened to money; entries are added, and never changed. service_at: by the backend's clock.
CREATE TABLE IF NOT EXISTS ledger (
    id            INTEGER PRIMARY KEY,
    at            TEXT NOT NULL,
    service_at    TEXT,
    kind          TEXT NOT NULL,
    backend       TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    intent_id     TEXT NOT NULL,
    session_id    TEXT,
    provider      TEXT NOT NULL,
    offer_id      TEXT NOT NULL,
    price         REAL NOT NULL,
    evidence      TEXT NOT NULL,
    traffic       REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS ledger_by_deployment ON ledger (deployment_id);

-- What a server said that it holds, beside what was predicted; one row for each server.
-- difference: of the cache, 0.1 is 10 % too many. comparison: the figures, as JSON.
CREATE TABLE IF NOT EXISTS memory_comparisons (
    deployment_id TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    at            TEXT NOT NULL,
    model         TEXT NOT NULL,
    gpu           TEXT NOT NULL,
    gpu_count     INTEGER NOT NULL,
    release       TEXT NOT NULL,
    difference    REAL NOT NULL,
    simulated     INTEGER NOT NULL,
    comparison    TEXT NOT NULL,
    PRIMARY KEY (deployment_id, attempt)
) WITHOUT ROWID;

-- What a session was to cost by the listing, for the time that it took, beside what the market
-- charged for it, in dollars. charged NULL: not known yet.
CREATE TABLE IF NOT EXISTS session_charges (
    backend          TEXT NOT NULL,
    session_id       TEXT NOT NULL,
    provider         TEXT NOT NULL,
    host             TEXT NOT NULL,
    rented_at        TEXT NOT NULL,
    released_at      TEXT NOT NULL,
    expected_rent    REAL NOT NULL,
    expected_traffic REAL NOT NULL,
    charged_rent     REAL,
    charged_traffic  REAL,
    PRIMARY KEY (backend, session_id)
) WITHOUT ROWID;

-- Volumes, written before they are asked for. volume_id NULL: whether it was made is not known.
-- gone_at: deleted, or never made.
CREATE TABLE IF NOT EXISTS volumes (
    intent_id      TEXT PRIMARY KEY,
    backend        TEXT NOT NULL,
    service_url    TEXT NOT NULL DEFAULT '',
    name           TEXT NOT NULL,
    size_gb        REAL NOT NULL,
    place          TEXT NOT NULL DEFAULT '',
    price_per_hour REAL NOT NULL DEFAULT 0,
    requested_at   TEXT NOT NULL,
    volume_id      TEXT,
    gone_at        TEXT
) WITHOUT ROWID;

-- Fleets, each with its events under its id; its replicas are deployments that name it.
CREATE TABLE IF NOT EXISTS fleets (
    id         TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    model      TEXT NOT NULL,
    backend    TEXT NOT NULL,
    outcome    TEXT NOT NULL DEFAULT '',
    owner_pid  INTEGER NOT NULL DEFAULT 0,
    owner_mark TEXT NOT NULL DEFAULT ''
);

-- What users ask of fleets that may run in another process; what: as JSON. Taken in order.
CREATE TABLE IF NOT EXISTS fleet_orders (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    fleet_id TEXT NOT NULL,
    at       TEXT NOT NULL,
    what     TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS fleet_orders_by_fleet ON fleet_orders (fleet_id, id);
