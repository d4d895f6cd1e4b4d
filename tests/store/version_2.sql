-- A store of version 2, as the program of that version wrote it: `sqlite3 line.db .dump`, in an order that PostgreSQL takes too.
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE run (
    id VARCHAR(32) NOT NULL,
    started DATETIME NOT NULL,
    ended DATETIME,
    bundle_sha256 VARCHAR(64) NOT NULL,
    bundle TEXT NOT NULL,
    source TEXT NOT NULL,
    lineside TEXT NOT NULL,
    settings JSON NOT NULL,
    CONSTRAINT pk_run PRIMARY KEY (id)
);
INSERT INTO "run" VALUES('rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr','2026-11-22 13:00:00.123456','2026-11-22 13:00:00.123456','abababababababababababababababababababababababababababababababab','nuts.bundle','nuts:','0.1.0','{"deadline_ms": 20.0}');
CREATE TABLE inspection (
    id VARCHAR(32) NOT NULL,
    run_id VARCHAR(32) NOT NULL,
    sequence INTEGER NOT NULL,
    part_id TEXT NOT NULL,
    name TEXT NOT NULL,
    sha256 VARCHAR(64),
    label TEXT,
    score FLOAT,
    scores JSON,
    margin FLOAT,
    verdict VARCHAR(6) NOT NULL,
    reason VARCHAR(16) NOT NULL,
    detail TEXT NOT NULL,
    truth TEXT,
    captured DATETIME NOT NULL,
    decided DATETIME NOT NULL,
    decode_ms FLOAT,
    infer_ms FLOAT,
    decide_ms FLOAT,
    total_ms FLOAT NOT NULL,
    CONSTRAINT pk_inspection PRIMARY KEY (id),
    CONSTRAINT uq_inspection_run_id_sequence UNIQUE (run_id, sequence),
    CONSTRAINT fk_inspection_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "inspection" VALUES('72303030000000000000000000000001','rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr',1,'1','a
''ä.png','abababababababababababababababababababababababababababababababab','good',0.9,'{"bad": 0.1, "good": 0.9}',2.2,'accept','decided','',NULL,'2026-11-22 13:00:00.123456','2026-11-22 13:00:01.123456',0.1,2.0,NULL,2.5);
INSERT INTO "inspection" VALUES('72303030000000000000000000000002','rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr',2,'2','a
''ä.png','abababababababababababababababababababababababababababababababab','good',0.9,'{"bad": 0.1, "good": 0.9}',NULL,'accept','decided','x',NULL,'2026-11-22 13:00:00.123456','2026-11-22 13:00:02.123456',0.1,2.0,NULL,2.5);
CREATE TABLE anchor (
    place BIGINT NOT NULL,
    hash VARCHAR(64) NOT NULL,
    at DATETIME NOT NULL,
    inspections BIGINT NOT NULL,
    CONSTRAINT pk_anchor PRIMARY KEY (place)
);
CREATE TABLE sink (
    "key" TEXT NOT NULL,
    last BIGINT NOT NULL,
    CONSTRAINT pk_sink PRIMARY KEY ("key")
);
INSERT INTO "sink" VALUES('mqtt://b/t',2);
CREATE TABLE chain (
    place BIGINT NOT NULL,
    inspection_id VARCHAR(32) NOT NULL,
    hash VARCHAR(64) NOT NULL,
    CONSTRAINT pk_chain PRIMARY KEY (place),
    CONSTRAINT uq_chain_inspection_id UNIQUE (inspection_id),
    CONSTRAINT fk_chain_inspection_id FOREIGN KEY(inspection_id) REFERENCES inspection (id)
);
INSERT INTO "chain" VALUES(1,'72303030000000000000000000000001','3da7c884f314aee295813485b55bf37a547b68e466889efb348c679fb0d99740');
INSERT INTO "chain" VALUES(2,'72303030000000000000000000000002','3ebdde55dd3d099b39736a3cc0a3020ea6ebeda54628c2bdb713c7e8427d3cb8');
CREATE TABLE outbox (
    sink TEXT NOT NULL,
    number BIGINT NOT NULL,
    inspection_id VARCHAR(32) NOT NULL,
    closed DATETIME,
    CONSTRAINT pk_outbox PRIMARY KEY (sink, number),
    CONSTRAINT uq_outbox_sink_inspection_id UNIQUE (sink, inspection_id),
    CONSTRAINT fk_outbox_sink FOREIGN KEY(sink) REFERENCES sink ("key"),
    CONSTRAINT fk_outbox_inspection_id FOREIGN KEY(inspection_id) REFERENCES inspection (id)
);
INSERT INTO "outbox" VALUES('mqtt://b/t',1,'72303030000000000000000000000001',NULL);
INSERT INTO "outbox" VALUES('mqtt://b/t',2,'72303030000000000000000000000002',NULL);
CREATE INDEX ix_inspection_decided ON inspection (decided);
CREATE INDEX ix_outbox_open ON outbox (sink, number) WHERE closed IS NULL;
CREATE INDEX ix_outbox_inspection_id ON outbox (inspection_id);
