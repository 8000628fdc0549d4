/** Who hears of every call that a server answers: metrics, the audit log, and traces. */
import type { Config } from './config/config.ts';
import type { CleanupScope } from './platform/cleanup.ts';
import { withDeadline } from './platform/wait.ts';
import { AuditLog } from './telemetry/audit-log.ts';
import type { CallListener } from './telemetry/calls.ts';
import { Counts } from './telemetry/counts.ts';
import type { Logger } from './telemetry/logger.ts';
import { Metrics } from './telemetry/metrics.ts';
import { openTracing, type Tracing } from './telemetry/tracing.ts';
import { VERSION } from './version.ts';

export interface CallReports {
  readonly counts: Counts;
  readonly metrics: Metrics;
  readonly tracing: Tracing | undefined;
  readonly onCall: CallListener;
}

/** So long a stop waits for a collector to take the last traces. */
const TRACES_PATIENCE_MS = 2_000;

/** @param parts.auditDir of this server alone */
export async function openCallReports(
  { auditLogMiB, otlpEndpoint }: Pick<Config, 'auditLogMiB' | 'otlpEndpoint'>,
  parts: {
    readonly auditDir: string;
    readonly cleanup: CleanupScope;
    readonly logger: Logger;
    readonly now: () => number;
  },
): Promise<CallReports> {
  const { auditDir, cleanup, logger, now } = parts;
  const counts = new Counts();
  const metrics = new Metrics(counts);
  metrics.watchProcess();
  const audit =
    auditLogMiB === 0
      ? undefined
      : new AuditLog({ ...{ directory: auditDir, logger, now }, maxBytes: auditLogMiB * 2 ** 20 });
  cleanup.add('audit', () => audit?.close());
  const tracing = await openTracing({
    ...{ endpoint: otlpEndpoint, env: process.env, version: VERSION, logger },
  });
  cleanup.add('traces', () => tracing && withDeadline(tracing.close(), TRACES_PATIENCE_MS));
  const onCall: CallListener = (call) => {
    metrics.onCall(call);
    audit?.onCall(call);
    call.span?.end(call);
  };
  return { counts, metrics, tracing, onCall };
}
