BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE api_keys (
	id VARCHAR(16) NOT NULL, 
	owner VARCHAR(64) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	scopes VARCHAR(100) NOT NULL, 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT, 
	revoked_at FLOAT, 
	PRIMARY KEY (id)
);
CREATE TABLE application_versions (
    version_id TEXT NOT NULL PRIMARY KEY,
    version_name TEXT NOT NULL UNIQUE,
    version_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL);
INSERT INTO "application_versions" VALUES('96a6353a-757d-41b3-bd17-4b098715803f','1',1795778680000,1795778680000,'progimage');
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	action VARCHAR(40) NOT NULL, 
	owner VARCHAR(64), 
	key_id VARCHAR(16), 
	address VARCHAR(64), 
	reference VARCHAR(36), 
	detail TEXT DEFAULT '{}' NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE blobs (
	sha256 VARCHAR(64) NOT NULL, 
	bytes BIGINT NOT NULL, 
	info TEXT NOT NULL, 
	stored BOOLEAN NOT NULL, 
	touched_at FLOAT NOT NULL, ladder TEXT, ladder_bytes BIGINT DEFAULT '0' NOT NULL, format VARCHAR(20) DEFAULT '' NOT NULL, checked_at FLOAT DEFAULT '0' NOT NULL, damaged BOOLEAN DEFAULT 0 NOT NULL, inspection INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (sha256)
);
CREATE TABLE dbos_migrations (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO "dbos_migrations" VALUES(125);
CREATE TABLE executors (
	id VARCHAR(64) NOT NULL, 
	seen_at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "executors" VALUES('18593-2238d732e82b4d08adaa4cb4e356060b',1.79577868369074463848e+09);
CREATE TABLE images (
	reference VARCHAR(36) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	filename TEXT, 
	uploaded_at FLOAT NOT NULL, owner VARCHAR(64) DEFAULT 'default' NOT NULL, visibility VARCHAR(10), expires_at FLOAT, deleted_at FLOAT, held BOOLEAN DEFAULT 0 NOT NULL, metadata TEXT, 
	PRIMARY KEY (reference), 
	FOREIGN KEY(sha256) REFERENCES blobs (sha256)
);
CREATE TABLE labels (
	reference VARCHAR(36) NOT NULL, 
	label VARCHAR(100) NOT NULL, 
	PRIMARY KEY (reference, label), 
	FOREIGN KEY(reference) REFERENCES images (reference) ON DELETE CASCADE
);
CREATE TABLE notifications (
    message_uuid TEXT NOT NULL DEFAULT (hex(randomblob(16))) PRIMARY KEY,
    destination_uuid TEXT NOT NULL,
    topic TEXT,
    message TEXT NOT NULL,
    created_at_epoch_ms INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000), "serialization" TEXT DEFAULT NULL, "consumed" BOOLEAN NOT NULL DEFAULT FALSE, consumed_by_function_id INTEGER,
    FOREIGN KEY (destination_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE "operation_outputs" (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    function_name TEXT NOT NULL DEFAULT '',
    output TEXT,
    error TEXT,
    child_workflow_id TEXT,
    started_at_epoch_ms INTEGER,
    completed_at_epoch_ms INTEGER,
    serialization TEXT,
    application_name TEXT DEFAULT NULL,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    PRIMARY KEY (workflow_uuid, function_id)
);
INSERT INTO "operation_outputs" VALUES('sweep-60-1',1,'attempt','{"result":{"n":1}}',NULL,NULL,1795778682633,1795778682637,'portable_json','progimage',1795778682000);
INSERT INTO "operation_outputs" VALUES('import-x~000001',1,'attempt','{"problem":{"detail":"no","status":400},"again":false}',NULL,NULL,1795778682707,1795778682710,'portable_json','progimage',1795778682000);
INSERT INTO "operation_outputs" VALUES('import-x~000000',1,'attempt','{"result":{"ok":{"url":"é"}}}',NULL,NULL,1795778682706,1795778682711,'portable_json','progimage',1795778682000);
CREATE TABLE owners (
	owner VARCHAR(64) NOT NULL, 
	images BIGINT DEFAULT '0' NOT NULL, 
	bytes BIGINT DEFAULT '0' NOT NULL, 
	max_images BIGINT, 
	max_bytes BIGINT, 
	retention_seconds BIGINT, 
	PRIMARY KEY (owner)
);
CREATE TABLE queues (
    queue_id TEXT PRIMARY KEY DEFAULT (hex(randomblob(16))),
    name TEXT NOT NULL UNIQUE,
    concurrency INTEGER,
    worker_concurrency INTEGER,
    rate_limit_max INTEGER,
    rate_limit_period_sec REAL,
    priority_enabled BOOLEAN NOT NULL DEFAULT FALSE,
    partition_queue BOOLEAN NOT NULL DEFAULT FALSE,
    polling_interval_sec REAL NOT NULL DEFAULT 1.0,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL, "partition_concurrency" INTEGER DEFAULT NULL, "partition_worker_concurrency" INTEGER DEFAULT NULL, "partition_rate_limit_max" INTEGER DEFAULT NULL, "partition_rate_limit_period_sec" REAL DEFAULT NULL);
INSERT INTO "queues" VALUES('5DDBA681EC58BB852DB3DC13B9463F5F','prerender',NULL,3,NULL,NULL,1,0,1.0,1795778680000,1795778680661,'progimage',NULL,NULL,NULL,NULL);
INSERT INTO "queues" VALUES('1DCBBD7FFD1930AD90A7139523C83D15','purge',NULL,3,NULL,NULL,1,0,1.0,1795778680000,1795778680669,'progimage',NULL,NULL,NULL,NULL);
INSERT INTO "queues" VALUES('5E0D4D7809BF9C87C347F0C9CDF14E05','import',NULL,3,NULL,NULL,1,0,1.0,1795778680000,1795778680671,'progimage',NULL,NULL,NULL,NULL);
INSERT INTO "queues" VALUES('8ACDC4FF165AD9BDE842AEAF9A764361','sweep',NULL,3,NULL,NULL,1,0,1.0,1795778680000,1795778680673,'progimage',NULL,NULL,NULL,NULL);
INSERT INTO "queues" VALUES('2B034CC85CE4584494D82565A196253E','trim',NULL,3,NULL,NULL,1,0,1.0,1795778680000,1795778680674,'progimage',NULL,NULL,NULL,NULL);
INSERT INTO "queues" VALUES('C21746796C848CD68405AFE3E0A15E1D','scrub',1,1,NULL,NULL,1,0,1.0,1795778680000,1795778680676,'progimage',NULL,NULL,NULL,NULL);
INSERT INTO "queues" VALUES('1C13C18065270D19766F3367FD528684','redescribe',1,1,NULL,NULL,1,0,1.0,1795778680000,1795778680678,'progimage',NULL,NULL,NULL,NULL);
CREATE TABLE streams (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    "offset" INTEGER NOT NULL, function_id INTEGER NOT NULL DEFAULT 0, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key, "offset"),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE used_tickets (
	id VARCHAR(36) NOT NULL, 
	expires_at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE workflow_events (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_events_history (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, function_id, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_input (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    inputs TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_input" VALUES('sweep-60-1','{"namedArgs":{},"positionalArgs":[{},{}]}',1795778680000);
INSERT INTO "workflow_input" VALUES('import-x~000000','{"namedArgs":{},"positionalArgs":[{"url":"é"},{}]}',1795778680000);
INSERT INTO "workflow_input" VALUES('import-x~000001','{"namedArgs":{},"positionalArgs":[{"fail":1},{}]}',1795778680000);
INSERT INTO "workflow_input" VALUES('import-x~000002','{"namedArgs":{},"positionalArgs":[{"slow":1},{}]}',1795778680000);
INSERT INTO "workflow_input" VALUES('prerender-y~000000','{"namedArgs":{},"positionalArgs":[{"reference":"r","renditions":["small.webp"]},{}]}',1795778685000);
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_output" VALUES('sweep-60-1','{"n":1}',NULL,1795778682000);
INSERT INTO "workflow_output" VALUES('import-x~000001',NULL,'{"name":"JobFailed","message":"no","code":400,"data":{"detail":"no","status":400}}',1795778682000);
INSERT INTO "workflow_output" VALUES('import-x~000000','{"ok":{"url":"é"}}',NULL,1795778682000);
CREATE TABLE workflow_schedules (
    schedule_id TEXT PRIMARY KEY,
    schedule_name TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_class_name TEXT,
    schedule TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'ACTIVE',
    context TEXT NOT NULL
, "last_fired_at" TEXT DEFAULT NULL, "automatic_backfill" BOOLEAN NOT NULL DEFAULT FALSE, "cron_timezone" TEXT DEFAULT NULL, "queue_name" TEXT DEFAULT NULL, "application_name" TEXT DEFAULT NULL);
CREATE TABLE workflow_status (
    workflow_uuid TEXT PRIMARY KEY,
    status TEXT,
    name TEXT,
    authenticated_user TEXT,
    assumed_role TEXT,
    authenticated_roles TEXT,
    request TEXT,
    output TEXT,
    error TEXT,
    executor_id TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    application_version TEXT,
    application_id TEXT,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    recovery_attempts INTEGER DEFAULT 0,
    queue_name TEXT,
    workflow_timeout_ms INTEGER,
    workflow_deadline_epoch_ms INTEGER,
    inputs TEXT,
    started_at_epoch_ms INTEGER,
    deduplication_id TEXT,
    priority INTEGER NOT NULL DEFAULT 0
, queue_partition_key TEXT, forked_from TEXT, "owner_xid" TEXT DEFAULT NULL, "parent_workflow_id" TEXT DEFAULT NULL, "serialization" TEXT DEFAULT NULL, "delay_until_epoch_ms" BIGINT DEFAULT NULL, "was_forked_from" BOOLEAN NOT NULL DEFAULT FALSE, "rate_limited" BOOLEAN NOT NULL DEFAULT FALSE, "completed_at" BIGINT, "attributes" TEXT, "schedule_name" TEXT, "debounce_deadline_epoch_ms" BIGINT DEFAULT NULL, "is_debounced" BOOLEAN NOT NULL DEFAULT FALSE, "application_name" TEXT DEFAULT NULL, "creator_xid" TEXT DEFAULT NULL);
INSERT INTO "workflow_status" VALUES('sweep-60-1','SUCCESS','job','',NULL,NULL,NULL,NULL,NULL,'18593-2238d732e82b4d08adaa4cb4e356060b',1795778680000,1795778682000,'1',NULL,NULL,NULL,1,'sweep',NULL,NULL,NULL,1795778682000,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,1795778682000,'null',NULL,NULL,0,'progimage','77a7eef3-bdfb-457c-968e-eadea4ad9ab2');
INSERT INTO "workflow_status" VALUES('import-x~000000','SUCCESS','job','alice',NULL,NULL,NULL,NULL,NULL,'18593-2238d732e82b4d08adaa4cb4e356060b',1795778680000,1795778682000,'1',NULL,NULL,NULL,1,'import',NULL,NULL,NULL,1795778682000,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,1795778682000,'null',NULL,NULL,0,'progimage','df98b316-0c15-40d4-b965-5f2edf737e39');
INSERT INTO "workflow_status" VALUES('import-x~000001','ERROR','job','alice',NULL,NULL,NULL,NULL,NULL,'18593-2238d732e82b4d08adaa4cb4e356060b',1795778680000,1795778682000,'1',NULL,NULL,NULL,1,'import',NULL,NULL,NULL,1795778682000,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,1795778682000,'null',NULL,NULL,0,'progimage','ea7cf68d-3bc5-48f2-b1ec-ad7f2bb09f07');
INSERT INTO "workflow_status" VALUES('import-x~000002','PENDING','job','alice',NULL,NULL,NULL,NULL,NULL,'18593-2238d732e82b4d08adaa4cb4e356060b',1795778680000,1795778682000,'1',NULL,NULL,NULL,1,'import',NULL,NULL,NULL,1795778682000,NULL,0,NULL,NULL,'513c81c6-ca52-4e5b-a2e6-f60a97b50322',NULL,'portable_json',NULL,0,0,NULL,'null',NULL,NULL,0,'progimage','5c0c37ad-e391-4df6-bd52-7cc6cbe43b0a');
INSERT INTO "workflow_status" VALUES('prerender-y~000000','ENQUEUED','job','bob',NULL,NULL,NULL,NULL,NULL,NULL,1795778685000,1795778685000,'1',NULL,NULL,NULL,0,'prerender',NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,NULL,'null',NULL,NULL,0,'progimage','1edd47be-9e8c-4f76-85a7-fe8d6e429d1e');
CREATE INDEX ix_blobs_touched_at ON blobs (touched_at);
CREATE INDEX ix_images_sha256 ON images (sha256);
CREATE INDEX ix_blobs_checked_at ON blobs (checked_at);
CREATE INDEX ix_images_owner ON images (owner, uploaded_at, reference);
CREATE INDEX ix_images_expires_at ON images (expires_at);
CREATE INDEX ix_images_deleted_at ON images (deleted_at);
CREATE INDEX ix_labels_label ON labels (label);
CREATE INDEX ix_api_keys_owner ON api_keys (owner);
CREATE INDEX ix_used_tickets_expires_at ON used_tickets (expires_at);
CREATE INDEX ix_audit_at ON audit (at);
CREATE INDEX ix_audit_reference ON audit (reference);
CREATE INDEX ix_audit_owner ON audit (owner, id);
CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER audit_stays_a_day BEFORE DELETE ON audit WHEN old.at > CAST(strftime('%s', 'now') AS INTEGER) - 86400 BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE INDEX ix_blobs_inspection ON blobs (inspection);
CREATE INDEX workflow_status_created_at_index ON workflow_status (created_at);
CREATE INDEX idx_workflow_topic ON notifications (destination_uuid, topic);
CREATE INDEX "idx_workflow_status_delayed" ON "workflow_status" ("delay_until_epoch_ms") WHERE status = 'DELAYED';
CREATE INDEX "idx_workflow_status_forked_from" ON "workflow_status" ("forked_from") WHERE "forked_from" IS NOT NULL;
CREATE INDEX "idx_workflow_status_parent_workflow_id" ON "workflow_status" ("parent_workflow_id") WHERE "parent_workflow_id" IS NOT NULL;
CREATE UNIQUE INDEX "uq_workflow_status_dedup_id" ON "workflow_status" ("queue_name", "deduplication_id") WHERE "deduplication_id" IS NOT NULL;
CREATE INDEX "idx_workflow_status_pending" ON "workflow_status" ("created_at") WHERE "status" = 'PENDING';
CREATE INDEX "idx_workflow_status_failed" ON "workflow_status" ("status", "created_at") WHERE "status" IN ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED');
CREATE INDEX "idx_workflow_status_rate_limited" ON "workflow_status" ("queue_name", "started_at_epoch_ms") WHERE "rate_limited" = TRUE;
CREATE INDEX "idx_workflow_status_completed_at" ON "workflow_status" ("completed_at") WHERE "completed_at" IS NOT NULL;
CREATE INDEX "idx_workflow_status_started_at" ON "workflow_status" ("started_at_epoch_ms") WHERE "started_at_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_workflow_status_schedule_name" ON "workflow_status" ("schedule_name") WHERE "schedule_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_owner_version"
    ON application_versions ("application_name", "version_name")
    WHERE "application_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_unclaimed_version"
    ON application_versions ("version_name")
    WHERE "application_name" IS NULL;
CREATE INDEX idx_workflow_input_retention
    ON workflow_input (retention_timestamp);
CREATE INDEX idx_workflow_output_retention
    ON workflow_output (retention_timestamp);
CREATE INDEX idx_operation_outputs_retention
    ON operation_outputs (retention_timestamp);
CREATE INDEX "idx_workflow_status_in_flight_v2" ON "workflow_status" ("queue_name", "status", "priority", "created_at", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING');
CREATE INDEX "idx_workflow_status_partition_dequeue_v3" ON "workflow_status" ("queue_name", "status", "queue_partition_key", "priority", "created_at", "workflow_uuid", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING') AND "queue_partition_key" IS NOT NULL;
CREATE INDEX "idx_operation_outputs_completed_at_function_name_v2" ON "operation_outputs" ("completed_at_epoch_ms", "function_name", "application_name");
CREATE INDEX "idx_workflow_status_deadline" ON "workflow_status" ("workflow_deadline_epoch_ms") WHERE "status" IN ('ENQUEUED', 'PENDING', 'DELAYED') AND "workflow_deadline_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_application_versions_timestamp" ON "application_versions" ("version_timestamp" DESC);
CREATE INDEX "idx_application_versions_owner_timestamp" ON "application_versions" ("application_name", "version_timestamp" DESC);
COMMIT;
