/**
 * Schema changes of SQLite in order; the position is the version. An entry that was released is never edited. A new one needs its counterpart in `postgres/open-postgres.ts`: a test compares the
 * schemas.
 */
export const migrations: readonly string[] = [
  /* 1: the first schema */ `
  CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

  CREATE TABLE environments (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at_ms INTEGER NOT NULL,
    image_builder_version TEXT NOT NULL, web_suffix TEXT NOT NULL DEFAULT ''
  ) STRICT;

  -- state: initializing | ephemeral | detached | deployed | stopped
  CREATE TABLE apps (
    id TEXT PRIMARY KEY, environment_id TEXT NOT NULL REFERENCES environments(id) ON DELETE CASCADE,
    name TEXT, description TEXT NOT NULL, state TEXT NOT NULL, tags TEXT NOT NULL DEFAULT '{}',
    created_at_ms INTEGER NOT NULL, stopped_at_ms INTEGER, last_seen_ms INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX apps_by_name ON apps(environment_id, name) WHERE name IS NOT NULL AND stopped_at_ms IS NULL;

  CREATE TABLE layers (id TEXT PRIMARY KEY, created_at_ms INTEGER NOT NULL, size_bytes INTEGER NOT NULL DEFAULT 0) STRICT;
  -- state: building | ready | failed. layers and config are JSON; definition_key finds the finished image of a definition.
  CREATE TABLE images (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, definition_key TEXT, layers TEXT NOT NULL DEFAULT '[]',
    config TEXT NOT NULL DEFAULT '{}', builder_version TEXT NOT NULL DEFAULT '', failure TEXT,
    created_at_ms INTEGER NOT NULL, finished_at_ms INTEGER, last_used_at_ms INTEGER
  ) STRICT;
  CREATE INDEX images_by_definition ON images(definition_key) WHERE definition_key IS NOT NULL;
  -- The step cache: parent chain + instruction + inputs -> the layer it made.
  CREATE TABLE image_steps (key TEXT PRIMARY KEY, layer_id TEXT, config TEXT NOT NULL, created_at_ms INTEGER NOT NULL) STRICT;
  CREATE TABLE image_names (
    name TEXT PRIMARY KEY, image_id TEXT NOT NULL, created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL
  ) STRICT;

  -- env values of named secrets are encrypted (secrets/vault.ts); keys are listed in clear.
  CREATE TABLE secrets (
    id TEXT PRIMARY KEY, environment_id TEXT NOT NULL, name TEXT, keys TEXT NOT NULL, ciphertext BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL, last_used_at_ms INTEGER, expires_at_ms INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX secrets_by_name ON secrets(environment_id, name) WHERE name IS NOT NULL;

  -- Files of the Python client's mounts; contents are in the blob store under their SHA-256.
  CREATE TABLE mounts (id TEXT PRIMARY KEY, checksum TEXT NOT NULL, files TEXT NOT NULL, created_at_ms INTEGER NOT NULL) STRICT;
  CREATE INDEX mounts_by_checksum ON mounts(checksum);

  -- state: created | starting | running | stopping | ended. spec and result are JSON without secret values; env_ciphertext holds the
  -- environment (with secrets) of its processes, encrypted, for as long as it runs.
  CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY, task_id TEXT NOT NULL UNIQUE, app_id TEXT NOT NULL, environment_id TEXT NOT NULL,
    image_id TEXT NOT NULL, name TEXT, tags TEXT NOT NULL DEFAULT '{}', state TEXT NOT NULL, spec TEXT NOT NULL,
    env_ciphertext BLOB, result TEXT, created_at_ms INTEGER NOT NULL UNIQUE, started_at_ms INTEGER, ended_at_ms INTEGER,
    deadline_ms INTEGER, ready_at_ms INTEGER, external_key TEXT
  ) STRICT;
  CREATE UNIQUE INDEX sandboxes_by_name ON sandboxes(app_id, name) WHERE name IS NOT NULL AND state != 'ended';
  CREATE UNIQUE INDEX sandboxes_by_external_key ON sandboxes(external_key) WHERE external_key IS NOT NULL AND state != 'ended';
  CREATE INDEX sandboxes_by_app ON sandboxes(app_id, created_at_ms);
  CREATE INDEX sandboxes_live ON sandboxes(state) WHERE state != 'ended';

  -- One exec. exit is JSON {kind,value,timedOut}; output is in files named after the id.
  CREATE TABLE processes (
    id TEXT NOT NULL, task_id TEXT NOT NULL, argv TEXT NOT NULL, options TEXT NOT NULL, state TEXT NOT NULL,
    exit TEXT, created_at_ms INTEGER NOT NULL, ended_at_ms INTEGER,
    PRIMARY KEY (task_id, id)
  ) STRICT;

  -- What a sandbox's log says: entrypoint output is in files, this is what Skerry itself has to say (verbose, bounds, deadlines).
  CREATE TABLE sandbox_events (
    task_id TEXT NOT NULL, time_ms INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL
  ) STRICT;
  CREATE INDEX sandbox_events_by_task ON sandbox_events(task_id, time_ms);

  -- Answers of calls with an idempotency key, so that a repeat, also after a restart, has its effect once.
  CREATE TABLE idempotency (
    key TEXT PRIMARY KEY, method TEXT NOT NULL, response BLOB NOT NULL, created_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX idempotency_by_age ON idempotency(created_at_ms);
  `,
  /* 2: deleted images stay until no sandbox runs on them; a step's result is only its layer */ `
  ALTER TABLE images ADD COLUMN deleted_at_ms INTEGER;
  ALTER TABLE image_steps DROP COLUMN config;
  `,
  /* 3: a create whose answer was lost with the server finds what it made */ `
  ALTER TABLE sandboxes ADD COLUMN request_key TEXT;
  CREATE UNIQUE INDEX sandboxes_by_request ON sandboxes(request_key) WHERE request_key IS NOT NULL;
  `,
  /* 4: a sidecar is a row of its own that names the sandbox it belongs to */ `
  ALTER TABLE sandboxes ADD COLUMN host_id TEXT AS (json_extract(spec, '$.sidecarOf.sandboxId')) VIRTUAL;
  ALTER TABLE sandboxes ADD COLUMN sidecar_name TEXT AS (json_extract(spec, '$.sidecarOf.name')) VIRTUAL;
  CREATE UNIQUE INDEX sidecars_by_name ON sandboxes(host_id, sidecar_name) WHERE host_id IS NOT NULL AND state != 'ended';
  CREATE INDEX sidecars_by_host ON sandboxes(host_id, created_at_ms) WHERE host_id IS NOT NULL;
  `,
  /* 5: a repeated write to a process that has ended since is told from a new one */ `
  ALTER TABLE processes ADD COLUMN stdin_accepted INTEGER NOT NULL DEFAULT 0;
  `,
  /* 6: execs of older clients: numbered input, and sandboxes that end with one, also after a restart */ `
  CREATE TABLE legacy_execs (
    task_id TEXT NOT NULL, process_id TEXT NOT NULL, ends_sandbox INTEGER NOT NULL DEFAULT 0,
    input_index TEXT, input_offset INTEGER, PRIMARY KEY (task_id, process_id)
  ) STRICT;
  CREATE TRIGGER legacy_execs_end AFTER DELETE ON sandboxes BEGIN
    DELETE FROM legacy_execs WHERE task_id = OLD.task_id;
  END;
  `,
  /* 7: what happened to a sandbox, written together with its row; kind: a state, placed, or ready */ `
  CREATE TABLE life_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, time_ms INTEGER NOT NULL, kind TEXT NOT NULL, result TEXT
  ) STRICT;
  CREATE INDEX life_events_by_task ON life_events(task_id, seq);
  `,
  /* 8: volumes; what they hold is a stack of layers, JSON. Where the blocks of uploaded files are, so that none is sent twice */ `
  CREATE TABLE volumes (
    id TEXT PRIMARY KEY, environment_id TEXT NOT NULL, name TEXT, protocol INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL, last_heard_ms INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0, layers TEXT NOT NULL DEFAULT '[]', bytes INTEGER NOT NULL DEFAULT 0, files INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE UNIQUE INDEX volumes_by_name ON volumes(environment_id, name) WHERE name IS NOT NULL;
  CREATE TABLE volume_blocks (
    sha256 TEXT NOT NULL, holder TEXT NOT NULL, path TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY (holder, path, offset)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX volume_blocks_by_digest ON volume_blocks(sha256);
  `,
  /* 9: a sandbox names what it runs in; before, that had its task's id, and what runs on is adopted under it */ `
  ALTER TABLE sandboxes ADD COLUMN instance_id TEXT;
  UPDATE sandboxes SET instance_id = task_id WHERE state NOT IN ('created', 'ended');
  `,
  /* 10: snapshots live for a time that was asked for */ `
  ALTER TABLE images ADD COLUMN expires_at_ms INTEGER;
  CREATE INDEX images_by_expiry ON images(expires_at_ms) WHERE expires_at_ms IS NOT NULL;
  `,
  /* 11: volumes in running sandboxes: what each was made over and what it shows, JSON */ `
  CREATE TABLE volume_mounts (
    id TEXT PRIMARY KEY, task_id TEXT NOT NULL, volume_id TEXT NOT NULL, writable INTEGER NOT NULL,
    base TEXT NOT NULL, shown TEXT NOT NULL
  ) STRICT;
  CREATE INDEX volume_mounts_by_task ON volume_mounts(task_id);
  CREATE INDEX volume_mounts_by_volume ON volume_mounts(volume_id);
  `,
  /* 12: layers of images that are mounted in sandboxes, JSON */ `
  CREATE TABLE mounted_layers (task_id TEXT PRIMARY KEY, layers TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TRIGGER mounted_layers_end AFTER DELETE ON sandboxes BEGIN
    DELETE FROM mounted_layers WHERE task_id = OLD.task_id;
  END;
  `,
  /* 13: what a reload under way brings a volume in a sandbox to, JSON: a server that comes back tells it from the sandbox's own writes */ `
  ALTER TABLE volume_mounts ADD COLUMN reloading TEXT;
  `,
  /* 14: images whose layer opens only with a key of their caller's */ `
  ALTER TABLE images ADD COLUMN encrypted INTEGER NOT NULL DEFAULT 0;
  `,
  /* 15: what became of the snapshot of a sandbox's end, JSON */ `
  ALTER TABLE sandboxes ADD COLUMN exit_snapshot TEXT;
  `,
  /* 16: how many of an image's layers, from the top, snapshots made */ `
  ALTER TABLE images ADD COLUMN snapshots INTEGER NOT NULL DEFAULT 0;
  `,
  /* 17: what a collection must know: which images can be made again, and when what was used last. Of what there is already nobody knows that: it counts as used now.
     An image that a sandbox runs on is the one with the files that were put into it, which its row does not name */ `
  ALTER TABLE images ADD COLUMN rebuildable INTEGER NOT NULL DEFAULT 0;
  UPDATE images SET rebuildable = 1 WHERE definition_key IS NOT NULL;
  UPDATE images SET last_used_at_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER);
  ALTER TABLE image_steps ADD COLUMN last_used_at_ms INTEGER NOT NULL DEFAULT 0;
  UPDATE image_steps SET last_used_at_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER);
  CREATE TABLE task_images (task_id TEXT PRIMARY KEY, image_id TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TRIGGER task_images_end AFTER DELETE ON sandboxes BEGIN
    UPDATE images SET last_used_at_ms = max(coalesce(last_used_at_ms, 0), coalesce(OLD.ended_at_ms, 0))
      WHERE id = OLD.image_id OR id = (SELECT image_id FROM task_images WHERE task_id = OLD.task_id);
    DELETE FROM task_images WHERE task_id = OLD.task_id;
  END;
  `,
  /* 18: tunnels of sandboxes that have not ended: under which name or at which ports each is reached */ `
  CREATE TABLE tunnels (
    task_id TEXT NOT NULL, container_port INTEGER NOT NULL, name TEXT UNIQUE, tls_port INTEGER, plain_port INTEGER,
    PRIMARY KEY (task_id, container_port)
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER tunnels_end AFTER UPDATE OF state ON sandboxes WHEN NEW.state = 'ended' BEGIN
    DELETE FROM tunnels WHERE task_id = NEW.task_id;
  END;
  `,
  /* 19: gateways of sandboxes that have not ended: under which name or at which port each is reached */ `
  CREATE TABLE gateways (
    task_id TEXT NOT NULL, container_port INTEGER NOT NULL, name TEXT UNIQUE, port INTEGER,
    PRIMARY KEY (task_id, container_port)
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER gateways_end AFTER UPDATE OF state ON sandboxes WHEN NEW.state = 'ended' BEGIN
    DELETE FROM gateways WHERE task_id = NEW.task_id;
  END;
  `,
  /* 20: buckets of a sandbox with their keys, sealed, until it ended */ `
  ALTER TABLE sandboxes ADD COLUMN buckets_ciphertext BLOB;
  `,
  /* 21: snapshots of sandboxes' memory, with what those are to be that go on from them, JSON, and their environment, sealed */ `
  CREATE TABLE memory_snapshots (
    id TEXT PRIMARY KEY, sandbox_id TEXT NOT NULL, task_id TEXT NOT NULL, image_id TEXT NOT NULL, spec TEXT NOT NULL,
    env_ciphertext BLOB NOT NULL, created_at_ms INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX memory_snapshots_by_end ON memory_snapshots(expires_at_ms);
  `,
  /* 22: what id 0 of a sandbox's own users is on the machine, with whose ids it sees a volume; none where they are the machine's */ `
  ALTER TABLE volume_mounts ADD COLUMN first_id INTEGER;
  `,
  /* 23: what an image was built on, where somebody built that here. Of what there is already nobody knows it */ `
  ALTER TABLE images ADD COLUMN base_id TEXT;
  `,
  /* 24: what a suspended sandbox wakes from, and what its files go on from since then, JSON */ `
  ALTER TABLE sandboxes ADD COLUMN sleep TEXT;
  `,
  /* 25: an image that names no signal to stop with is told from one that names the usual one; before, both had that. */ `
  UPDATE images SET config = json_remove(config, '$.stopSignal') WHERE json_extract(config, '$.stopSignal') = 'SIGTERM';
  `,
  /* 26: the token that a sandbox was made with, whose quotas it counts for. Of what there is already nobody knows it */ `
  ALTER TABLE sandboxes ADD COLUMN token_id TEXT;
  `,
  /* 27: messages that wait for addresses of the operator's, by a digest of each */ `
  CREATE TABLE webhook_messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, receiver TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL, created_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX webhook_messages_by_receiver ON webhook_messages(receiver, id);
  `,
  /* 28: which of several servers keeps a sandbox, where that is not the one that leads, and where these are */ `
  ALTER TABLE sandboxes ADD COLUMN member_id TEXT;
  CREATE TABLE members (id TEXT PRIMARY KEY, lock_key INTEGER NOT NULL UNIQUE, place TEXT NOT NULL, since_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  `,
];
