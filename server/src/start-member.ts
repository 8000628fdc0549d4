/**
 * A server that keeps sandboxes under the one that leads (decision 0071): it has a part of what `server.ts` has, and whatever else it is asked for the other answers.
 * With sandboxes on a cluster only; those of a machine are where the machine is.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { treesBinaryPath } from './agent/agent-binary.ts';
import { dashboardRoutes } from './api/dashboard/dashboard-routes.ts';
import { routesOf } from './api/http/app.ts';
import { sandboxIn } from './api/http/subjects.ts';
import { buildMemberApi } from './api/modal/api.ts';
import { createModboxApi } from './api/modbox/modbox-api.ts';
import { healthRoutes } from './api/operator/health-routes.ts';
import { metricsRoute } from './api/operator/metrics-route.ts';
import { createRestApi } from './api/rest/rest-api.ts';
import { AppService } from './apps/app-service.ts';
import { AccessTokens } from './auth/access-tokens.ts';
import { TokenStore } from './auth/token-store.ts';
import { FileBlobStore } from './blobs/blob-store.ts';
import { MountService } from './blobs/mount-service.ts';
import { openCallReports } from './call-reports.ts';
import type { Config } from './config/config.ts';
import { createClusterEngine } from './create-engine.ts';
import { caEnvironment } from './engines/ca-environment.ts';
import { instanceName } from './engines/oci/layout.ts';
import { SkerryError } from './errors/skerry-error.ts';
import { DefaultImage } from './images/default-image.ts';
import { ImageResolver } from './images/image-resolver.ts';
import { ImageService } from './images/image-service.ts';
import { InstanceService } from './instances/instance-service.ts';
import { POOL_SWEEP_MS } from './instances/warm-pool.ts';
import { keepAsking } from './lead.ts';
import { elsewhereOf } from './members/elsewhere.ts';
import { noPorts } from './members/no-ports.ts';
import { PeerCalls } from './members/peer-calls.ts';
import { PEER_PATIENCE_MS, PEER_PREFIX } from './members/peer-protocol.ts';
import { peerRoute } from './members/peer-route.ts';
import { MemberRegistry, newMember } from './members/registry.ts';
import { bootId } from './platform/boot-id.ts';
import { CleanupScope } from './platform/cleanup.ts';
import { roomOn } from './platform/kept-room.ts';
import { MachineRoom } from './platform/machine-room.ts';
import { memberDir } from './platform/member-dirs.ts';
import { repeat } from './platform/repeat.ts';
import type { Keepers } from './sandboxes/keepers.ts';
import { Provisioner } from './sandboxes/provisioner.ts';
import { SandboxService } from './sandboxes/sandbox-service.ts';
import { SecretService } from './secrets/secret-service.ts';
import { openVault } from './secrets/vault.ts';
import { memberLock } from './store/postgres/locks.ts';
import { openMemberStore } from './store/store.ts';
import type { Logger } from './telemetry/logger.ts';
import {
  CERTIFICATE_INTERVAL_MS,
  isSameCertificate,
  loadCertificate,
  machineNames,
} from './transport/certificate.ts';
import { RequestForwarder } from './transport/forward-requests.ts';
import type { Listener } from './transport/listener.ts';
import type { Peer } from './transport/peer-link.ts';
import { PeerSessions } from './transport/peer-sessions.ts';
import { createPort } from './transport/port.ts';
import { routeRequests } from './transport/routes.ts';
import { VERSION } from './version.ts';
import { openVolumes } from './volumes/open-volumes.ts';

export interface MemberParts {
  readonly listener: Listener;
  /** Is called before it takes what comes there. */
  readonly taking: () => void;
  /** Who leads now, as far as is known. */
  readonly leader: () => Peer | undefined;
  /** @see HandedOver */
  readonly onLost: (why: string) => void;
}

const DRAIN_MS = 2_000;
const DASHBOARD = fileURLToPath(new URL('../../web/dist', import.meta.url));
const CODE_INTERPRETER = fileURLToPath(new URL('../../images/code-interpreter', import.meta.url));

/**
 * Begins to keep sandboxes, and to take what comes to the listener.
 * @returns how to stop: the sandboxes go on, for the server that leads to take over, and the listener is left to whoever takes it next
 * @throws SkerryError `conflict` when the server that leads is of another version; `unavailable`; nothing is left behind then
 */
