/** Builds the parts and puts them together; `serve.ts` is the process around it. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { treesBinaryPath } from './agent/agent-binary.ts';
import { dashboardRoutes } from './api/dashboard/dashboard-routes.ts';
import { routesOf } from './api/http/app.ts';
import { sandboxIn } from './api/http/subjects.ts';
import { mcpRoute } from './api/mcp/mcp-route.ts';
import { buildModalApi } from './api/modal/api.ts';
import { blobRoute } from './api/modal/control-plane/blobs.ts';
import { volumeRoute } from './api/modal/control-plane/volume-files.ts';
import { createModboxApi } from './api/modbox/modbox-api.ts';
import { backupRoute } from './api/operator/backup-route.ts';
import { checkpointRoute } from './api/operator/checkpoint-route.ts';
import { checksRoute } from './api/operator/checks-route.ts';
import { diskRoute } from './api/operator/disk-route.ts';
import { environmentRoute } from './api/operator/environment-route.ts';
import { healthRoutes } from './api/operator/health-routes.ts';
import { imageRoute } from './api/operator/image-route.ts';
import { machineRoute } from './api/operator/machine-route.ts';
import { metricsRoute } from './api/operator/metrics-route.ts';
import { observed } from './api/operator/observed.ts';
import { recordsRoute } from './api/operator/records-route.ts';
import { sandboxRoute } from './api/operator/sandbox-route.ts';
import { tokenRoute } from './api/operator/token-route.ts';
import { warmRoute } from './api/operator/warm-route.ts';
import { createRestApi } from './api/rest/rest-api.ts';
import { AppService } from './apps/app-service.ts';
import { AccessTokens } from './auth/access-tokens.ts';
import { ConnectTokens } from './auth/connect-tokens.ts';
import { EnvironmentQuotas } from './auth/environment-quotas.ts';
import { headerAuthority } from './auth/header-authority.ts';
import { TokenStore } from './auth/token-store.ts';
import { FileBlobStore } from './blobs/blob-store.ts';
import { MountService } from './blobs/mount-service.ts';
import { openCallReports } from './call-reports.ts';
import type { Config } from './config/config.ts';
import { limitsOf } from './config/limits.ts';
import { createClusterEngine, createEngine, volumeTreesDir } from './create-engine.ts';
import { caEnvironment } from './engines/ca-environment.ts';
import type { Engine, RuntimeName, SecretHeaders } from './engines/engine.ts';
import { instanceName } from './engines/oci/layout.ts';
import { DefaultImage } from './images/default-image.ts';
import { ImageResolver } from './images/image-resolver.ts';
import { ImageService } from './images/image-service.ts';
import { checkImageSources } from './images/source-checks.ts';
import { InstanceService } from './instances/instance-service.ts';
import { POOL_SWEEP_MS } from './instances/warm-pool.ts';
import { lead } from './lead.ts';
import { openMembers } from './members/open-members.ts';
import { bootId } from './platform/boot-id.ts';
import { CleanupScope } from './platform/cleanup.ts';
import { lockDataDir } from './platform/exclusive.ts';
import { roomOn } from './platform/kept-room.ts';
import { MachineRoom } from './platform/machine-room.ts';
import { repeat } from './platform/repeat.ts';
import { trustCertificates } from './platform/trust.ts';
import { AppReaper } from './sandboxes/app-reaper.ts';
import { mayEnter } from './sandboxes/inbound.ts';
import { Provisioner } from './sandboxes/provisioner.ts';
import { SandboxService } from './sandboxes/sandbox-service.ts';
import { openHeaders } from './sandboxes/secret-headers.ts';
import { SecretService } from './secrets/secret-service.ts';
import { type AesVault, openVault } from './secrets/vault.ts';
import { backupKeyCheck } from './storage/backup.ts';
import { Collector } from './storage/collector.ts';
import { copyDatabase } from './store/backup.ts';
import { checkRecords } from './store/check-records.ts';
import type { Leader } from './store/postgres/leader.ts';
import { openStore, type Store } from './store/store.ts';
import type { Logger } from './telemetry/logger.ts';
import {
  CERTIFICATE_INTERVAL_MS,
  isSameCertificate,
  loadCertificate,
  machineNames,
} from './transport/certificate.ts';
import type { KeptPorts } from './transport/kept-ports.ts';
import type { Listener } from './transport/listener.ts';
import { createPort } from './transport/port.ts';
import { type HttpRoute, routeRequests } from './transport/routes.ts';
import { clientUrl, localUrl, remoteUrl } from './transport/urls.ts';
import { openTunnels } from './tunnels/open-tunnels.ts';
import { VERSION } from './version.ts';
import { openVolumes } from './volumes/open-volumes.ts';
import { openWebhooks } from './webhooks/open-webhooks.ts';

export interface Server {
  /** Where this machine reaches it without TLS. */
  readonly url: string;
  /** What clients of this machine are told: the same, or the name of the operator's certificate. */
  readonly clientUrl: string;
  /** 8 hexadecimal digits: what its resources on the machine are named after. */
  readonly instance: string;
  /** What runs sandboxes that ask for no runtime; undefined when nothing usable is there. */
  readonly isolation: RuntimeName | undefined;
  /** Of one of several: whether another answered for it when it started. */
  readonly standsBy?: boolean;
  /** Stops answering and lets go of the machine; running sandboxes go on and are taken over by the next start. */
  close(): Promise<void>;
}

