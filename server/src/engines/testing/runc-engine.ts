/** The engine of this machine, with runc alone and nothing made in advance, for tests of what conformance does not try. */
import { enginePrograms } from '../../agent/agent-binary.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Engine } from '../engine.ts';
import { createOciEngine } from '../oci/engine.ts';
import { TEST_ENGINE_CONFIG } from './engine-config.ts';
import { TestContent } from './test-content.ts';

/** Not open yet. @param content where its layers are; `runDir` is the default's when undefined */
export const runcEngine = (dataDir: string, content: string, runDir?: string): Engine =>
  createOciEngine({
    config: { ...TEST_ENGINE_CONFIG, runtime: 'runc', runscPath: '' },
    dataDir,
    ...(runDir === undefined ? {} : { runDir }),
    content: new TestContent(content),
    ...enginePrograms(),
    logger: createLogger('silent'),
    networkPoolSize: 0,
    diskPoolSize: 0,
  });
