import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentBinaryPath } from '../../agent/agent-binary.ts';
import { run } from '../../platform/command.ts';
import { findProgram } from '../../platform/find-program.ts';
import { runcEngine } from '../testing/runc-engine.ts';
import { Layout } from './layout.ts';
import { rememberedTrial } from './user-ids-trial.ts';

const usable = process.getuid?.() === 0 && existsSync(agentBinaryPath()) && findProgram('runc');

test('users of their own need no more of /run than systemd gives: no programs, devices and set-user-id', {
  skip: usable ? false : 'needs root, the agent and runc',
}, async (t) => {
  const scratch = await mkdtemp(join(tmpdir(), 'skerry-trial-'));
  const dataDir = join(scratch, 'data');
  const tried = async (runDir: string) => {
    const engine = runcEngine(dataDir, scratch, runDir);
    try {
      await engine.open();
      return await rememberedTrial(new Layout(dataDir, runDir));
    } finally {
      await engine.close();
      await engine.remove();
    }
  };
  const strict = join(scratch, 'strict');
  try {
    await run(['chmod', '0711', scratch]); // runc passes through as a user of the sandbox
    const why = await tried(join(scratch, 'run'));
    if (why !== null) return t.skip(`not on this machine: ${why}`);
    await mkdir(strict);
    await run(['mount', '-t', 'tmpfs', '-o', 'nosuid,nodev,noexec,mode=755', 'tmpfs', strict]);
    assert.equal(await tried(join(strict, 'run')), null);
  } finally {
    await run(['umount', strict], { okCodes: [1, 32] });
    await rm(scratch, { recursive: true, force: true });
  }
});