export async function startMember(
  config: Config,
  logger: Logger,
  { listener, leader, onLost, taking }: MemberParts,
): Promise<() => Promise<void>> {
  const { dataDir } = config;
  const now = Date.now;
  const { id, lockKey } = newMember();
  const scratch = memberDir(dataDir, id);
  const cleanup = new CleanupScope(logger);
  try {
    const store = openMemberStore(
      dataDir,
      config.databaseUrl,
      config.databasePasswordFile,
      memberLock(lockKey),
    );
    cleanup.add('store', () => store.close());
    const vault = openVault(dataDir, process.env.SKERRY_VAULT_KEY);
    const tokens = await TokenStore.open({ settings: store.settings, dataDir, vault, now });
    const names = [...config.tlsNames, ...machineNames()];
    const certificateOptions = {
      ...{ dataDir, certFile: config.tlsCertFile, keyFile: config.tlsKeyFile, names, now },
    };
    let certificate = await loadCertificate(certificateOptions);
    const say = (place: string) => store.members.put({ id, lockKey, place, sinceMs: now() });
    const sayWhere = () => {
      const { fingerprint } = certificate;
      say(JSON.stringify({ host: config.peerHost, port: listener.address.port, fingerprint }));
    };
    // Before it makes anything that somebody who does not know it would take for nobody's.
    say('');
    cleanup.add('place', () => say('')); // it has let go of its sandboxes
    cleanup.add('scratch', () => rm(scratch, { recursive: true, force: true }));

    const { counts, metrics, tracing, onCall } = await openCallReports(config, {
      ...{ auditDir: join(dataDir, 'audit', id), cleanup, logger, now },
    });
    const room = new MachineRoom(dataDir);
    const engine = await createClusterEngine(config, room, logger, { member: id });
    if (!engine) throw new SkerryError('unimplemented', 'Sandboxes of a machine are kept by its own server.');
    await engine.open();
    cleanup.add('engine', () => engine.close());
    const memory = async () => ({ availableMiB: Infinity, totalMiB: Infinity });
    const instances = new InstanceService({
      ...{ engine, logger, counts, memory },
      warmPool: config.warmPool,
    });
    cleanup.add('instances', () => instances.close());

    const apps = new AppService(store, now);
    const secrets = new SecretService(store.secrets, vault, now);
    const blobs = new FileBlobStore(join(scratch, 'blobs'), vault.deriveKey('blob-urls'), logger, now, room);
    const mounts = new MountService(store.mounts, blobs, now);
    // Sandboxes here have none.
    const volumes = openVolumes({
      ...{ dataDir: scratch, mountDir: join(scratch, 'v'), store, blobs, room, logger, now },
      treesBinary: treesBinaryPath(),
      ticketKey: vault.deriveKey('volume-urls'),
    });
    const guestCa = config.extraCaFile === '' ? {} : caEnvironment();
    const images = new ImageService({
      ...{ repository: store.images, uses: store.imageUses, instances, dataDir, config, room, logger },
      holdFiles: (files) => blobs.hold(files),
      volumes: volumes.volumeMounts,
      treesBinaryPath: treesBinaryPath(),
      caEnvironment: guestCa,
      member: id,
      clock: now,
    });
    cleanup.add('images', () => images.close());

    const key = vault.deriveKey('peers');
    const sessions = new PeerSessions({ logger });
    cleanup.add('peers', () => sessions.close());
    const forwarder = new RequestForwarder({ key, logger, patienceMs: PEER_PATIENCE_MS });
    cleanup.add('forwarder', () => forwarder.close());
    const registry = new MemberRegistry(store.members);
    const peerOf = (member: typeof id | undefined) =>
      member === undefined ? leader() : registry.find(member)?.peer;
    const keepers: Keepers = {
      self: id,
      choose: () => undefined,
      lives: (member) => registry.find(member) !== undefined,
      keeper: (member) => new PeerCalls({ sessions, key, peer: () => peerOf(member) }),
    };
    const sandboxes = new SandboxService({
      ...{
        store,
        instances,
        images,
        secrets,
        vault,
        mounts,
        blobs,
        dataDir,
        config,
        logger,
        counts,
        now,
        keepers,
      },
      volumes: volumes.volumeMounts,
      caEnvironment: guestCa,
      headerEnvironment: caEnvironment(),
      onStart: (startup) => metrics.started(startup),
      quotasOf: (tokenId) => tokens.quotasOf(tokenId),
      bootId: bootId(),
    });
    cleanup.add('sandboxes', () => sandboxes.close());

    const elsewhere = elsewhereOf({ ...{ sandboxes, forwarder, self: id, leader }, peer: peerOf });
    const parts = {
      ...{
        apps,
        sandboxes,
        secrets,
        images,
        mounts,
        blobs,
        volumes: volumes.volumes,
        tokens,
        logger,
        onCall,
        tracing,
      },
      ...{ volumeFiles: volumes.volumeFiles, volumeMounts: volumes.volumeMounts, ...noPorts },
    };
    const rpc = buildMemberApi({
      ...parts,
      sidecars: sandboxes.sidecars,
      fileSpoolDir: join(scratch, 'open-files'),
      uploadRoom: room,
      accessTokens: new AccessTokens(tokens.signingKey, now),
      answers: store.answers,
      legacyExecs: store.legacyExecs,
      elsewhere,
      now,
    });
    const http = { ...parts, auth: tokens };
    const defaultImage = new DefaultImage({ images, directory: CODE_INTERPRETER, logger });
    const resolver = new ImageResolver({ images, defaultImage });
    const provisioner = new Provisioner({
      ...{ sandboxes, apps, images: resolver, volumes: volumes.volumes },
      digestKey: () => tokens.apiKeyForToken(),
    });
    const modbox = createModboxApi({ ...http, provisioner, defaultImage });
    cleanup.add('modbox', () => modbox.close());
    const rest = createRestApi({ ...http, images: resolver, life: sandboxes });
    cleanup.add('rest', () => rest.close());
    let draining = false;
    const own = [
      ...healthRoutes({
        ...{ version: VERSION, instance: instanceName(dataDir), sandboxes: () => sandboxes.size },
        ...{ draining: () => draining, hasRuntime: () => true, hasDatabase: () => store.isAnswering() },
        room: () => roomOn(dataDir),
      }),
      metricsRoute({
        ...{ metrics, tokens, sandboxes, images, dataDir, logger },
        databaseWaits: () => store.database.waits,
      }),
      peerRoute({ sandboxes, logger }),
    ];
    const others = routesOf([modbox, rest]);
    // Who is signed in at one server is so at all.
    const page = dashboardRoutes({
      ...{ tokens, vault, instance: instanceName(dataDir), routes: others, logger, now, elsewhere },
      directory: DASHBOARD,
    });
    taking();
    const port = createPort({
      listener,
      tls: certificate,
      plaintextFrom: config.plaintextFrom,
      onRequest: routeRequests({
        rpc,
        routes: [...own, ...others, ...page],
        ...{ elsewhere, sandboxIn, logger },
      }),
      onUpgrade: (_request, socket) => socket.destroy(),
      logger,
    });
    cleanup.add('port', () => port.leave(DRAIN_MS));
    cleanup.add('calls', () => rpc.close());
    const pool = [{ name: 'warm-pool', run: () => instances.warm.sweep() }];
    cleanup.add('warm pool', repeat(POOL_SWEEP_MS, pool, logger));
    const asking = keepAsking({
      ...{ name: 'member', taken: 'another server took its sandboxes over', logger, now, onLost },
      isStill() {
        tokens.reload();
        return registry.look().some((member) => member.id === id);
      },
    });
    cleanup.add('beat', asking);
    cleanup.add('readiness', () => {
      draining = true;
    });
    const renew = async () => {
      const current = await loadCertificate(certificateOptions);
      if (isSameCertificate(current, certificate)) return;
      port.useCertificate(current);
      certificate = current;
      sayWhere();
      logger.info({ fingerprint: current.fingerprint }, 'certificate.renewed');
    };
    cleanup.add('renewal', repeat(CERTIFICATE_INTERVAL_MS, [{ name: 'certificate', run: renew }], logger));
    sayWhere();
    logger.warn({ member: id, path: PEER_PREFIX }, 'server.keeps-sandboxes');
    return async () => {
      await cleanup.run();
    };
  } catch (error) {
    await cleanup[Symbol.asyncDispose]();
    throw error;
  }
}