/** A snapshot that another server takes refers to its layer by then. */
const OTHERS_LAYER_MS = 3_600_000;
/** How long requests under way may take to finish at shutdown. */
const DRAIN_MS = 5_000;
const SWEEP_INTERVAL_MS = 30_000;
/** How often what sandboxes wrote in volumes becomes a version by itself. */
const COMMIT_INTERVAL_MS = 5_000;
/** For how long the operator waits for an image that is fetched or built. */
const OPERATOR_PATIENCE_MS = 30 * 60_000;
const DASHBOARD = fileURLToPath(new URL('../../web/dist', import.meta.url));
const CODE_INTERPRETER = fileURLToPath(new URL('../../images/code-interpreter', import.meta.url));

const secretHeadersIn = (store: Store, vault: AesVault): SecretHeaders => ({
  open: (sealed) => openHeaders(sealed, vault),
  authority: headerAuthority({ settings: store.settings, vault, now: Date.now }),
});

/** What of the server's secrets an engine needs, if anything is to go on. */
const secretsOf = (store: Store, vault: AesVault) => ({
  secretHeaders: secretHeadersIn(store, vault),
  memoryKey: vault.deriveKey('memory-snapshots'),
});

/** What this process has from whoever started it. */
export interface HandedOver {
  /** Whose connections are to be answered once everything is there. */
  readonly openListener: () => Promise<Listener>;
  readonly keptPorts: KeptPorts;
  /** Is told, once, that another server works on the same database, or may: nothing of this one must go on. */
  readonly onLost: (why: string) => void;
}

/**
 * Starts a server: takes over what an earlier one left, then listens.
 * @throws SkerryError saying what to do when the machine lacks something, the port is taken, or another server has the data directory; nothing
 * is left behind then
 */
