/** The life of sandboxes through the official JavaScript client: what the Python programs do, in this client's calls. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Probe } from 'modal';
import { app, create, image, modal, output, raised, run, running, shared } from './harness.mjs';

await run({
  async 'arguments arrive as they were given'() {
    const given = ['', ' ', 'a b', `'"$HOME\`\\`, 'line\nbreak', 'ü世😀', '-n', '*'];
    const { stdout } = await output([
      'python3',
      '-c',
      'import json,sys; print(json.dumps(sys.argv[1:]))',
      ...given,
    ]);
    assert.deepEqual(JSON.parse(stdout), given);
  },

  async 'stdout and stderr are apart, with the exit code'() {
    assert.deepEqual(await output(['sh', '-c', 'echo out; echo err >&2; exit 9']), {
      code: 9,
      stdout: 'out\n',
      stderr: 'err\n',
    });
  },

  async 'what cannot be started ends with 128 and says why'() {
    for (const [command, params, name] of [
      [['no-such-program'], {}, /no-such-program/],
      [['true'], { workdir: '/no/such/directory' }, /\/no\/such\/directory/],
      [['true'], { workdir: '/etc/passwd' }, /\/etc\/passwd/],
      [['no-such-program'], { pty: true }, /no-such-program/],
    ]) {
      const { code, stdout, stderr } = await output(command, params);
      assert.equal(code, 128);
      assert.match(params.pty ? stdout : stderr, name);
    }
  },

  async 'files: a new one takes the name, permissions are octal digits'() {
    const { filesystem } = await shared();
    const prepare =
      'mkdir /names; cd /names; echo old > target; chmod 640 target; ln target other; ln -s target link';
    assert.equal((await output(['sh', '-c', prepare])).code, 0);
    await filesystem.writeText('new', '/names/link');
    await filesystem.writeText('newer', '/names/target');
    assert.equal((await output(['sh', '-c', 'cd /names; cat link target other'])).stdout, 'newnewerold\n');
    assert.equal((await filesystem.stat('/names/target')).permissions, '0644');
    const full = await raised('SandboxFilesystemError', () => filesystem.writeText('x', '/dev/full'));
    assert.match(full.message, /No space left on device/);
  },

  async 'workdir, environment and secrets'() {
    assert.equal((await output(['pwd'], { workdir: '/var/log' })).stdout, '/var/log\n');
    const secret = await modal.secrets.fromObject({ A: 'secret', B: 'secret' });
    const params = { env: { A: 'env' }, secrets: [secret] };
    assert.equal((await output(['sh', '-c', 'echo $A,$B'], params)).stdout, 'env,secret\n');
    await running({ env: { C: 'sandbox' }, secrets: [secret] }, async (sandbox) => {
      const process = await sandbox.exec(['sh', '-c', 'echo $A,$C']);
      assert.equal(await process.stdout.readText(), 'secret,sandbox\n');
    });
  },

  async 'a timeout of an exec is an error and kills its group'() {
    const sandbox = await shared();
    const script = 'echo out; echo err >&2; sleep 2001 & sleep 2002';
    const process = await sandbox.exec(['sh', '-c', script], { timeoutMs: 10_000 });
    // Read one after the other: the second is there although the first ended with the process.
    assert.equal(await process.stdout.readText(), 'out\n');
    assert.equal(await process.stderr.readText(), 'err\n');
    // 137 for who waits already when the time is up, an error for who comes later.
    const ended = await process.wait().then(
      (code) => code === 137,
      (error) => /deadline|timeout|timed out/i.test(String(error)),
    );
    assert.ok(ended);
    const count = [
      'sh',
      '-c',
      "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'sleep 200[12]' || true",
    ];
    for (let attempt = 0; ; attempt++) {
      const left = (await output(count)).stdout.trim();
      if (left === '0') break;
      assert.ok(attempt < 100, `${left} processes of the group are left`);
    }
  },

  async 'a terminal has a size, one stream, and interrupts'() {
    const sandbox = await shared();
    const script =
      "trap 'echo interrupted; exit 42' INT; stty size; echo err >&2; echo ready; while :; do sleep 0.1; done";
    const process = await sandbox.exec(['sh', '-c', script], { pty: true });
    let seen = '';
    for await (const piece of process.stdout) {
      seen += piece;
      if (seen.endsWith('ready\r\n')) await process.stdin.writeText('\x03');
    }
    assert.match(seen, /^24 80\r\nerr\r\nready\r\n/);
    assert.match(seen, /interrupted\r\n$/);
    assert.equal(await process.wait(), 42);
  },

  async 'binary output arrives unchanged, text is decoded'() {
    const sandbox = await shared();
    const program = 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 300)';
    const process = await sandbox.exec(['python3', '-c', program], { mode: 'binary' });
    const expected = Buffer.concat(
      Array.from({ length: 300 }, () => Buffer.from(Array.from({ length: 256 }, (_, i) => i))),
    );
    assert.deepEqual(Buffer.from(await process.stdout.readBytes()), expected);
    assert.equal(
      (await output(['python3', '-c', "print('😀' * 100000)"])).stdout,
      `${'😀'.repeat(100_000)}\n`,
    );
  },

  async 'ignored output does not hold the program up'() {
    const sandbox = await shared();
    const script = 'head -c 4000000 /dev/zero; head -c 4000000 /dev/zero >&2; exit 6';
    const process = await sandbox.exec(['sh', '-c', script], { stdout: 'ignore', stderr: 'ignore' });
    assert.equal(await process.wait(), 6);
  },

  async 'a line comes while the program still runs'() {
    const sandbox = await shared();
    const process = await sandbox.exec(['sh', '-c', 'for i in 1 2 3; do echo line $i; read answer; done']);
    let seen = '';
    for await (const piece of process.stdout) {
      seen += piece;
      if (piece.endsWith('\n')) await process.stdin.writeText('answer\n');
    }
    assert.equal(seen, 'line 1\nline 2\nline 3\n');
  },

  async 'a hundred execs at once'() {
    const sandbox = await shared();
    const one = async (number) => {
      const process = await sandbox.exec(['sh', '-c', `read word; echo $word ${number}; exit ${number}`]);
      await process.stdin.writeText('in\n');
      return [await process.stdout.readText(), await process.wait()];
    };
    const results = await Promise.all(Array.from({ length: 100 }, (_, number) => one(number)));
    assert.deepEqual(
      results,
      results.map((_, number) => [`in ${number}\n`, number]),
    );
  },

  async 'fifty megabytes go through cat'() {
    const sandbox = await shared();
    const process = await sandbox.exec(['cat'], { mode: 'binary' });
    const block = randomBytes(1 << 20);
    const write = async () => {
      for (let count = 0; count < 50; count++) await process.stdin.writeBytes(block);
      await process.closeStdin();
    };
    const found = createHash('sha256');
    const read = async () => {
      for await (const chunk of process.stdout) found.update(chunk);
    };
    await Promise.all([write(), read()]);
    const expected = createHash('sha256');
    for (let count = 0; count < 50; count++) expected.update(block);
    assert.equal(found.digest('hex'), expected.digest('hex'));
    assert.equal(await process.wait(), 0);
  },

  async 'input for a process that ended is an error'() {
    const process = await (await shared()).exec(['true']);
    await process.wait();
    const error = await process.stdin.writeText('nobody reads this').then(
      () => undefined,
      (thrown) => thrown,
    );
    assert.match(String(error), /ended|closed/);
  },

  async 'output is read after the process and after the sandbox ended'() {
    const sandbox = await create({ command: ['sh', '-c', 'echo entry; exec sleep 300'] });
    const process = await sandbox.exec(['sh', '-c', 'echo out; echo err >&2']);
    assert.equal(await process.wait(), 0);
    assert.equal(await process.stdout.readText(), 'out\n');
    await sandbox.terminate({ wait: true });
    assert.equal(await process.stderr.readText(), 'err\n');
    assert.equal(await sandbox.stdout.readText(), 'entry\n');
    const again = await modal.sandboxes.fromId(sandbox.sandboxId);
    assert.equal(await again.stdout.readText(), 'entry\n');
  },

  async 'an entrypoint reads its input and ends by itself'() {
    const sandbox = await create({ command: ['sh', '-c', 'read line; echo got $line; exit 7'] });
    await sandbox.stdin.writeText('it\n');
    assert.equal(await sandbox.wait(), 7);
    assert.equal(await sandbox.poll(), 7);
    assert.equal(await sandbox.stdout.readText(), 'got it\n');
  },

  async 'terminate can be repeated and is told'() {
    const sandbox = await create();
    assert.equal(await sandbox.poll(), null);
    await sandbox.terminate();
    assert.equal(await sandbox.terminate({ wait: true }), 137);
    assert.equal(await (await modal.sandboxes.fromId(sandbox.sandboxId)).wait(), 137);
  },

  async 'timeout, idle timeout and signals have their numbers'() {
    const [timed, idle, killed] = await Promise.all([
      create({ command: ['sleep', '300'], timeoutMs: 2000 }),
      create({ idleTimeoutMs: 1000 }),
      create({ command: ['sh', '-c', 'kill -TERM $$; sleep 300'] }),
    ]);
    assert.deepEqual(await Promise.all([timed.wait(), idle.wait(), killed.wait()]), [124, 137, 143]);
  },

  async 'names are unique while they are used'() {
    const name = 'comes-and-goes';
    await raised('NotFoundError', () => modal.sandboxes.fromName('life-js', name));
    const first = await create({ name });
    assert.equal((await modal.sandboxes.fromName('life-js', name)).sandboxId, first.sandboxId);
    await raised('AlreadyExistsError', () => create({ name }));
    await first.terminate({ wait: true });
    await raised('NotFoundError', () => modal.sandboxes.fromName('life-js', name));
    await running({ name }, (second) => assert.notEqual(second.sandboxId, first.sandboxId));
  },

  async 'tags are set and listed by'() {
    const ids = async (tags) => {
      const found = [];
      for await (const sandbox of modal.sandboxes.list({ appId: app.appId, tags }))
        found.push(sandbox.sandboxId);
      return found;
    };
    await running({ tags: { js: 'born with' } }, async (sandbox) => {
      assert.deepEqual(await sandbox.getTags(), { js: 'born with' });
      await sandbox.setTags({ js: 'later', more: '1' });
      assert.deepEqual(await ids({ js: 'later' }), [sandbox.sandboxId]);
      assert.deepEqual(await ids({ js: 'later', more: '2' }), []);
      assert.deepEqual(await ids({ js: 'born with' }), []);
    });
  },

  async 'snapshots of directories are mounted, with their key where they have one'() {
    const experimentalEncryptionKey = Buffer.from('a key of the caller');
    const read = async (sandbox, path) => (await sandbox.exec(['cat', path])).stdout.readText();
    await running({}, async (sandbox) => {
      await sandbox.filesystem.writeText('kept', '/dir/file');
      const plain = await sandbox.snapshotDirectory('/dir');
      await sandbox.mountImage('/plain', plain);
      assert.equal(await read(sandbox, '/plain/file'), 'kept');
      await sandbox.unmountImage('/plain');
      assert.equal(await read(sandbox, '/plain/file'), '');
      await sandbox.mountImage('/dir');
      assert.equal(await read(sandbox, '/dir/file'), '');
      await sandbox.unmountImage('/dir');
      const sealed = await sandbox.snapshotDirectory('/dir', { experimentalEncryptionKey });
      await assert.rejects(sandbox.mountImage('/sealed', sealed), /encrypted/);
      await sandbox.mountImage('/sealed', sealed, { experimentalEncryptionKey });
      assert.equal(await read(sandbox, '/sealed/file'), 'kept');
    });
  },

  async 'an exit snapshot is what the sandbox left'() {
    await running({}, (sandbox) => raised('InvalidError', () => sandbox.experimentalGetExitSnapshot()));
    const sandbox = await create({
      command: ['sh', '-c', 'echo left > /left; read line'],
      experimentalOptions: { enable_exit_snapshot: true },
    });
    await raised('TimeoutError', () => sandbox.experimentalGetExitSnapshot({ timeoutMs: 0 }));
    await sandbox.stdin.writeText('end\n');
    const left = await sandbox.experimentalGetExitSnapshot();
    const copy = await modal.sandboxes.create(app, left);
    try {
      assert.equal(await (await copy.exec(['cat', '/left'])).stdout.readText(), 'left\n');
    } finally {
      await copy.terminate();
    }
  },

  async 'what is not there is not found'() {
    await raised('NotFoundError', () => modal.apps.fromName('life-js-not-there'));
    // This client asks for it only when it is used, and passes the answer on.
    const nobody = await modal.sandboxes.fromId('sb-00000000000000000000000000');
    await assert.rejects(nobody.poll(), /NOT_FOUND|NotFoundError/);
    await raised('NotFoundError', () => modal.secrets.fromName('life-js-not-there'));
  },

  async 'readiness probes are waited for'() {
    const params = {
      command: ['sh', '-c', 'sleep 1; touch /tmp/ready; exec sleep 300'],
      readinessProbe: Probe.withExec(['test', '-e', '/tmp/ready'], { intervalMs: 50 }),
    };
    await running(params, (sandbox) => sandbox.waitUntilReady(30_000));
    const never = { readinessProbe: Probe.withTcp(9), command: ['sleep', '300'] };
    await running(never, (sandbox) => raised('TimeoutError', () => sandbox.waitUntilReady(2000)));
  },

  async 'a detached handle is closed, the sandbox is not'() {
    const sandbox = await create();
    sandbox.detach();
    await raised('ClientClosedError', () => sandbox.exec(['true']));
    const again = await modal.sandboxes.fromId(sandbox.sandboxId);
    assert.equal(await again.poll(), null);
    await again.terminate();
  },

  async 'without ports there are no tunnels'() {
    assert.deepEqual(await (await shared()).tunnels(), {});
  },

  async 'memory over the limit is killed'() {
    await running({ memoryMiB: 128, memoryLimitMiB: 256 }, async (sandbox) => {
      const program = 'data = []\nwhile True: data.append(bytearray(8 << 20))';
      const process = await sandbox.exec(['python3', '-c', program]);
      assert.equal(await process.wait(), 137);
    });
  },

  async 'names and sizes beyond bounds are refused'() {
    for (const params of [
      { name: 'with space' },
      { tags: { x: 'x'.repeat(1025) } },
      { timeoutMs: 8 * 86_400_000 },
    ]) {
      await assert.rejects(create(params), /INVALID_ARGUMENT|InvalidError/);
    }
    assert.ok(image);
  },
});
