/** One process of a sandbox: output, input, signals, and connections that break. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import { atLeast, Domain, deadline, eventually, exec, text } from './testing/domain.ts';

const { SIGUSR1, SIGUSR2 } = constants.signals;
const bytes = (text: string) => Buffer.from(text);

describe('a process', () => {
  it('output is read from any offset, live and later, whole though the connection breaks', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const script = 'for i in 1 2 3 4 5 6 7 8; do echo line $i; read x; done';
    const process = await exec(sandbox, ['sh', '-c', script]);
    const live = text(process.stdout);
    for (let i = 1; i <= 8; i++) {
      await atLeast(process.stdout, i * 7);
      domain.instance(sandbox).cutConnections();
      await process.writeStdin(i - 1, bytes('\n'), deadline());
    }
    const whole = [1, 2, 3, 4, 5, 6, 7, 8].map((i) => `line ${i}\n`).join('');
    assert.equal(await live, whole);
    assert.equal(await text(process.stdout, 14), whole.slice(14));
    assert.deepEqual(await process.wait(deadline()), { kind: 'code', code: 0, timedOut: false });
    await sandbox.terminate();
    const again = domain.manager.get(sandbox.id).process(process.id);
    assert.equal(await text(again.stdout), whole);
  });

  it('input is taken once though it is sent again, in order, with no gap, and then closed', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const process = await exec(sandbox, ['cat']);
    await Promise.all([
      process.writeStdin(0, bytes('abc'), deadline()),
      process.writeStdin(3, bytes('def'), deadline()),
    ]);
    await process.writeStdin(0, bytes('abcdef'), deadline());
    await process.writeStdin(3, bytes('defghi'), deadline());
    await assert.rejects(process.writeStdin(20, bytes('x'), deadline()), { code: 'invalid-argument' });
    assert.deepEqual(await process.stdinStatus(deadline()), { accepted: 9, closed: false });
    await process.closeStdin(deadline());
    await process.closeStdin(deadline());
    assert.equal(await text(process.stdout), 'abcdefghi');
    await assert.rejects(process.writeStdin(9, bytes('x'), deadline()), { code: 'stdin-closed' });
    assert.equal((await process.stdinStatus(deadline())).closed, true);
  });

  it('a writer who leaves is let go, though the program never reads; the next one goes on where it came to', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const gate = 'while ! test -e /tmp/go; do sleep 0.01; done; wc -c';
    const process = await exec(sandbox, ['sh', '-c', gate]);
    const data = Buffer.alloc(1_000_000, 'x');
    const leaver = new AbortController();
    const left = process.writeStdin(0, data, leaver.signal);
    const queued = process.writeStdin(1_000_000, bytes('y'), leaver.signal);
    left.catch(() => {});
    queued.catch(() => {});
    await eventually(async () => (await process.stdinStatus(deadline())).accepted > 0);
    leaver.abort(new Error('another took over'));
    await assert.rejects(left, /took over/);
    await assert.rejects(queued, /took over/);
    const { accepted, closed } = await process.stdinStatus(deadline());
    assert.ok(accepted < data.length && !closed);
    const resumed = process.writeStdin(accepted, data.subarray(accepted), deadline());
    await exec(sandbox, ['touch', '/tmp/go']);
    await resumed;
    await process.closeStdin(deadline());
    assert.equal(await text(process.stdout), '1000000\n');
  });

  it('who gives up closing its input is let go too; the end comes behind what is still to be read', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const process = await exec(sandbox, ['sh', '-c', 'while ! test -e /tmp/go; do sleep 0.01; done; wc -c']);
    const data = Buffer.alloc(1_000_000, 'x');
    const leaver = new AbortController();
    const writing = process.writeStdin(0, data, leaver.signal);
    writing.catch(() => {});
    await eventually(async () => (await process.stdinStatus(deadline())).accepted > 0);
    leaver.abort(new Error('another took over'));
    await assert.rejects(writing, /took over/);
    const closer = new AbortController();
    const closing = process.closeStdin(closer.signal);
    const { accepted, closed } = await process.stdinStatus(deadline());
    assert.ok(accepted < data.length && !closed);
    closer.abort(new Error('enough'));
    await assert.rejects(closing, /enough/);
    const again = process.writeStdin(0, data, deadline());
    await exec(sandbox, ['touch', '/tmp/go']);
    await again;
    await process.closeStdin(deadline());
    assert.equal(await text(process.stdout), '1000000\n');
  });

  it('the end of its input arrives though the connection breaks under it', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const process = await exec(sandbox, ['cat']);
    await process.writeStdin(0, bytes('all there is'), deadline());
    const instance = domain.instance(sandbox);
    instance.holdBackSent();
    const closing = process.closeStdin(deadline());
    await eventually(() => instance.heldBack > 0);
    assert.equal((await process.stdinStatus(deadline())).closed, false);
    instance.cutConnections();
    await closing;
    assert.equal(await text(process.stdout), 'all there is');
    assert.equal((await process.stdinStatus(deadline())).closed, true);
  });

  it('signals and sizes reach it, and do nothing once it ended', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const process = await exec(sandbox, [
      'sh',
      '-c',
      'trap "echo caught" USR1; echo up; while :; do sleep 0.01; done',
    ]);
    await atLeast(process.stdout, 3);
    await process.kill(SIGUSR1, 'process');
    await atLeast(process.stdout, 10);
    await assert.rejects(process.resize({ rows: 1, cols: 1 }), { code: 'conflict' });
    await process.kill(9, 'group');
    assert.deepEqual(await process.wait(deadline()), { kind: 'signal', signal: 9, timedOut: false });
    await process.kill(9, 'group');
    const terminal = await exec(sandbox, ['sh', '-c', 'echo up; read x; echo $x'], {
      pty: { rows: 24, cols: 80 },
    });
    await terminal.resize({ rows: 30, cols: 100 });
    await terminal.writeStdin(0, bytes('typed\n'), deadline());
    assert.match(await text(terminal.stdout), /up.*typed\r\n$/s);
  });

  it('signals and sizes arrive though the connection breaks under them, and none twice', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const instance = domain.instance(sandbox);
    const script = 'trap "echo caught" USR1; trap "stty size" USR2; echo up; while :; do sleep 0.01; done';
    const process = await exec(sandbox, ['sh', '-c', script], { pty: { rows: 24, cols: 80 } });
    let expected = 'up\r\n';
    const prints = async (line: string) => {
      expected += `${line}\r\n`;
      await atLeast(process.stdout, expected.length);
    };
    await atLeast(process.stdout, expected.length);
    await process.kill(SIGUSR1, 'process');
    await prints('caught');
    instance.holdBackSent();
    await process.resize({ rows: 30, cols: 100 });
    await process.kill(SIGUSR1, 'process');
    await eventually(() => instance.heldBack > 0);
    instance.cutConnections();
    await prints('caught');
    await process.kill(SIGUSR2, 'process');
    await prints('30 100');
    instance.cutConnections();
    await process.kill(9, 'group');
    assert.equal(await text(process.stdout), expected);
  });

  it('what cannot start is an error, or an end with a reason for who wants it so', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    await assert.rejects(exec(sandbox, ['no-such-program']), { code: 'program-not-found' });
    await assert.rejects(exec(sandbox, ['true'], { workdir: '/no/such' }), { code: 'bad-workdir' });
    const ended = await exec(sandbox, ['no-such-program'], { failureIsExit: true });
    assert.deepEqual(await ended.wait(deadline()), { kind: 'code', code: 128, timedOut: false });
    assert.match(await text(ended.stderr), /no-such-program/);
  });

  it('at the bound of output a program waits, and nothing is lost', async () => {
    await using domain = await Domain.open({ config: { maxOutputMiB: 1 } });
    const sandbox = await domain.running();
    const process = await exec(sandbox, ['sh', '-c', 'head -c 3000000 /dev/zero']);
    await eventually(() => sandbox.events().some(({ text }) => /bound/.test(text)));
    assert.equal(process.exit, undefined);
    const kept = process.stdout.length;
    await sandbox.terminate();
    assert.ok(kept > 0 && kept <= 2 ** 20);
    assert.equal((await text(process.stdout)).length, kept);
  });

  it('is over a while after its timeout, though its agent says nothing, whether it had started or not', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const process = await exec(sandbox, ['sleep', '1000'], { timeoutMs: 2000 });
    domain.engine.faults.failTimes('wake', Number.POSITIVE_INFINITY);
    await domain.instance(sandbox).process.silence();
    const timedOut = { kind: 'signal', signal: 9, timedOut: true } as const;
    const other = exec(sandbox, ['true'], { timeoutMs: 1 });
    assert.deepEqual(await process.wait(deadline()), timedOut);
    assert.deepEqual(await (await other).wait(deadline()), timedOut);
    assert.equal(await text((await other).stdout), '');
    await assert.rejects(process.writeStdin(0, bytes('x'), deadline()), { code: 'stdin-closed' });
  });
});
