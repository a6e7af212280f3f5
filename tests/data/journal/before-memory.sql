-- A journal as it was before servers' memory was compared with what had been predicted.
BEGIN TRANSACTION;
CREATE TABLE benchmarks (
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
CREATE TABLE deployments (
    id         TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    model      TEXT NOT NULL,
    backend    TEXT NOT NULL,
    outcome    TEXT NOT NULL DEFAULT '',
    owner_pid  INTEGER NOT NULL DEFAULT 0,
    owner_mark TEXT NOT NULL DEFAULT '',
    engine     TEXT NOT NULL DEFAULT 'vllm'
);
INSERT INTO "deployments" VALUES('d1','2026-11-02T10:00:00+00:00','tinyllama','shopper','serving',0,'','vllm');
CREATE TABLE events (
    deployment_id TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    at            TEXT NOT NULL,
    type          TEXT NOT NULL,
    payload       TEXT NOT NULL,
    PRIMARY KEY (deployment_id, seq)
) WITHOUT ROWID;
INSERT INTO "events" VALUES('d1',1,'2026-11-02T10:00:01+00:00','deployment_planned','{"spec": {"model": "tinyllama", "backend": "shopper"}, "model_id": "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "served_name": "tinyllama"}');
INSERT INTO "events" VALUES('d1',2,'2026-11-02T10:00:02+00:00','attempt_started','{"attempt": 1, "offer_id": "o", "provider": "vastai", "gpu_name": "RTX 4090", "gpu_count": 1, "vram_gb": 24.0, "price_per_hour": 0.4}');
INSERT INTO "events" VALUES('d1',3,'2026-11-02T10:00:03+00:00','session_rented','{"attempt": 1, "session_id": "s1", "provider": "vastai", "price_per_hour": 0.4}');
INSERT INTO "events" VALUES('d1',4,'2026-11-02T10:00:04+00:00','checked','{"attempt": 1, "check": {"name": "models", "status": "passed", "detail": "tinyllama", "latency_ms": 3.0}}');
CREATE TABLE exclusions (
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
CREATE TABLE ledger (
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
    evidence      TEXT NOT NULL
);
CREATE TABLE public_endpoints (
    session_id TEXT PRIMARY KEY,
    url        TEXT NOT NULL,
    since      TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE rentals (
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
INSERT INTO "rentals" VALUES('i-1','d1',1,'shopper','vastai','o','c',0.4,'2026-11-02T10:00:02+00:00','active','s1','','tinyllama','',0,'','',0,'','','','','',0,1,NULL,'','vllm',1,NULL,0,0.0,'','',0);
CREATE INDEX rentals_by_session ON rentals (session_id);
CREATE INDEX rentals_by_deployment ON rentals (deployment_id);
CREATE INDEX benchmarks_by_model ON benchmarks (model, at);
CREATE INDEX ledger_by_deployment ON ledger (deployment_id);
COMMIT;
