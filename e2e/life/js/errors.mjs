/** The classes and words of errors that programs look at, through the official JavaScript client. */
import assert from 'node:assert/strict';
import { create, modal, raised, run, running } from './harness.mjs';

/** The details of a gRPC error of this status. */
async function status(code, call) {
  const error = await raised('ClientError', call);
  assert.match(error.message, new RegExp(code));
  return error.details;
}

await run({
  async 'an id that cannot be one is invalid and one of nothing is not found'() {
    const bad = await modal.sandboxes.fromId('sb-bad');
    assert.match(await status('INVALID_ARGUMENT', () => bad.poll()), /sb-bad/);
    const absent = await modal.sandboxes.fromId('sb-00000000000000000000000000');
    await status('NOT_FOUND', () => absent.poll());
  },

  async 'a cloud or region that nobody has is invalid'() {
    assert.match(await status('INVALID_ARGUMENT', () => create({ cloud: 'invalid-cloud' })), /invalid-cloud/);
    const inRegion = () => create({ regions: ['invalid-region'] });
    assert.match(await status('INVALID_ARGUMENT', inRegion), /invalid-region/);
    await running({ cloud: 'gcp', regions: ['us-east', 'eu-west-1'] }, async () => {});
  },

  async 'a name that is taken already exists'() {
    await running({ name: 'js-taken' }, async () => {
      const error = await raised('AlreadyExistsError', () => create({ name: 'js-taken' }));
      assert.match(error.message, /'js-taken' already exists/);
    });
  },

  async 'an image that is absent is not found'() {
    for (const id of ['im-0000000000000000000000', 'im-absent']) {
      const found = await raised('NotFoundError', () => modal.images.fromId(id));
      assert.match(found.message, new RegExp(`Could not find image with ID ${id}`));
      const deleted = await raised('NotFoundError', () => modal.images.delete(id));
      assert.match(deleted.message, new RegExp(`No Image with ID ${id}`));
    }
  },

  async 'keys that a secret lacks are all named'() {
    const secret = { deploymentName: 'js-errors-keys', envDict: { HERE: '1' }, objectCreationType: 1 };
    await modal.cpClient.secretGetOrCreate(secret); // this client has no call of its own to create a named one
    const error = await raised('NotFoundError', () =>
      modal.secrets.fromName('js-errors-keys', { requiredKeys: ['A_KEY', 'HERE', 'B_KEY'] }),
    );
    assert.match(error.message, /Secret is missing key\(s\): A_KEY, B_KEY/);
  },

  async 'a range of addresses that is none is invalid'() {
    const details = await status('INVALID_ARGUMENT', () =>
      create({ outboundCidrAllowlist: ['not-an-ip/8'] }),
    );
    assert.match(details, /^Invalid CIDR: not-an-ip\/8/);
  },

  async 'what a sandbox that ended cannot do any more says that it already completed'() {
    const sandbox = await create();
    await sandbox.terminate({ wait: true });
    assert.match(await status('NOT_FOUND', () => sandbox.exec(['true'])), /already completed: it was term/);
    assert.match(await status('NOT_FOUND', () => sandbox.snapshotFilesystem()), /already completed/);
  },

  async 'any characters arrive as they are'() {
    const text = 'ü-100%41-\n-😀/a:b,c;d?e@f&g=h+i$j#k';
    const list = async () => {
      for await (const sandbox of modal.sandboxes.list({ environment: text })) assert.fail(sandbox.sandboxId);
    };
    const details = await status('NOT_FOUND', list);
    assert.ok(details.includes(text), details);
  },
});
