/** Servers that stand in for each other, with sandboxes that are Pods of a real cluster: `npm run test:kubernetes`. */
import { test } from 'node:test';
import { noPostgres } from '../../server/src/store/testing/postgres.ts';
import { several, takeOvers } from '../support/several.ts';
import { kubeconfig, printTimes, registry } from './cluster.ts';

test('any answers, and what runs goes on when the one that leads is lost or stops', {
  skip: noPostgres,
}, async () => {
  await using all = await several(
    ...['--engine', 'kubernetes', '--kubeconfig', kubeconfig, '--registry', `${registry}/skerry`],
    ...['--insecure-registries', registry],
  );
  printTimes({ 'the server that leads is lost, until a stream goes on': [await takeOvers(all)] });
});
