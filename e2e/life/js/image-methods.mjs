/** Methods of `Image` of the official JavaScript client, on the image that `python/image_methods.py` makes. */
import assert from 'node:assert/strict';
import { app, modal, run } from './harness.mjs';

const { REGISTRY = '', GOOGLE_REGISTRY = '', AMAZON_REGISTRY = '' } = process.env;
const tools = modal.images.fromRegistry('tools:1');

/** What a shell prints in a sandbox of the image. */
async function said(image, command) {
  const sandbox = await modal.sandboxes.create(app, image, { command: ['sleep', '300'] });
  try {
    return await (await sandbox.exec(['sh', '-c', command])).stdout.readText();
  } finally {
    await sandbox.terminate();
  }
}

await run({
  async 'commands have their variables and secrets, which are no part of the image'() {
    const built = (word) =>
      tools.dockerfileCommands(['RUN echo $WORD-$OTHER >/said'], {
        env: { WORD: word },
        secrets: [secret],
      });
    const secret = await modal.secrets.fromObject({ OTHER: 'x' });
    const command = 'cat /said; echo $' + '{WORD:-gone}';
    assert.equal(await said(built('js'), command), 'js-x\ngone\n');
    assert.equal(await said(built('again'), command), 'again-x\ngone\n');
  },

  async 'an image is published, found by name and by id, and deleted'() {
    const image = await tools.dockerfileCommands(['RUN echo published >/said']).build(app);
    await image.publish('js-published:1');
    const named = await modal.images.fromName('js-published:1');
    assert.equal(named.imageId, image.imageId);
    assert.equal(await said(await modal.images.fromId(image.imageId), 'cat /said'), 'published\n');
    await modal.images.delete(image.imageId);
    await assert.rejects(modal.images.fromName('js-published:1'));
  },

  async 'private registries get their credentials'() {
    const login = await modal.secrets.fromObject({ REGISTRY_USERNAME: 'me', REGISTRY_PASSWORD: 'secret' });
    const google = await modal.secrets.fromObject({ SERVICE_ACCOUNT_JSON: '{"type": "service_account"}' });
    await modal.images.fromRegistry(`${REGISTRY}/team/app:1`, login).build(app);
    await modal.images.fromGcpArtifactRegistry(`${GOOGLE_REGISTRY}/team/app:1`, google).build(app);
    const bare = modal.images.fromRegistry(`${REGISTRY}/team/app:1`);
    await assert.rejects(bare.build(app), /access was denied/);
    const key = { AWS_ACCESS_KEY_ID: 'AKIA1', AWS_SECRET_ACCESS_KEY: 'key' };
    const amazon = await modal.secrets.fromObject({ ...key, AWS_REGION: 'eu-west-1' });
    await modal.images.fromAwsEcr(`${AMAZON_REGISTRY}/team/app:1`, amazon).build(app);
    const nowhere = modal.images.fromAwsEcr(`${REGISTRY}/team/app:1`, await modal.secrets.fromObject(key));
    await assert.rejects(nowhere.build(app), /The registry secret has no AWS_REGION/);
  },
});
