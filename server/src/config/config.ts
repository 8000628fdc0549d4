/**
 * Every setting of the server: one schema, one source of defaults. Precedence: flags > environment (`SKERRY_…`) > file > default
 * (`load-config.ts`). `skerry up --help` and docs/configuration.md are made from this table.
 */
import { z } from 'zod';
import { DATA_DIR_DESCRIPTION, defaultDataDir } from './data-dir.ts';

/** `NAME:TYPE`; the name is a CDI device's, or `*`; of a cluster a resource of its nodes, perhaps with one of their labels, `RESOURCE@LABEL=VALUE`. */
const GPU_TYPE =
  /^(\*|[A-Za-z0-9.-]+\/[A-Za-z0-9._-]+(=[A-Za-z0-9._:-]+|@[A-Za-z0-9./_-]+=[A-Za-z0-9._-]+)?):[A-Za-z0-9][A-Za-z0-9 _+-]{0,62}$/;

/** A host name, or an address of either family; what is none of them would make a certificate that no client can read. */
const TLS_NAME =
  /^(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.|$))+$|^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/;

/** One of Kubernetes, or none. */
const RUNTIME_CLASS = /^$|^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Two ports; whether the first is below the last says `tunnels/port-range.ts`. */
const PORT_RANGE = /^[1-9][0-9]{0,4}-[1-9][0-9]{0,4}$/;
const DOMAIN =
  /^$|^(?=.{1,200}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

export const configSchema = z.strictObject({
  host: z.string().default('127.0.0.1').describe('address to listen on'),
  port: z.coerce
    .number()
    .int()
    .min(0)
    .max(65535)
    .default(7423)
    .describe('port to listen on; 0 takes a free one'),
  dataDir: z.string().default(defaultDataDir).describe(DATA_DIR_DESCRIPTION),
  databaseUrl: z
    .string()
    .regex(/^$|^postgres(ql)?:\/\//, 'not of the form postgres://user@host/name')
    .default('')
    .describe(
      'PostgreSQL that keeps the records, as postgres://user@host/name; default: none, they are in skerry.db of the data directory (operations.md)',
    ),
  databasePasswordFile: z
    .string()
    .default('')
    .describe('file with the password of that database and nothing else; default: none'),
  peerHost: z
    .string()
    .regex(/^$|^[A-Za-z0-9._:-]{1,253}$/, 'no name or address')
    .default('')
    .describe(
      'name or address at which the other servers of the same database reach this one; with it, it stands by while another works (operations.md); default: none, it is the only one',
    ),
  logLevel: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'])
    .default('warn')
    .describe('how much the server logs'),
  engine: z
    .enum(['local', 'kubernetes'])
    .default('local')
    .describe('where sandboxes run: on this machine, or as Pods of a cluster (kubernetes.md)'),
  kubeconfig: z
    .string()
    .default('')
    .describe("file that leads to the cluster; default: a Pod's own access, where Skerry runs in one"),
  namespace: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'no name of a namespace')
    .default('default')
    .describe('namespace of the Pods, which must be there'),
  runtimeClass: z
    .string()
    .regex(RUNTIME_CLASS, 'no name of a RuntimeClass')
    .default('')
    .describe("RuntimeClass of the Pods, one of gVisor; default: none, the cluster's own"),
  gpuRuntimeClass: z
    .string()
    .regex(RUNTIME_CLASS, 'no name of a RuntimeClass')
    .default('')
    .describe(
      'RuntimeClass of Pods with GPUs, one of runc that hands them on, as nvidia; default: that of all (gpu.md)',
    ),
  networkPolicies: z
    .enum(['enforced', 'ignored'])
    .default('ignored')
    .describe(
      "whether the cluster's network holds Pods to NetworkPolicies; only then have they policies (kubernetes.md)",
    ),
  registry: z
    .string()
    .default('')
    .describe('repository that images of Pods are sent to and nodes fetch from, as registry.example/skerry'),
  registryAuthFile: z
    .string()
    .default('')
    .describe('file with the password of that registry, as docker login writes one; default: it takes none'),
  runtime: z
    .enum(['auto', 'gvisor', 'runc'])
    .default('auto')
    .describe('what runs sandboxes; auto prefers gVisor'),
  buildRuntime: z
    .enum(['auto', 'gvisor', 'runc'])
    .default('runc')
    .describe('what runs image build steps; choose gvisor when strangers define images'),
  extraCaFile: z
    .string()
    .default('auto')
    .describe(
      "PEM file with CA certificates that sandboxes and builds trust in addition; auto takes the one that this machine's tools are told of, none takes none",
    ),
  allowPrivate: z
    .array(z.string())
    .default([])
    .describe('private IPv4 CIDRs that sandboxes may reach, comma-separated'),
  subnet: z
    .string()
    .default('auto')
    .describe('IPv4 network for sandboxes, at least a /24; auto picks a free one'),
  nameservers: z
    .array(z.string())
    .default([])
    .describe("DNS servers to forward to; default: the machine's own"),
  maxConnections: z.coerce
    .number()
    .int()
    .min(16)
    .max(1_000_000)
    .default(4096)
    .describe('connections that a sandbox may have open at once, flows of UDP included'),
  maxSandboxes: z.coerce
    .number()
    .int()
    .min(1)
    .default(256)
    .describe('sandboxes that may run at once; more are refused'),
  maxStarting: z.coerce
    .number()
    .int()
    .min(1)
    .default(4)
    .describe('sandboxes started at the same moment; more wait'),
  warmPool: z
    .preprocess((value) => (value === 'off' ? 0 : value), z.coerce.number().int().min(0).max(1000))
    .default(16)
    .describe(
      'sandboxes that may wait ready for whoever asks next, 2 MiB of memory each under runc and 20 under gVisor; off: none (warm-pool.md)',
    ),
  defaultMemoryMiB: z.coerce
    .number()
    .int()
    .min(64)
    .default(2048)
    .describe('memory limit of a sandbox that names none, MiB'),
  defaultMilliCpu: z.coerce
    .number()
    .int()
    .min(100)
    .default(2000)
    .describe('CPU limit of a sandbox that names none, thousandths of a core'),
  defaultPids: z.coerce
    .number()
    .int()
    .min(16)
    .default(4096)
    .describe('processes and threads a sandbox may have'),
  maxPids: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe(
      'processes and threads that all sandboxes may have together; 0: 9 of 10 that the machine may have',
    ),
  diskLimits: z
    .enum(['auto', 'off'])
    .default('auto')
    .describe(
      'what bounds the files of a sandbox; auto: a disk of its own where the machine can make one, off: nothing',
    ),
  defaultDiskMiB: z.coerce
    .number()
    .int()
    .min(16)
    .default(10_240)
    .describe('disk of a sandbox that names no size, MiB'),
  defaultDiskFiles: z.coerce
    .number()
    .int()
    .min(1024)
    .default(655_360)
    .describe('files and directories on a disk of that size; on another as many in proportion'),
  maxDiskMiB: z.coerce
    .number()
    .int()
    .min(16)
    .default(102_400)
    .describe('largest disk a sandbox may ask for, MiB'),
  buildDiskMiB: z.coerce
    .number()
    .int()
    .min(16)
    .default(51_200)
    .describe(
      'disk of each step of an image build, MiB; as many files as on a disk of a sandbox, in proportion; also what an image of a registry and each of its layers may take',
    ),
  buildMemoryMiB: z.coerce
    .number()
    .int()
    .min(64)
    .default(8192)
    .describe('memory of each step of an image build, MiB'),
  buildPids: z.coerce
    .number()
    .int()
    .min(16)
    .default(8192)
    .describe('processes of each step of an image build at once'),
  buildTimeoutMinutes: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_080)
    .default(360)
    .describe('a build that is not over in so many minutes fails; a single step has two hours at most'),
  volumeDiskMiB: z.coerce
    .number()
    .int()
    .min(16)
    .default(102_400)
    .describe('what a sandbox may have written in one of its volumes while it runs, MiB'),
  volumeDiskFiles: z.coerce
    .number()
    .int()
    .min(64)
    .default(1_000_000)
    .describe('files and directories that it may have written there'),
  maxVolumeMiB: z.coerce.number().int().min(1).default(1_048_576).describe('what one volume may hold, MiB'),
  maxOutputMiB: z.coerce
    .number()
    .int()
    .min(1)
    .default(8192)
    .describe(
      'output kept per sandbox on disk, MiB; at the bound what was read goes first, then its programs wait; also the largest file that clients read',
    ),
  keepOutputHours: z.coerce
    .number()
    .int()
    .min(1)
    .default(24)
    .describe('how long the output of ended sandboxes can be read, hours'),
  stopGraceSeconds: z.coerce
    .number()
    .min(0)
    .max(300)
    .default(10)
    .describe(
      'how long a terminated sandbox may take whose image names a STOPSIGNAL, from that signal to its end by force, seconds; 0: none is sent',
    ),
  cacheMaxDays: z.coerce
    .number()
    .min(0)
    .default(30)
    .describe(
      'built images, cached build steps and uploaded files that nobody used for so many days are removed; 0: however long',
    ),
  cacheMaxMiB: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe(
      'all of these together that nobody uses now, MiB; the least recently used go first; 0: half of the file system',
    ),
  cacheMinFreeMiB: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('they go as well while the file system has less free, MiB; 0: a tenth of it, 10 GiB at most'),
  cacheProtectHours: z.coerce
    .number()
    .min(0)
    .default(24)
    .describe('what was used within so many hours stays, however little room there is'),
  debianMirror: z
    .string()
    .default('http://deb.debian.org/debian')
    .describe('mirror for the Debian bases made without a registry'),
  registryMirrors: z
    .array(z.string())
    .default([])
    .describe('registry hosts to try before the public ones, comma-separated'),
  insecureRegistries: z
    .array(z.string())
    .default([])
    .describe('registry hosts spoken to without TLS, comma-separated'),
  privateRegistries: z
    .array(z.string())
    .default([])
    .describe(
      'hosts and IPv4 networks that images may come from though they are not public, comma-separated; the two above always may',
    ),
  ecrEndpoint: z
    .string()
    .default('')
    .describe("address of the API of AWS that gives the passwords of its registries; default: AWS's own"),
  registryTimeoutMs: z.coerce
    .number()
    .int()
    .min(100)
    .default(20_000)
    .describe('how long a registry may take to answer a look-up, ms'),
  goProxy: z
    .string()
    .default('')
    .describe('Go module proxy for what images are made of without a registry; default: GOPROXY'),
  pypiIndex: z.string().default('').describe('Python package index for the same; default: PIP_INDEX_URL'),
  npmRegistry: z.string().default('').describe('npm registry for the same; default: npm_config_registry'),
  mavenRepository: z.string().default('').describe('Maven repository for the same; default: Maven Central'),
  tlsCertFile: z
    .string()
    .default('')
    .describe('certificate chain (PEM) for TLS; without one Skerry makes its own'),
  tlsKeyFile: z.string().default('').describe('private key (PEM) for TLS'),
  tlsNames: z
    .array(z.string().regex(TLS_NAME, 'neither a host name nor an address'))
    .default([])
    .describe("names and addresses for Skerry's own certificate, beside those the machine has"),
  plaintextFrom: z
    .enum(['machine', 'anywhere'])
    .default('machine')
    .describe('from where connections without TLS are taken; anywhere suits a port behind a proxy'),
  tunnelHost: z.string().default('').describe('address that tunnels listen on; default: that of --host'),
  tunnelPorts: z
    .string()
    .regex(PORT_RANGE, 'not FIRST-LAST, as 20000-29999')
    .default('20000-29999')
    .describe('ports of tunnels that have one each, FIRST-LAST'),
  tunnelDomain: z
    .string()
    .regex(DOMAIN, 'no domain')
    .default('')
    .describe('domain of tunnels, whose subdomains all lead here; without one each has a port of its own'),
  tunnelPort: z.coerce
    .number()
    .int()
    .min(1)
    .max(65535)
    .default(443)
    .describe('port to listen on for all tunnels of the domain'),
  tunnelPublicPort: z.coerce
    .number()
    .int()
    .min(0)
    .max(65535)
    .default(0)
    .describe('port in the URLs of those, for one behind a proxy that passes TLS on; default: the same'),
  tunnelCertFile: z
    .string()
    .default('')
    .describe('certificate chain (PEM) for *.DOMAIN; without one Skerry makes its own'),
  tunnelKeyFile: z.string().default('').describe('private key (PEM) of it'),
  tunnelConnections: z.coerce
    .number()
    .int()
    .min(1)
    .default(4096)
    .describe('connections through all tunnels at once; more are closed'),
  tunnelWaitMs: z.coerce
    .number()
    .int()
    .min(100)
    .max(600_000)
    .default(15_000)
    .describe('how long a connection waits for the server in the sandbox to listen, ms'),
  idleAction: z
    .enum(['end', 'suspend'])
    .default('end')
    .describe(
      'what becomes of sandboxes that were idle for their idle timeout; only under gVisor can they be suspended',
    ),
  tunnelIdleSeconds: z.coerce
    .number()
    .int()
    .min(1)
    .max(604_800)
    .default(3600)
    .describe('how long a connection through a tunnel may carry nothing, seconds'),
  cdiDirs: z
    .array(z.string().startsWith('/', 'not an absolute path'))
    .default(['/etc/cdi', '/var/run/cdi'])
    .describe('directories of CDI files that describe GPUs, comma-separated; the later ones win'),
  gpuTypes: z
    .array(z.string().regex(GPU_TYPE, 'not NAME:TYPE, as nvidia.com/gpu=0:A100'))
    .default([])
    .describe(
      'types of GPUs that do not say theirs: nvidia.com/gpu=0:A100, or *:A100 for all; of a cluster amd.com/gpu:MI300X, or nvidia.com/gpu@LABEL=VALUE:A100 by a label of its nodes; comma-separated',
    ),
  gpuSharing: z.coerce
    .number()
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe('sandboxes that may have the same GPU at once'),
  gpuWaitSeconds: z.coerce
    .number()
    .int()
    .min(0)
    .max(3600)
    .default(30)
    .describe('how long a sandbox of a cluster waits for a node with free GPUs, seconds (gpu.md)'),
  encryptMemorySnapshots: z
    .enum(['off', 'on'])
    .default('off')
    .describe(
      'on: the memory of sandboxes is encrypted wherever it is kept on the disk, with the key of secrets',
    ),
  tokenCreatesPerMinute: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe("sandboxes that each token but the owner's may make in a minute; 0: as many as it likes"),
  auditLogMiB: z.coerce
    .number()
    .int()
    .min(0)
    .default(128)
    .describe('what the audit log may take on the disk, MiB; 0: there is none (operations.md)'),
  otlpEndpoint: z
    .union([z.literal(''), z.url({ protocol: /^https?$/, error: 'not an http or https URL' })])
    .default('')
    .describe(
      'where an OpenTelemetry collector takes traces, as OTLP over HTTP; default: where OTEL_EXPORTER_OTLP_ENDPOINT says, else nowhere (operations.md)',
    ),
  webhookUrls: z
    .array(z.url({ protocol: /^https?$/, error: 'not an http or https URL' }))
    .default([])
    .describe('where to tell what happens to sandboxes, comma-separated (operations.md)'),
  webhookSecretFile: z
    .string()
    .default('')
    .describe('file with the secret that these messages are signed with, whsec_ and base64'),
  webhookPrivate: z
    .array(z.string())
    .default([])
    .describe('hosts and IPv4 networks that they may go to though they are not public, comma-separated'),
  runscPath: z
    .string()
    .default('')
    .describe('path of runsc; default: looked up in PATH and the Skerry cache'),
});

export type Config = z.infer<typeof configSchema>;
