/** docs/compatibility.md says what the server does: every RPC that the official clients know is in it, with the status a server really has. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { ModalClient } from '../../server/src/api/modal/gen/modal/service_pb.ts';
import { TaskCommandRouter } from '../../server/src/api/modal/gen/modal/task_command_router_pb.ts';
import { pythonWith } from '../support/clients.ts';
import { runProgram } from '../support/program.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';
import { controlPlane, rawCall } from './support/wire.ts';

const document = readFileSync(join(projectRoot, 'docs/compatibility.md'), 'utf8');
/** What a call that does not exist is answered with. */
const UNIMPLEMENTED = '12';

type Status = 'works' | 'partly' | 'not';

const services = {
  'Control plane': ModalClient,
  'Command router': TaskCommandRouter,
} as const;
type ServiceTitle = keyof typeof services;

/** The text of a `###` section. */
function section(title: string): string {
  const begin = document.indexOf(`\n### ${title}`);
  assert.ok(begin >= 0, `no section ${title}`);
  const end = document.indexOf('\n### ', begin + 1);
  return document.slice(begin, end < 0 ? undefined : end);
}

const namesIn = (text: string): string[] => [...text.matchAll(/`(\w+)`/g)].map(([, name = '']) => name);

/** RPC names of a section's table with their status. No name may be in it twice. */
function table(title: ServiceTitle): Map<string, Status> {
  const result = new Map<string, Status>();
  for (const line of section(title).split('\n')) {
    const [, names = '', status = ''] = line.split('|').map((cell) => cell.trim());
    if (status !== 'works' && status !== 'partly' && status !== 'not') continue;
    for (const name of namesIn(names)) {
      assert.ok(!result.has(name), `${name} is in the table twice`);
      result.set(name, status);
    }
  }
  return result;
}

const outOfScope = namesIn(section('Out of scope').split('begin:')[1] ?? '');

describe('docs/compatibility.md', () => {
  let server: TestServer;
  let known: Record<ServiceTitle, string[]>;
  before(async () => {
    server = await startServer({ runtime: 'runc' });
    const listed = await runProgram(
      [
        pythonWith(),
        '-c',
        `import json
from modal_proto import api_pb2, task_command_router_pb2
methods = lambda module, name: [method.name for method in module.DESCRIPTOR.services_by_name[name].methods]
print(json.dumps({"Control plane": methods(api_pb2, "ModalClient"),
                  "Command router": methods(task_command_router_pb2, "TaskCommandRouter")}))`,
      ],
      { env: server.clientEnv },
    );
    known = z
      .object({
        'Control plane': z.array(z.string()).min(200),
        'Command router': z.array(z.string()).min(20),
      })
      .parse(JSON.parse(listed.stdout));
  });
  after(() => server?.stop());

  for (const title of ['Control plane', 'Command router'] as const) {
    test(`${title}: every RPC the clients know is there, and nothing they do not know`, () => {
      const rows = table(title);
      const service = services[title];
      // Older clients have calls that the current one dropped; those are in our schema.
      const names = new Set([...known[title], ...service.methods.map((method) => method.name)]);
      const covered = (name: string) =>
        rows.has(name) || outOfScope.some((prefix) => name.startsWith(prefix));
      assert.deepEqual(
        [...names].filter((name) => !covered(name)),
        [],
        'not in the document',
      );
      assert.deepEqual(
        [...rows.keys()].filter((name) => !names.has(name)),
        [],
        'in the document, but no such RPC',
      );
    });

    test(`${title}: what is said to work is there, the rest is UNIMPLEMENTED`, async () => {
      const rows = table(title);
      const { typeName } = services[title];
      const headers = title === 'Control plane' ? apiHeaders() : await routerHeaders();
      const emptyMessage = Buffer.alloc(5);
      const wrong: string[] = [];
      for (const name of new Set([...known[title], ...rows.keys()])) {
        const status = await rawCall(server, `/${typeName}/${name}`, headers, emptyMessage);
        const is = status === UNIMPLEMENTED ? 'not' : 'there';
        const said = (rows.get(name) ?? 'not') === 'not' ? 'not' : 'there';
        if (is !== said) wrong.push(`${name}: said to be ${said}, is ${is} (status ${status})`);
      }
      assert.deepEqual(wrong, []);
    });
  }

  test('the tests it names exist', () => {
    const features = document.slice(document.indexOf('## Features'), document.indexOf('### What to know'));
    const tests = features.split('\n').flatMap((line) => {
      const cells = line.split('|');
      return cells.length > 5
        ? [...(cells[4] ?? '').matchAll(/`([\w./-]+)`/g)].map(([, name = '']) => name)
        : [];
    });
    assert.ok(tests.length > 20);
    for (const name of new Set(tests)) {
      assert.ok(existsSync(join(projectRoot, 'e2e/life', `${name}.test.ts`)), `no test ${name}`);
    }
  });

  const apiHeaders = () => ({
    'x-modal-token-id': server.token.tokenId,
    'x-modal-token-secret': server.token.tokenSecret,
    // A call that waits for something waits no longer than this.
    'grpc-timeout': '2S',
  });

  /** A token of the command router is that of a sandbox; one that could not start will do. */
  async function routerHeaders() {
    const client = controlPlane(server);
    const { appId } = await client.appGetOrCreate({ appName: 'life-compatibility', objectCreationType: 1 });
    const built = await client.imageGetOrCreate({
      appId,
      image: { dockerfileCommands: ['FROM scratch'] },
      builderVersion: '2026.10',
    });
    const made = await client.sandboxCreateV2({
      appId,
      definition: { imageId: built.imageId, timeoutSecs: 60 },
    });
    assert.ok(made.commandRouterAccess);
    return { authorization: `Bearer ${made.commandRouterAccess.jwt}`, 'grpc-timeout': '2S' };
  }
});
