import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { DEFINITION, openImages, resultOf } from './testing/images.ts';

test('why a build failed is told without secrets, in the logs, to its followers and in the store', async (t) => {
  const { images, logs, log } = await openImages(t);
  const { id } = await images.getOrBuild({
    ...DEFINITION,
    dockerfileLines: ['FROM scratch', 'COPY hunter2-and-more /'],
    secretEnv: { PASSWORD: 'hunter2-and-more' },
  });
  const result = await resultOf(images, id);
  assert.ok(result?.kind === 'failure');
  assert.match(result.message, /COPY \*\*\* \//);
  assert.throws(() => images.get(id), /COPY \*\*\* \//);
  const texts = await Promise.all((await readdir(logs)).map((name) => readFile(join(logs, name), 'utf8')));
  assert.match(log.join(), /image\.build\.failed/);
  assert.doesNotMatch([result.message, ...texts, ...log].join(), /hunter2/);
});
