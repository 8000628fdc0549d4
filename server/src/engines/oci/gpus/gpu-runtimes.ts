/** Which runtimes can hand on a GPU. runc any: it is a device file there. gVisor, whose kernel is its own, NVIDIA's with a driver whose calls it knows. */
import { readFile } from 'node:fs/promises';
import { run } from '../../../platform/command.ts';
import type { RuntimeName } from '../../engine.ts';
import type { RuntimeFindings } from '../runtime-choice.ts';

export const NVIDIA_KIND = 'nvidia.com/gpu';
const NVIDIA_VERSION = '/proc/driver/nvidia/version';

export class GpuRuntimes {
  readonly #findings: RuntimeFindings;
  /** The last answer, and for which driver: one that is loaded anew may be another. */
  #known: { readonly driver: string; readonly supported: boolean } | undefined;

  constructor(findings: RuntimeFindings) {
    this.#findings = findings;
  }

  /** @param kind of the CDI device */
  async of(kind: string): Promise<ReadonlySet<RuntimeName>> {
    const names = new Set<RuntimeName>();
    if (this.#findings.runc.ok) names.add('runc');
    if (kind === NVIDIA_KIND && (await this.#gvisorKnowsDriver())) names.add('gvisor');
    return names;
  }

  async #gvisorKnowsDriver(): Promise<boolean> {
    const { gvisor } = this.#findings;
    if (!gvisor.ok) return false;
    const driver = driverVersion(await readFile(NVIDIA_VERSION, 'utf8').catch(() => ''));
    if (driver === undefined) return false;
    if (this.#known?.driver !== driver) {
      const listed = await run([gvisor.path, 'nvproxy', 'list-supported-drivers']).then(
        ({ stdout }) => stdout,
        () => '', // an older runsc, which does not say and may not know
      );
      const supported = listed.split('\n').some((line) => line.trim() === driver);
      this.#known = { driver, supported };
    }
    return this.#known.supported;
  }
}

/** Version of NVIDIA's kernel driver in its own words: "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (…)". */
export const driverVersion = (text: string): string | undefined =>
  /^NVRM version:.*?\s(\d{3}\.\d{2,3}(?:\.\d{2})?)\s/m.exec(text)?.[1];
