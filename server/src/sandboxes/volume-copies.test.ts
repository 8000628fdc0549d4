/** Sandboxes whose engine has copies of their volumes: what is asked of it, and when. Its copies here are the trees themselves. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AgentClient } from '../agent/agent-client.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { delay } from '../platform/wait.ts';
import { Domain, deadline, exec, TEST_ENVIRONMENT } from './testing/domain.ts';

/** What an engine is asked for; `look` says what there is when it is to give what was written. */
class Asked {
  readonly all: string[] = [];
  look = async (): Promise<string> => 'collect';

  listenTo(domain: Domain): void {
    domain.engine.copies = {
      collect: async () => void this.all.push(await this.look()),
      deliver: async () => void this.all.push('deliver'),
    };
  }
}

async function opened() {
  const domain = await Domain.open();
  const { id: volumeId } = domain.volumes.create(TEST_ENVIRONMENT, 'shared', 2, 'keep');
  const volume = { volumeId, target: '/data', readOnly: false, subPath: '' };
  const asked = new Asked();
  asked.listenTo(domain);
  return { domain, volume, asked };
}

describe('volumes that an engine has copies of', () => {
  it('give what was written once nothing runs any more, before their instance goes, and nothing after it', async () => {
    const { domain, volume, asked } = await opened();
    await using _closed = domain;
    const sandbox = await domain.running({ volumes: [volume] });
    await exec(sandbox, ['sleep', '1000']);
    const instance = domain.instance(sandbox);
    const agent = new AgentClient((signal) => instance.dial(signal), domain.logger);
    const end = deadline();
    asked.look = async () => {
      // Who is killed may take a moment to be gone.
      while ((await agent.list(end)).some(({ exit }) => !exit)) await delay(5, end);
      return 'nothing runs';
    };
    await sandbox.terminate();
    assert.deepEqual(asked.all, ['nothing runs']);
  });

  it('are asked for nothing where nothing can be written', async () => {
    const { domain, volume, asked } = await opened();
    await using _closed = domain;
    const sandbox = await domain.running({ volumes: [{ ...volume, readOnly: true }] });
    await sandbox.terminate();
    assert.deepEqual(asked.all, []);
  });

  it('that give nothing keep no sandbox from ending, and it is told', async () => {
    const { domain, volume, asked } = await opened();
    await using _closed = domain;
    const sandbox = await domain.running({ volumes: [volume] });
    asked.look = () => Promise.reject(new SkerryError('sandbox-ended', 'it is gone'));
    await sandbox.terminate();
    assert.equal(sandbox.state, 'ended');
    assert.ok(domain.log.some(({ msg }) => msg === 'sandbox.last-writes-lost'));
  });

  it('are brought what others wrote by a reload, also by the next server', async () => {
    const { domain, volume, asked } = await opened();
    await using _closed = domain;
    const sandbox = await domain.running({ volumes: [volume] });
    await sandbox.reloadVolumes(deadline());
    assert.equal(asked.all.at(-1), 'deliver');
    const later = new Asked();
    const beforeRecovery = (found: Domain) => {
      later.listenTo(found);
      return undefined;
    };
    await using next = await domain.restart({ beforeRecovery });
    const same = next.manager.get(sandbox.id);
    await same.reloadVolumes(deadline());
    assert.deepEqual([later.all[0], later.all.at(-1)], ['collect', 'deliver']);
    await same.terminate();
  });
});
