import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Code } from '@connectrpc/connect';
import { MachineRoom } from '../../../platform/machine-room.ts';
import { Domain } from '../../../sandboxes/testing/domain.ts';
import { SeekWhence, SystemErrorCode } from '../gen/modal/common_pb.ts';
import type { ContainerFilesystemExecRequest } from '../gen/modal/containers_pb.ts';
import { code } from '../testing/clients.ts';
import { inMemoryClient } from '../testing/in-memory.ts';
import { parseFileMode } from './files/file-mode.ts';
import { filesystemHandlers } from './filesystem.ts';

/** Raised by `call` for an answer that is an error, as the Python client does. */
class Answered extends Error {
  readonly code: SystemErrorCode;
  constructor(code: SystemErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

const fails = (code: SystemErrorCode) => (error: unknown) => error instanceof Answered && error.code === code;

type Request = ContainerFilesystemExecRequest['fileExecRequestOneof'];
type Init<Case> =
  Extract<Request, { case: Case }> extends { value: infer Value }
    ? Partial<Omit<Value, '$typeName' | '$unknown'>>
    : never;

async function setUp(t: TestContext) {
  const domain = await Domain.open();
  t.after(() => domain[Symbol.asyncDispose]());
  const sandbox = await domain.running({ workdir: '/work', verbose: true });
  /** The sandbox's /work as this machine sees it. */
  const work = join(domain.instance(sandbox).root, 'work');
  const spool = join(domain.root, 'spool');
  const handlers = filesystemHandlers({
    sandboxes: domain.manager,
    images: domain.images,
    fileSpoolDir: spool,
    uploadRoom: new MachineRoom(domain.root),
  });
  const client = inMemoryClient(handlers, domain.store.answers);

  const start = <Case extends NonNullable<Request['case']>>(kind: Case, value: Init<Case>) =>
    client.containerFilesystemExec({
      taskId: sandbox.taskId,
      // A case and its own fields, which the generated type cannot tie together for a type parameter.
      fileExecRequestOneof: { case: kind, value } as never,
    });
  const fetchAnswer = async (execId: string): Promise<string> => {
    let output = '';
    let eof = false;
    for await (const batch of client.containerFilesystemExecGetOutput({ execId, timeout: 55 })) {
      if (batch.error) throw new Answered(batch.error.errorCode, batch.error.errorMessage);
      for (const part of batch.output) output += Buffer.from(part).toString('utf8');
      eof ||= batch.eof;
    }
    assert.ok(eof, 'the answer ended without its end mark');
    return output;
  };
  const call = async <Case extends NonNullable<Request['case']>>(kind: Case, value: Init<Case>) =>
    fetchAnswer((await start(kind, value)).execId);
  const openFile = async (path: string, mode: string): Promise<string> => {
    const { execId, fileDescriptor = '' } = await start('fileOpenRequest', { path, mode });
    assert.match(fileDescriptor, /^fd-[A-Za-z0-9]{22}$/);
    await fetchAnswer(execId);
    return fileDescriptor;
  };
  const write = (fileDescriptor: string, text: string) =>
    call('fileWriteRequest', { fileDescriptor, data: Buffer.from(text) });
  const read = (fileDescriptor: string, n?: number) =>
    call('fileReadRequest', { fileDescriptor, ...(n !== undefined && { n }) });
  const close = (fileDescriptor: string) => call('fileCloseRequest', { fileDescriptor });
  const content = (name: string) => readFileSync(join(work, name), 'utf8');
  return { spool, work, sandbox, client, start, call, fetchAnswer, openFile, write, read, close, content };
}

test('a written file is in the sandbox after flush and close, and verbose says what happened', async (t) => {
  const { sandbox, openFile, write, call, close, content, spool } = await setUp(t);
  const fd = await openFile('test.txt', 'w');
  assert.equal(content('test.txt'), '');
  await write(fd, 'Hello ');
  assert.equal(content('test.txt'), '');
  await call('fileFlushRequest', { fileDescriptor: fd });
  assert.equal(content('test.txt'), 'Hello ');
  await write(fd, 'World\n');
  await close(fd);
  assert.equal(content('test.txt'), 'Hello World\n');
  assert.deepEqual(
    sandbox.events().flatMap(({ kind, text }) => (kind === 'file' ? [text] : [])),
    [`Opened file 'test.txt': ${fd}`, `Wrote to file: ${fd}`, `Wrote to file: ${fd}`, `Closed file: ${fd}`],
  );
  assert.deepEqual(readdirSync(spool), []);
});

test('reading goes on where it stopped; lines, sizes and seeks are those of Python', async (t) => {
  const { work, openFile, read, call, write, close, content } = await setUp(t);
  writeFileSync(join(work, 'a'), 'one\ntwo\nthree');
  const fd = await openFile('/work/a', 'r+');
  const line = () => call('fileReadLineRequest', { fileDescriptor: fd });
  const seek = (offset: number, whence: SeekWhence) =>
    call('fileSeekRequest', { fileDescriptor: fd, offset, whence });
  assert.deepEqual(
    [await line(), await read(fd, 2), await read(fd, 0), await read(fd)],
    ['one\n', 'tw', '', 'o\nthree'],
  );
  assert.deepEqual([await line(), await read(fd)], ['', '']);
  await seek(-5, SeekWhence.SEEK_END);
  assert.equal(await read(fd, 3), 'thr');
  await seek(-1, SeekWhence.SEEK_CUR);
  assert.equal(await line(), 'ree');
  await assert.rejects(seek(-1, SeekWhence.SEEK_SET), fails(SystemErrorCode.INVAL));
  await seek(4, SeekWhence.SEEK_SET);
  await write(fd, 'TWO');
  assert.equal(await read(fd), '\nthree');
  await close(fd);
  assert.equal(content('a'), 'one\nTWO\nthree');
});

test('appending ignores the position, and a seek past the end leaves zeros', async (t) => {
  const { work, openFile, write, call, close, content } = await setUp(t);
  writeFileSync(join(work, 'a'), 'x');
  const appended = await openFile('a', 'a+');
  await call('fileSeekRequest', { fileDescriptor: appended, offset: 0, whence: SeekWhence.SEEK_SET });
  await write(appended, 'y');
  await close(appended);
  assert.equal(content('a'), 'xy');
  const fresh = await openFile('new', 'a');
  await call('fileSeekRequest', { fileDescriptor: fresh, offset: 2, whence: SeekWhence.SEEK_SET });
  await close(fresh);
  assert.equal(content('new'), '');
  const sparse = await openFile('sparse', 'wb');
  await call('fileSeekRequest', { fileDescriptor: sparse, offset: 2, whence: SeekWhence.SEEK_SET });
  await write(sparse, 'z');
  await close(sparse);
  assert.equal(content('sparse'), '\0\0z');
});

test('ranges of bytes are deleted and replaced', async (t) => {
  const { work, openFile, call, close, content } = await setUp(t);
  writeFileSync(join(work, 'a'), '0123456789');
  const fileDescriptor = await openFile('a', 'r+b');
  const splice = (data: string, range: { startInclusive?: number; endExclusive?: number }) =>
    data === ''
      ? call('fileDeleteBytesRequest', { fileDescriptor, ...range })
      : call('fileWriteReplaceBytesRequest', { fileDescriptor, ...range, data: Buffer.from(data) });
  await splice('', { startInclusive: 8 });
  await splice('abc', { endExclusive: 2 });
  await splice('', { startInclusive: 3, endExclusive: 5 });
  await splice('!', { startInclusive: 7, endExclusive: 99 });
  await assert.rejects(splice('x', { startInclusive: 50 }), fails(SystemErrorCode.INVAL));
  await close(fileDescriptor);
  assert.equal(content('a'), 'abc4567!');
});

test('what the modes of open promise', async (t) => {
  const { work, openFile, read, write, close } = await setUp(t);
  writeFileSync(join(work, 'there'), 'x');
  await assert.rejects(openFile('missing', 'r'), fails(SystemErrorCode.NOENT));
  await assert.rejects(openFile('missing', 'r+'), fails(SystemErrorCode.NOENT));
  await assert.rejects(openFile('there', 'x'), fails(SystemErrorCode.EXIST));
  await close(await openFile('made/with/parents', 'w'));
  await assert.rejects(openFile('there/below', 'w'), fails(SystemErrorCode.NOTDIR));
  await assert.rejects(openFile('/work', 'w'), fails(SystemErrorCode.ISDIR));
  await assert.rejects(openFile('/work', 'r'), fails(SystemErrorCode.ISDIR));
  const readOnly = await openFile('there', 'rb');
  await assert.rejects(write(readOnly, 'y'), fails(SystemErrorCode.INVAL));
  const writeOnly = await openFile('fresh', 'x');
  await assert.rejects(read(writeOnly), fails(SystemErrorCode.INVAL));
  await close(readOnly);
  await close(writeOnly);
  for (const mode of ['', 'b', 'rw', 'rr', 'r+w', 'z', 'rbt', 'r\0']) {
    assert.throws(() => parseFileMode(mode), { code: 'invalid-argument' }, mode);
  }
});

test('directories are listed, made and removed', async (t) => {
  const { work, call } = await setUp(t);
  const path = '/work/d';
  await assert.rejects(call('fileMkdirRequest', { path: `${path}/e` }), fails(SystemErrorCode.NOENT));
  await call('fileMkdirRequest', { path: `${path}/e`, makeParents: true });
  assert.ok(statSync(join(work, 'd/e')).isDirectory());
  await assert.rejects(call('fileMkdirRequest', { path }), fails(SystemErrorCode.EXIST));
  writeFileSync(join(work, 'd/a'), '');
  assert.deepEqual(JSON.parse(await call('fileLsRequest', { path: 'd' })), { paths: ['a', 'e'] });
  await assert.rejects(call('fileLsRequest', { path: 'none' }), fails(SystemErrorCode.NOENT));
  await assert.rejects(call('fileRmRequest', { path }), fails(SystemErrorCode.INVAL));
  await call('fileRmRequest', { path, recursive: true });
  assert.deepEqual(readdirSync(work), []);
});

test('a closed or unknown descriptor, an ended sandbox and a fetched answer are not found', async (t) => {
  const { openFile, close, start, call, fetchAnswer, sandbox } = await setUp(t);
  const notFound = code(Code.NotFound);
  const fd = await openFile('a', 'w');
  await close(fd);
  await assert.rejects(close(fd), notFound);
  await assert.rejects(call('fileReadRequest', { fileDescriptor: 'fd-none' }), notFound);
  const { execId } = await start('fileLsRequest', { path: '/' });
  await fetchAnswer(execId);
  await assert.rejects(fetchAnswer(execId), notFound);
  // What failed can be asked for again: the older JavaScript clients do so before they believe it.
  const failed = await start('fileOpenRequest', { path: 'nothere', mode: 'r' });
  for (let time = 0; time < 3; time++) {
    await assert.rejects(fetchAnswer(failed.execId), fails(SystemErrorCode.NOENT));
  }
  await sandbox.terminate();
  await assert.rejects(call('fileLsRequest', { path: '/' }), notFound);
});

test('a sandbox has at most 64 files open', async (t) => {
  const { work, openFile, close } = await setUp(t);
  writeFileSync(join(work, 'a'), 'x');
  const open = [];
  for (let i = 0; i < 64; i++) open.push(await openFile('a', 'r'));
  await assert.rejects(openFile('a', 'r'), fails(SystemErrorCode.MFILE));
  await close(open[0] ?? '');
  await openFile('a', 'r');
});

test('a failed write back gives the descriptor up', async (t) => {
  const { work, openFile, write, close, spool } = await setUp(t);
  mkdirSync(join(work, 'd'));
  const fd = await openFile('d/a', 'w');
  await write(fd, 'x');
  rmSync(join(work, 'd'), { recursive: true });
  writeFileSync(join(work, 'd'), '');
  await assert.rejects(close(fd), fails(SystemErrorCode.NOTDIR));
  assert.deepEqual(readdirSync(spool), []);
});
