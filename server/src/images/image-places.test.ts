import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LayerId, newLayerId } from '../ids.ts';
import { ImagePlaces } from './image-places.ts';

test('what is referred to is found again, and nothing outside of the directories', () => {
  const places = ImagePlaces.in('/data');
  const id = newLayerId();
  assert.equal(places.layer(id), `/data/images/layers/${id}`);
  const file = `${places.workspace(id)}/mount-0`;
  assert.equal(places.mount(places.refer(file)), file);
  for (const name of ['..', '../x', '.', '', 'a/../../layers']) {
    assert.throws(() => places.layer(name as LayerId), { code: 'internal' }, name);
    assert.throws(() => places.mount({ kind: 'scratch', path: name }), { code: 'internal' }, name);
  }
  assert.throws(() => places.mount(places.refer('/etc/passwd')), { code: 'internal' });
});
