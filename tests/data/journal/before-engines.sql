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
    report        TEXT NOT NULL
);
CREATE TABLE deployments (
    id         TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    model      TEXT NOT NULL,
    backend    TEXT NOT NULL,
    outcome    TEXT NOT NULL DEFAULT '',
    owner_pid  INTEGER NOT NULL DEFAULT 0,
    owner_mark TEXT NOT NULL DEFAULT ''
);
INSERT INTO "deployments" VALUES('d1','2026-05-06T07:08:09+00:00','tinyllama','shopper','serving',42,'boot 17');
CREATE TABLE events (
    deployment_id TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    at            TEXT NOT NULL,
    type          TEXT NOT NULL,
    payload       TEXT NOT NULL,
    PRIMARY KEY (deployment_id, seq)
) WITHOUT ROWID;
INSERT INTO "events" VALUES('d1',1,'2026-05-06T07:08:09+00:00','deployment_planned','{"spec": {"model": "tinyllama", "backend": "shopper", "query": {"provider": null, "gpu": null, "min_vram_gb": null, "max_price": null, "gpu_count": null, "exclude_providers": ["a", "b"], "offer_id": null, "model": "tinyllama", "min_reliability": null, "min_cuda": null, "offer_ids": [], "context": null, "concurrency": null, "quantization": "", "hours": null}, "hours": 1, "max_attempts": 3, "bench": true, "after": "hold", "keep_on_failure": false, "auto_failover": true, "ask_on_failure": false, "engine_args": ["--seed", "1"], "auto_fix": null}, "model_id": "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "served_name": "tinyllama", "needed_vram_gb": 4.5}');
INSERT INTO "events" VALUES('d1',2,'2026-05-06T07:08:09+00:00','attempt_started','{"attempt": 1, "offer_id": "o-1", "provider": "vastai", "gpu_name": "RTX 3090", "gpu_count": 1, "vram_gb": 24.0, "price_per_hour": 0.1, "location": "Texas", "machine_id": ""}');
INSERT INTO "events" VALUES('d1',3,'2026-05-06T07:08:09+00:00','session_rented','{"attempt": 1, "session_id": "s-1", "provider": "vastai", "price_per_hour": 0.1, "expires_at": "2026-05-06T07:08:09+00:00", "since": "2026-05-06T07:08:09+00:00"}');
INSERT INTO "events" VALUES('d1',4,'2026-05-06T07:08:09+00:00','host_inspected','{"attempt": 1, "facts": {"os": "Linux", "arch": "x86_64", "cpu_count": 2, "ram_gib": 4.0, "disk_free_gib": 9.0, "pythons": ["3.11"], "gpus": [{"name": "RTX 3090", "memory_mib": 24576, "compute_capability": "8.6"}], "driver": "", "cuda": "", "gpu_error": "", "has_uv": false, "home": "", "user": "", "shm_mib": 0, "libc": "", "docker": "", "docker_gpus": false, "images": [], "dpkg_lock": "", "gpu_processes": [], "gpu_memory_used_mib": 0, "download_mb_s": null, "has_vllm": true, "model_gib": 2.1}}');
INSERT INTO "events" VALUES('d1',5,'2026-05-06T07:08:09+00:00','phase_changed','{"attempt": 1, "phase": "SERVING", "detail": "http://127.0.0.1:1/v1"}');
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
    service_url   TEXT NOT NULL DEFAULT ''
);
INSERT INTO "rentals" VALUES('i-1','d1',1,'shopper','vastai','o-1','gdl-tui-1',0.1,'2026-05-06T07:08:09+00:00','active','s-1','TinyLlama/TinyLlama-1.1B-Chat-v1.0','tinyllama','203.0.113.7',2222,'root','',0,'keys/i-1.pem','keys/i-1.hostkey','keys/i-1.api','/home/ann/.gdl-tui','/tmp/vllm.log',8000,1,NULL,'http://localhost:8080');
CREATE INDEX rentals_by_session ON rentals (session_id);
CREATE INDEX rentals_by_deployment ON rentals (deployment_id);
CREATE INDEX benchmarks_by_model ON benchmarks (model, at);
COMMIT;
