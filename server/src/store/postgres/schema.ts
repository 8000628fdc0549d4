/**
 * The schema of PostgreSQL: what the migrations of SQLite (`../migrations.ts`, which say what each table is for) come to, under the same version. A test compares
 * tables, columns and indexes of both. Texts are compared by their bytes, as SQLite does, whatever language the database was made for.
 */
import { JSON_FUNCTIONS } from './json-functions.ts';

/** Which of SQLite's migrations `firstSchema` is the outcome of. */
export const FIRST_VERSION = 27;

/** By its bytes. */
export const TEXT = 'TEXT COLLATE "C"';

/** A trigger that does something for a row of `sandboxes`. */
const trigger = (name: string, when: string, work: string, row: 'OLD' | 'NEW') => `
  CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${work} RETURN ${row}; END $$;
  CREATE TRIGGER ${name} ${when} EXECUTE FUNCTION ${name}();`;

const ON_DELETE = 'AFTER DELETE ON sandboxes FOR EACH ROW';
const ON_END = "AFTER UPDATE OF state ON sandboxes FOR EACH ROW WHEN (NEW.state = 'ended')";

export const firstSchema = `
  ${JSON_FUNCTIONS}

  CREATE TABLE settings (key ${TEXT} PRIMARY KEY, value ${TEXT} NOT NULL);

  CREATE TABLE environments (
    id ${TEXT} PRIMARY KEY, name ${TEXT} NOT NULL UNIQUE, created_at_ms BIGINT NOT NULL,
    image_builder_version ${TEXT} NOT NULL, web_suffix ${TEXT} NOT NULL DEFAULT ''
  );

  CREATE TABLE apps (
    id ${TEXT} PRIMARY KEY, environment_id ${TEXT} NOT NULL REFERENCES environments(id) ON DELETE CASCADE,
    name ${TEXT}, description ${TEXT} NOT NULL, state ${TEXT} NOT NULL, tags ${TEXT} NOT NULL DEFAULT '{}',
    created_at_ms BIGINT NOT NULL, stopped_at_ms BIGINT, last_seen_ms BIGINT
  );
  CREATE UNIQUE INDEX apps_by_name ON apps(environment_id, name) WHERE name IS NOT NULL AND stopped_at_ms IS NULL;

  CREATE TABLE layers (id ${TEXT} PRIMARY KEY, created_at_ms BIGINT NOT NULL, size_bytes BIGINT NOT NULL DEFAULT 0);
  CREATE TABLE images (
    id ${TEXT} PRIMARY KEY, state ${TEXT} NOT NULL, definition_key ${TEXT}, layers ${TEXT} NOT NULL DEFAULT '[]',
    config ${TEXT} NOT NULL DEFAULT '{}', builder_version ${TEXT} NOT NULL DEFAULT '', failure ${TEXT},
    created_at_ms BIGINT NOT NULL, finished_at_ms BIGINT, last_used_at_ms BIGINT, deleted_at_ms BIGINT, expires_at_ms BIGINT,
    encrypted BIGINT NOT NULL DEFAULT 0, snapshots BIGINT NOT NULL DEFAULT 0, rebuildable BIGINT NOT NULL DEFAULT 0, base_id ${TEXT}
  );
  CREATE INDEX images_by_definition ON images(definition_key) WHERE definition_key IS NOT NULL;
  CREATE INDEX images_by_expiry ON images(expires_at_ms) WHERE expires_at_ms IS NOT NULL;
  CREATE TABLE image_steps (
    key ${TEXT} PRIMARY KEY, layer_id ${TEXT}, created_at_ms BIGINT NOT NULL, last_used_at_ms BIGINT NOT NULL DEFAULT 0
  );
  CREATE TABLE image_names (
    name ${TEXT} PRIMARY KEY, image_id ${TEXT} NOT NULL, created_at_ms BIGINT NOT NULL, updated_at_ms BIGINT NOT NULL
  );

  CREATE TABLE secrets (
    id ${TEXT} PRIMARY KEY, environment_id ${TEXT} NOT NULL, name ${TEXT}, keys ${TEXT} NOT NULL, ciphertext BYTEA NOT NULL,
    created_at_ms BIGINT NOT NULL, last_used_at_ms BIGINT, expires_at_ms BIGINT
  );
  CREATE UNIQUE INDEX secrets_by_name ON secrets(environment_id, name) WHERE name IS NOT NULL;

  CREATE TABLE mounts (id ${TEXT} PRIMARY KEY, checksum ${TEXT} NOT NULL, files ${TEXT} NOT NULL, created_at_ms BIGINT NOT NULL);
  CREATE INDEX mounts_by_checksum ON mounts(checksum);

  CREATE TABLE sandboxes (
    id ${TEXT} PRIMARY KEY, task_id ${TEXT} NOT NULL UNIQUE, app_id ${TEXT} NOT NULL, environment_id ${TEXT} NOT NULL,
    image_id ${TEXT} NOT NULL, name ${TEXT}, tags ${TEXT} NOT NULL DEFAULT '{}', state ${TEXT} NOT NULL, spec ${TEXT} NOT NULL,
    env_ciphertext BYTEA, result ${TEXT}, created_at_ms BIGINT NOT NULL UNIQUE, started_at_ms BIGINT, ended_at_ms BIGINT,
    deadline_ms BIGINT, ready_at_ms BIGINT, external_key ${TEXT}, request_key ${TEXT},
    host_id ${TEXT} GENERATED ALWAYS AS (json_extract(spec, '$.sidecarOf.sandboxId')) STORED,
    sidecar_name ${TEXT} GENERATED ALWAYS AS (json_extract(spec, '$.sidecarOf.name')) STORED,
    instance_id ${TEXT}, exit_snapshot ${TEXT}, buckets_ciphertext BYTEA, sleep ${TEXT}, token_id ${TEXT}
  );
  CREATE UNIQUE INDEX sandboxes_by_name ON sandboxes(app_id, name) WHERE name IS NOT NULL AND state != 'ended';
  CREATE UNIQUE INDEX sandboxes_by_external_key ON sandboxes(external_key) WHERE external_key IS NOT NULL AND state != 'ended';
  CREATE INDEX sandboxes_by_app ON sandboxes(app_id, created_at_ms);
  CREATE INDEX sandboxes_live ON sandboxes(state) WHERE state != 'ended';
  CREATE UNIQUE INDEX sandboxes_by_request ON sandboxes(request_key) WHERE request_key IS NOT NULL;
  CREATE UNIQUE INDEX sidecars_by_name ON sandboxes(host_id, sidecar_name) WHERE host_id IS NOT NULL AND state != 'ended';
  CREATE INDEX sidecars_by_host ON sandboxes(host_id, created_at_ms) WHERE host_id IS NOT NULL;

  CREATE TABLE processes (
    id ${TEXT} NOT NULL, task_id ${TEXT} NOT NULL, argv ${TEXT} NOT NULL, options ${TEXT} NOT NULL, state ${TEXT} NOT NULL,
    exit ${TEXT}, created_at_ms BIGINT NOT NULL, ended_at_ms BIGINT, stdin_accepted BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id, id)
  );

  -- SQLite has rowid in every table.
  CREATE TABLE sandbox_events (
    task_id ${TEXT} NOT NULL, time_ms BIGINT NOT NULL, kind ${TEXT} NOT NULL, text ${TEXT} NOT NULL,
    rowid BIGINT GENERATED ALWAYS AS IDENTITY
  );
  CREATE INDEX sandbox_events_by_task ON sandbox_events(task_id, time_ms);

  CREATE TABLE idempotency (
    key ${TEXT} PRIMARY KEY, method ${TEXT} NOT NULL, response BYTEA NOT NULL, created_at_ms BIGINT NOT NULL
  );
  CREATE INDEX idempotency_by_age ON idempotency(created_at_ms);

  CREATE TABLE legacy_execs (
    task_id ${TEXT} NOT NULL, process_id ${TEXT} NOT NULL, ends_sandbox BIGINT NOT NULL DEFAULT 0,
    input_index ${TEXT}, input_offset BIGINT, PRIMARY KEY (task_id, process_id)
  );

  CREATE TABLE life_events (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task_id ${TEXT} NOT NULL, time_ms BIGINT NOT NULL, kind ${TEXT} NOT NULL, result ${TEXT}
  );
  CREATE INDEX life_events_by_task ON life_events(task_id, seq);

  CREATE TABLE volumes (
    id ${TEXT} PRIMARY KEY, environment_id ${TEXT} NOT NULL, name ${TEXT}, protocol BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL, last_heard_ms BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0, layers ${TEXT} NOT NULL DEFAULT '[]', bytes BIGINT NOT NULL DEFAULT 0, files BIGINT NOT NULL DEFAULT 0
  );
  CREATE UNIQUE INDEX volumes_by_name ON volumes(environment_id, name) WHERE name IS NOT NULL;
  CREATE TABLE volume_blocks (
    sha256 ${TEXT} NOT NULL, holder ${TEXT} NOT NULL, path ${TEXT} NOT NULL, "offset" BIGINT NOT NULL, length BIGINT NOT NULL,
    PRIMARY KEY (holder, path, "offset")
  );
  CREATE INDEX volume_blocks_by_digest ON volume_blocks(sha256);
  CREATE TABLE volume_mounts (
    id ${TEXT} PRIMARY KEY, task_id ${TEXT} NOT NULL, volume_id ${TEXT} NOT NULL, writable BIGINT NOT NULL,
    base ${TEXT} NOT NULL, shown ${TEXT} NOT NULL, reloading ${TEXT}, first_id BIGINT,
    rowid BIGINT GENERATED ALWAYS AS IDENTITY
  );
  CREATE INDEX volume_mounts_by_task ON volume_mounts(task_id);
  CREATE INDEX volume_mounts_by_volume ON volume_mounts(volume_id);

  CREATE TABLE mounted_layers (task_id ${TEXT} PRIMARY KEY, layers ${TEXT} NOT NULL);
  CREATE TABLE task_images (task_id ${TEXT} PRIMARY KEY, image_id ${TEXT} NOT NULL);

  CREATE TABLE tunnels (
    task_id ${TEXT} NOT NULL, container_port BIGINT NOT NULL, name ${TEXT} UNIQUE, tls_port BIGINT, plain_port BIGINT,
    PRIMARY KEY (task_id, container_port)
  );
  CREATE TABLE gateways (
    task_id ${TEXT} NOT NULL, container_port BIGINT NOT NULL, name ${TEXT} UNIQUE, port BIGINT,
    PRIMARY KEY (task_id, container_port)
  );

  CREATE TABLE memory_snapshots (
    id ${TEXT} PRIMARY KEY, sandbox_id ${TEXT} NOT NULL, task_id ${TEXT} NOT NULL, image_id ${TEXT} NOT NULL, spec ${TEXT} NOT NULL,
    env_ciphertext BYTEA NOT NULL, created_at_ms BIGINT NOT NULL, expires_at_ms BIGINT NOT NULL
  );
  CREATE INDEX memory_snapshots_by_end ON memory_snapshots(expires_at_ms);

  CREATE TABLE webhook_messages (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, receiver ${TEXT} NOT NULL, id ${TEXT} NOT NULL, type ${TEXT} NOT NULL,
    body ${TEXT} NOT NULL, created_at_ms BIGINT NOT NULL
  );
  CREATE UNIQUE INDEX webhook_messages_by_receiver ON webhook_messages(receiver, id);

  ${trigger('legacy_execs_end', ON_DELETE, 'DELETE FROM legacy_execs WHERE task_id = OLD.task_id;', 'OLD')}
  ${trigger('mounted_layers_end', ON_DELETE, 'DELETE FROM mounted_layers WHERE task_id = OLD.task_id;', 'OLD')}
  ${trigger(
    'task_images_end',
    ON_DELETE,
    `UPDATE images SET last_used_at_ms = greatest(coalesce(last_used_at_ms, 0), coalesce(OLD.ended_at_ms, 0))
       WHERE id = OLD.image_id OR id = (SELECT image_id FROM task_images WHERE task_id = OLD.task_id);
     DELETE FROM task_images WHERE task_id = OLD.task_id;`,
    'OLD',
  )}
  ${trigger('tunnels_end', ON_END, 'DELETE FROM tunnels WHERE task_id = NEW.task_id;', 'NEW')}
  ${trigger('gateways_end', ON_END, 'DELETE FROM gateways WHERE task_id = NEW.task_id;', 'NEW')}
`;
