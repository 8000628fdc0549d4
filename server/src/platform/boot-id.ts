/** Which boot of the machine this is. */
import { readFileSync } from 'node:fs';

/** The kernel's own id of this boot, random(4). */
export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
