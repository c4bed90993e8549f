CREATE SCHEMA dbos;
CREATE TABLE dbos.workflow_status (
    workflow_uuid text NOT NULL PRIMARY KEY,
    status text,
    name text,
    authenticated_user text,
    assumed_role text,
    authenticated_roles text,
    request text,
    output text,
    error text,
    executor_id text,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    application_version text,
    application_id text,
    class_name character varying,
    config_name character varying,
    recovery_attempts bigint,
    queue_name text,
    workflow_timeout_ms bigint,
    workflow_deadline_epoch_ms bigint,
    inputs text,
    started_at_epoch_ms bigint,
    deduplication_id text,
    priority integer NOT NULL,
    queue_partition_key text,
    forked_from text,
    owner_xid text,
    parent_workflow_id text,
    serialization text,
    delay_until_epoch_ms bigint,
    was_forked_from boolean NOT NULL,
    rate_limited boolean NOT NULL,
    completed_at bigint,
    attributes jsonb,
    schedule_name text,
    debounce_deadline_epoch_ms bigint,
    is_debounced boolean NOT NULL,
    application_name text,
    creator_xid text
);
INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user, executor_id, created_at, updated_at, application_version, recovery_attempts, queue_name, started_at_epoch_ms, priority, owner_xid, serialization, was_forked_from, rate_limited, attributes, is_debounced, application_name, creator_xid) VALUES ('import-x~000002', 'PENDING', 'job', 'alice', '24669-d7463910958147e799b03dfb07e3ac71', '1795779542966', '1795779544982', '1', '1', 'import', '1795779544982', '0', '930dd1e9-ea29-4611-afa3-806192994e2f', 'portable_json', 'false', 'false', 'null', 'false', 'progimage', 'c664924b-3374-46b7-b4d6-20d7efe60f84');
INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user, executor_id, created_at, updated_at, application_version, recovery_attempts, queue_name, started_at_epoch_ms, priority, serialization, was_forked_from, rate_limited, completed_at, attributes, is_debounced, application_name, creator_xid) VALUES ('import-x~000000', 'SUCCESS', 'job', 'alice', '24669-d7463910958147e799b03dfb07e3ac71', '1795779542966', '1795779545021', '1', '1', 'import', '1795779544982', '0', 'portable_json', 'false', 'false', '1795779545021', 'null', 'false', 'progimage', 'e4e5f5f2-2b61-4563-ba9a-420457bc0102');
INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user, executor_id, created_at, updated_at, application_version, recovery_attempts, queue_name, started_at_epoch_ms, priority, serialization, was_forked_from, rate_limited, completed_at, attributes, is_debounced, application_name, creator_xid) VALUES ('import-x~000001', 'ERROR', 'job', 'alice', '24669-d7463910958147e799b03dfb07e3ac71', '1795779542966', '1795779545024', '1', '1', 'import', '1795779544982', '0', 'portable_json', 'false', 'false', '1795779545024', 'null', 'false', 'progimage', '119cb4d6-95ca-45c3-8d3e-4b5f1a3237da');
INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user, executor_id, created_at, updated_at, application_version, recovery_attempts, queue_name, started_at_epoch_ms, priority, serialization, was_forked_from, rate_limited, completed_at, attributes, is_debounced, application_name, creator_xid) VALUES ('sweep-60-1', 'SUCCESS', 'job', '', '24669-d7463910958147e799b03dfb07e3ac71', '1795779542962', '1795779545043', '1', '1', 'sweep', '1795779545030', '0', 'portable_json', 'false', 'false', '1795779545043', 'null', 'false', 'progimage', '235d97d3-1a98-4c51-b245-8fef5384b06f');
INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user, created_at, updated_at, application_version, recovery_attempts, queue_name, priority, serialization, was_forked_from, rate_limited, attributes, is_debounced, application_name, creator_xid) VALUES ('prerender-y~000000', 'ENQUEUED', 'job', 'bob', '1795779548052', '1795779548052', '1', '0', 'prerender', '0', 'portable_json', 'false', 'false', 'null', 'false', 'progimage', '2e307e63-1e83-4c51-8824-5f2aff84632a');
CREATE TABLE dbos.workflow_input (
    workflow_uuid text NOT NULL PRIMARY KEY,
    inputs text,
    retention_timestamp bigint NOT NULL
);
INSERT INTO dbos.workflow_input (workflow_uuid, inputs, retention_timestamp) VALUES ('sweep-60-1', '{"namedArgs":{},"positionalArgs":[{},{}]}', '1795779542962');
INSERT INTO dbos.workflow_input (workflow_uuid, inputs, retention_timestamp) VALUES ('import-x~000000', '{"namedArgs":{},"positionalArgs":[{"url":"é"},{}]}', '1795779542966');
INSERT INTO dbos.workflow_input (workflow_uuid, inputs, retention_timestamp) VALUES ('import-x~000001', '{"namedArgs":{},"positionalArgs":[{"fail":1},{}]}', '1795779542966');
INSERT INTO dbos.workflow_input (workflow_uuid, inputs, retention_timestamp) VALUES ('import-x~000002', '{"namedArgs":{},"positionalArgs":[{"slow":1},{}]}', '1795779542966');
INSERT INTO dbos.workflow_input (workflow_uuid, inputs, retention_timestamp) VALUES ('prerender-y~000000', '{"namedArgs":{},"positionalArgs":[{"reference":"r","renditions":["small.webp"]},{}]}', '1795779548052');
CREATE TABLE dbos.workflow_output (
    workflow_uuid text NOT NULL PRIMARY KEY,
    output text,
    error text,
    retention_timestamp bigint NOT NULL
);
INSERT INTO dbos.workflow_output (workflow_uuid, output, retention_timestamp) VALUES ('import-x~000000', '{"ok":{"url":"é"}}', '1795779545021');
INSERT INTO dbos.workflow_output (workflow_uuid, error, retention_timestamp) VALUES ('import-x~000001', '{"name":"JobFailed","message":"no","code":400,"data":{"detail":"no","status":400}}', '1795779545024');
INSERT INTO dbos.workflow_output (workflow_uuid, output, retention_timestamp) VALUES ('sweep-60-1', '{"n":1}', '1795779545043');
CREATE TABLE dbos.operation_outputs (
    workflow_uuid text NOT NULL,
    function_id integer NOT NULL,
    function_name text NOT NULL,
    output text,
    error text,
    child_workflow_id text,
    started_at_epoch_ms bigint,
    completed_at_epoch_ms bigint,
    serialization text,
    application_name text,
    retention_timestamp bigint NOT NULL
);
INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output, started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name, retention_timestamp) VALUES ('import-x~000000', '1', 'attempt', '{"result":{"ok":{"url":"é"}}}', '1795779544997', '1795779545006', 'portable_json', 'progimage', '1795779545011');
INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output, started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name, retention_timestamp) VALUES ('import-x~000001', '1', 'attempt', '{"problem":{"detail":"no","status":400},"again":false}', '1795779544998', '1795779545006', 'portable_json', 'progimage', '1795779545018');
INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output, started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name, retention_timestamp) VALUES ('sweep-60-1', '1', 'attempt', '{"result":{"n":1}}', '1795779545036', '1795779545038', 'portable_json', 'progimage', '1795779545039');
