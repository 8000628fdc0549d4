import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseReference } from './reference.ts';
import { understandFailure } from './registry-failure.ts';

/** As skopeo writes it, with the quotes in the message escaped. */
const fatal = (message: string) =>
  `time="2026-01-01T04:03:04Z" level=fatal msg="${message.replaceAll('"', '\\"')}"\n`;

/** What it is understood as, by the beginning. */
const cases: readonly (readonly [what: string, reference: string, message: string, means: string])[] = [
  [
    'a port like a status',
    '127.0.0.1:4040/x/y',
    'Error parsing image name "docker://127.0.0.1:4040/x/y:latest": pinging container registry 127.0.0.1:4040: Get "http://127.0.0.1:4040/v2/": dial tcp 127.0.0.1:4040: connect: connection refused',
    'it cannot be reached',
  ],
  [
    'a tag like a status, out of reach',
    'example.org/a/b:403',
    'reading manifest 403 in example.org/a/b: Get "https://example.org/v2/": dial tcp: lookup example.org on 10.0.0.2:53: no such host',
    'it cannot be reached',
  ],
  [
    'a digest with a status in it, out of reach',
    `example.org/a/b@sha256:${'404'.repeat(21)}4`,
    `reading manifest sha256:${'404'.repeat(21)}4 in example.org/a/b: Get "https://example.org/v2/": net/http: TLS handshake timeout`,
    'it cannot be reached',
  ],
  [
    'names like refusals, out of reach',
    'example.org/denied/unauthorized:not-found',
    'pinging container registry example.org: Get "https://example.org/v2/denied/unauthorized": read tcp 10.0.0.1:404->10.0.0.2:403: i/o timeout',
    'it cannot be reached',
  ],
  [
    'a failure of the registry',
    'example.org/denied/x',
    'reading manifest latest in example.org/denied/x: received unexpected HTTP status: 503 Service Unavailable',
    'it cannot be reached',
  ],
  [
    'no such tag',
    '127.0.0.1:5000/team/app:2',
    'Error parsing image name "docker://127.0.0.1:5000/team/app:2": reading manifest 2 in 127.0.0.1:5000/team/app: manifest unknown',
    'it has no such image',
  ],
  [
    'no such repository',
    'example.org/a/b',
    'reading manifest latest in example.org/a/b: name unknown: repository not known to registry',
    'it has no such image',
  ],
  [
    'a bare 404',
    'example.org/a/b',
    'reading manifest latest in example.org/a/b: StatusCode: 404, "404 page not found\\n"',
    'it has no such image',
  ],
  [
    'a bare 404 in other words',
    'example.org/a/b',
    'pinging container registry example.org: received unexpected HTTP status: 404 Not Found',
    'it has no such image',
  ],
  [
    'a repository of others',
    'a/b',
    'reading manifest latest in docker.io/a/b: errors:\\ndenied: requested access to the resource is denied\\nunauthorized: authentication required',
    'access was denied',
  ],
  [
    'a wrong password',
    'example.org/a/b',
    'unable to retrieve auth token: invalid username/password: unauthorized: incorrect',
    'access was denied',
  ],
  [
    'a bare 403',
    'example.org/a/b',
    'reading manifest latest in example.org/a/b: invalid status code from registry 403 (Forbidden)',
    'access was denied',
  ],
  [
    'another architecture',
    'example.org/a/b',
    'choosing image instance: no image found in manifest list for architecture riscv64',
    'the image is not made',
  ],
];

for (const [what, name, message, means] of cases) {
  test(`${what}: ${means}`, () => {
    const failure = understandFailure(fatal(message), parseReference(name));
    assert.ok(failure.message.startsWith(means), failure.message);
    assert.equal(failure.answered, means !== 'it cannot be reached');
  });
}
