/**
 * What nobody caught. The server goes on after it: an error in one timer, socket or background task ended that alone, while the end of the process would
 * cut off every client; and a server that ends by itself soon after its start is not started again by its supervisor.
 */
import type { Logger } from '../telemetry/logger.ts';

/** Tells the log of errors that nobody caught, from now on; they end the process no more. */
export function surviveStrayErrors(process: NodeJS.EventEmitter, logger: Pick<Logger, 'error'>): void {
  process.on('unhandledRejection', (err) => logger.error({ err }, 'process.unhandled-rejection'));
  process.on('uncaughtException', (err) => logger.error({ err }, 'process.uncaught-exception'));
}