export async function startServer(
  config: Config,
  logger: Logger,
  { openListener, keptPorts, onLost }: HandedOver,
): Promise<Server> {
  const { dataDir } = config;
  const now = Date.now;
  const cleanup = new CleanupScope(logger);
  try {
    // Where several servers share the directory, the database says which of them works on it: locks of files say nothing between machines, or for too long.
    if (config.peerHost === '') cleanup.add('lock', lockDataDir(dataDir));
    const store = openStore(dataDir, config.databaseUrl, config.databasePasswordFile);
    cleanup.add('store', () => store.close());
    const vault = openVault(dataDir, process.env.SKERRY_VAULT_KEY);
    const tokens = await TokenStore.open({
      ...{ settings: store.settings, dataDir, vault, now },
      createsPerMinute: config.tokenCreatesPerMinute,
    });
    const certificateOptions = {
      dataDir,
      certFile: config.tlsCertFile,
      keyFile: config.tlsKeyFile,
      names: [...config.tlsNames, ...machineNames()],
      now,
    };
    let certificate = await loadCertificate(certificateOptions);
    const guestCa = config.extraCaFile === '' ? {} : caEnvironment();

    const { counts, metrics, tracing, onCall } = await openCallReports(config, {
      ...{ auditDir: join(dataDir, 'audit'), cleanup, logger, now },
    });
    const room = new MachineRoom(dataDir);
    const machine = createEngine(config, { ...secretsOf(store, vault), room }, logger);
    await machine.open();
    cleanup.add('engine', () => machine.close());
    const cluster = await createClusterEngine(config, room, logger, {
      secretHeaders: secretHeadersIn(store, vault),
    });
    await cluster?.open();
    cleanup.add('cluster', () => cluster?.close());
    const engine = cluster ?? machine;
    const instances = new InstanceService({
      ...{ engine, logger, counts },
      gpuSharing: config.gpuSharing,
      warmPool: config.warmPool,
      // Those of a cluster take nothing of this machine.
      ...(cluster && { memory: async () => ({ availableMiB: Infinity, totalMiB: Infinity }) }),
    });
    cleanup.add('instances', () => instances.close());
    // Images are built on this machine, whose layers they become, wherever sandboxes run.
    const builders = cluster ? new InstanceService({ engine: machine, logger }) : instances;
    if (cluster) {
      cleanup.add('builders', () => builders.close());
      await builders.adopt(new Set());
    }
    if (config.extraCaFile !== '') await trustCertificates(config.extraCaFile);

    const apps = new AppService(store, now);
    const secrets = new SecretService(store.secrets, vault, now);
    const blobs = new FileBlobStore(`${dataDir}/blobs`, vault.deriveKey('blob-urls'), logger, now, room);
    const mounts = new MountService(store.mounts, blobs, now);
    const { volumes, volumeFiles, volumeMounts } = openVolumes({
      ...{ dataDir, store, blobs, room, logger, now },
      maxBytes: config.maxVolumeMiB * 2 ** 20,
      mountDir: volumeTreesDir(config),
      treesBinary: treesBinaryPath(),
      disks: machine.keptDisks && {
        kept: machine.keptDisks,
        size: { sizeMiB: config.volumeDiskMiB, files: config.volumeDiskFiles },
      },
      ticketKey: vault.deriveKey('volume-urls'),
    });
    cleanup.add('volumes', () => volumeMounts.close());
    // Those of a cluster may be kept by any server that reaches it.
    let place: (() => Leader) | undefined;
    const members =
      cluster && config.peerHost !== ''
        ? openMembers({ rows: store.members, vault, dataDir, place: () => place?.(), logger, now })
        : undefined;
    cleanup.add('members', () => members?.close());
    const images = new ImageService({
      repository: store.images,
      uses: store.imageUses,
      holdFiles: (files) => blobs.hold(files),
      instances: builders,
      volumes: volumeMounts,
      dataDir,
      treesBinaryPath: treesBinaryPath(),
      config,
      caEnvironment: guestCa,
      room,
      logger,
      onBuilt: (outcome, durationMs) => metrics.built(outcome, durationMs),
      ...(members && { othersMs: OTHERS_LAYER_MS }),
      clock: now,
    });
    cleanup.add('images', () => images.close());
    const environmentQuotas = new EnvironmentQuotas(store.settings, now);
    environmentQuotas.keepOnly(apps.environments().map(({ id }) => id));
    apps.whenEnvironmentDeleted((id) => environmentQuotas.set(id, {}));
    const sandboxes = new SandboxService({
      store,
      instances,
      images,
      volumes: volumeMounts,
      secrets,
      vault,
      mounts,
      blobs,
      dataDir,
      config,
      caEnvironment: guestCa,
      headerEnvironment: caEnvironment(),
      logger,
      counts,
      onStart: (startup) => metrics.started(startup),
      quotasOf: (tokenId) => tokens.quotasOf(tokenId),
      environments: environmentQuotas,
      keepers: members?.keepers,
      now,
      bootId: bootId(),
    });
    cleanup.add('sandboxes', () => sandboxes.close());
    const webhooks = openWebhooks(config, {
      ...{ find: (id) => sandboxes.get(id), messages: store.webhookMessages, logger, now },
    });
    if (webhooks) {
      cleanup.add('webhooks', () => webhooks.close());
      sandboxes.follow(webhooks.onEntry);
      webhooks.start();
    }
    members?.keepers.forgetLeft();
    await sandboxes.recover();
    if (members) cleanup.add('member watch', members.keepers.watch(sandboxes));
    const elsewhere = members?.elsewhere(sandboxes);
    images.collectGarbage().catch((error: unknown) => logger.error({ err: error }, 'images.collect-failed'));

    const collector = new Collector({
      ...{ images: images.cache, blobs, mounts, dataDir, config, logger, now },
    });
    const openedTunnels = await openTunnels({
      ...{ config, sandboxes, certificate, logger, now, kept: keptPorts },
      repository: store.tunnels,
      gateways: { repository: store.gateways, tokens: new ConnectTokens(tokens.signingKey, now) },
      follow: (follower) => sandboxes.follow(follower),
      names: certificateOptions.names,
      mayEnter: ({ spec }, address) => mayEnter(spec.inboundCidrs, address),
    });
    cleanup.add('tunnels', () => openedTunnels.close());

    const reaper = new AppReaper({ apps, sandboxes, logger });
    const sweep = repeat(
      SWEEP_INTERVAL_MS,
      [
        { name: 'sandboxes', run: () => sandboxes.sweep() },
        { name: 'tokens', run: () => tokens.sweep() },
        { name: 'secrets', run: () => secrets.sweep(now()) },
        { name: 'apps', run: () => reaper.sweep(now()) },
        { name: 'images', run: () => images.sweep() },
        { name: 'collection', run: () => collector.sweep() },
        { name: 'volumes', run: () => volumes.sweep(now()) },
        { name: 'volume-files', run: () => volumeFiles.sweep(now()) },
      ],
      logger,
    );
    cleanup.add('sweep', sweep);
    const pool = [{ name: 'warm-pool', run: () => instances.warm.sweep() }];
    cleanup.add('warm pool', repeat(POOL_SWEEP_MS, pool, logger));
    const commits = [{ name: 'volume-commits', run: () => volumeMounts.sweep() }];
    cleanup.add('volume commits', repeat(COMMIT_INTERVAL_MS, commits, logger));

    const rpc = buildModalApi({
      apps,
      reaper,
      sandboxes,
      sidecars: sandboxes.sidecars,
      tunnels: openedTunnels.tunnels,
      httpAccess: openedTunnels.gateways,
      secrets,
      images,
      mounts,
      blobs,
      volumes,
      volumeFiles,
      volumeMounts,
      fileSpoolDir: `${dataDir}/open-files`,
      uploadRoom: room,
      tokens,
      accessTokens: new AccessTokens(tokens.signingKey, now),
      answers: store.answers,
      legacyExecs: store.legacyExecs,
      logger,
      onCall,
      tracing,
      elsewhere,
      now,
    });
    const defaultImage = new DefaultImage({ images, directory: CODE_INTERPRETER, logger });
    const patientImages = new ImageResolver({ images, defaultImage, patienceMs: OPERATOR_PATIENCE_MS });
    const resolver = new ImageResolver({ images, defaultImage });
    const provisioner = new Provisioner({
      sandboxes,
      apps,
      images: resolver,
      volumes,
      digestKey: () => tokens.apiKeyForToken(),
    });
    const http = {
      ...{ sandboxes, logger, onCall, tracing, auth: tokens },
      ...{ tunnels: openedTunnels.tunnels, httpAccess: openedTunnels.gateways },
    };
    const modbox = createModboxApi({ ...http, provisioner, defaultImage });
    cleanup.add('modbox', () => modbox.close());
    const rest = createRestApi({
      ...{ ...http, apps, images: resolver, secrets, life: sandboxes },
      ...{ volumes, volumeFiles, volumeMounts, blobs },
    });
    cleanup.add('rest', () => rest.close());
    const instance = instanceName(dataDir);
    let draining = false;
    const health = healthRoutes({
      ...{ version: VERSION, instance, sandboxes: () => sandboxes.size },
      ...{ draining: () => draining, hasRuntime: () => isolationOf(engine) !== undefined },
      hasDatabase: () => store.isAnswering(),
      room: () => roomOn(dataDir),
    });
    const mcp = mcpRoute({
      ...{ tokens, sandboxes, logger, now, names: certificateOptions.names },
      url: () => localUrl(listening(port.address.port)),
    });
    const listening = (port: number) => ({ host: config.host, port, certificate });
    const endpoint = () => ({
      url: remoteUrl(listening(port.address.port), certificateOptions.names),
      fingerprint: certificate.fingerprint,
    });
    const withDashboard = (routes: readonly HttpRoute[]) => [
      ...routes,
      ...dashboardRoutes({
        ...{ tokens, vault, instance, routes, logger, now, elsewhere },
        directory: DASHBOARD,
      }),
    ];
    const operator = [
      imageRoute({ ...{ tokens, images, logger }, catalog: images.catalog, archives: images.archives }),
      diskRoute({ tokens, collector, dataDir, logger }),
      checksRoute({
        ...{ tokens, logger },
        check: async () => {
          const records = await checkRecords(config); // alone, as it times what it asks
          const others = [cluster?.check() ?? [], machine.check(), checkImageSources(config)];
          return [...(await Promise.all(others)).flat(), records];
        },
      }),
      recordsRoute({
        ...{ tokens, logger, check: () => checkRecords(config) },
        servers: members && (() => members.servers(sandboxes)),
      }),
      machineRoute({
        ...{ tokens, logger, version: VERSION, sandboxes: () => sandboxes.size },
        ...{ maxSandboxes: config.maxSandboxes, limits: limitsOf(config) },
      }),
      checkpointRoute({ tokens, sandboxes, logger }),
      backupRoute({
        ...{ tokens, dataDir, room, logger, now, version: VERSION, keyCheck: backupKeyCheck(vault) },
        copyStore: (path) => copyDatabase(store.database, path),
        commitVolumes: () => volumeMounts.settleAll(),
      }),
      sandboxRoute({ tokens, sandboxes, provisioner, logger }),
      warmRoute({ tokens, sandboxes, images: patientImages, logger }),
      tokenRoute({
        ...{ tokens, version: VERSION, instance, endpoint, logger },
        takenBy: (tokenId) => sandboxes.takenBy(tokenId),
      }),
      environmentRoute({
        ...{ tokens, apps, logger, quotas: environmentQuotas },
        takenIn: (id) => sandboxes.takenIn(id),
      }),
    ];
    const port = createPort({
      listener: await openListener(),
      tls: certificate,
      plaintextFrom: config.plaintextFrom,
      onRequest: routeRequests({
        rpc,
        routes: withDashboard([
          blobRoute({ blobs, logger }),
          volumeRoute({ volumeFiles, logger }),
          ...operator.map((route) => observed(route, onCall, tracing)),
          mcp,
          ...routesOf([modbox, rest]),
          metricsRoute({
            ...{ metrics, tokens, sandboxes, images, dataDir, logger },
            databaseWaits: () => store.database.waits,
          }),
          ...health,
          ...(members ? [members.route(sandboxes)] : []),
        ]),
        ...{ elsewhere, sandboxIn, logger },
      }),
      onUpgrade: (_request, socket) => socket.destroy(),
      logger,
    });
    cleanup.add('port', () => port.close(DRAIN_MS));
    const renew = async () => {
      const current = await loadCertificate(certificateOptions);
      await openedTunnels.renewCertificates(current);
      if (isSameCertificate(current, certificate)) return;
      port.useCertificate(current);
      certificate = current;
      logger.info({ fingerprint: current.fingerprint }, 'certificate.renewed');
    };
    cleanup.add('renewal', repeat(CERTIFICATE_INTERVAL_MS, [{ name: 'certificate', run: renew }], logger));
    cleanup.add('mcp', () => mcp.close());
    const idle = [{ name: 'mcp', run: () => mcp.sweep() }];
    cleanup.add('mcp sweep', repeat(SWEEP_INTERVAL_MS, idle, logger));
    cleanup.add('calls', () => rpc.close());
    cleanup.add('readiness', () => {
      draining = true;
    });
    if (config.peerHost !== '') {
      const where = () => ({
        host: config.peerHost,
        port: port.address.port,
        fingerprint: certificate.fingerprint,
      });
      place = where;
      cleanup.add('leadership', lead({ settings: store.settings, where, logger, now, onLost }));
    }
    const at = listening(port.address.port);
    const isolation = isolationOf(engine);
    return { url: localUrl(at), clientUrl: clientUrl(at), instance, isolation, close: () => cleanup.run() };
  } catch (error) {
    await cleanup[Symbol.asyncDispose]();
    throw error;
  }
}

function isolationOf(engine: Engine): RuntimeName | undefined {
  try {
    return engine.runtimeFor('auto');
  } catch {
    return undefined; // each create says why
  }
}
