/** The copy of a writable layer has whatever was changed until everything stood still, in each way a program can change it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { treesBinaryPath } from '../../agent/agent-binary.ts';
import { run } from '../../platform/command.ts';
import { mountOverlay } from '../../platform/overlayfs.ts';
import { delay } from '../../platform/wait.ts';
import { Trees } from './trees.ts';

const usable = process.getuid?.() === 0 && existsSync(treesBinaryPath());

/** Makes files, says so, waits for a line, changes them, and says so. Some it has open from the beginning, or mapped. */
const PROGRAM = `
import mmap, os, sys
os.makedirs("deep/er"); os.makedirs("moved/below"); os.mkdir("still")
# In this one no name changes: what happens in it is only heard of.
still = lambda name: "still/" + name
for name in "write append mapped truncate chmod chown times attribute later pwrite other".split(): open(still(name), "w").write(name * 2000)
for name in "unlink rename replaced linked".split(): open(name, "w").write(name * 2000)
for place in ("deep/er/file", "moved/below/file"): open(place, "w").write(place)
os.link("linked", "deep/other"); os.symlink("write", "link"); os.mkfifo("fifo")
for number in range(500): open(f"deep/{number}", "w").write("same")
append, held = open(still("append"), "a"), open(still("pwrite"), "r+b")
file = open(still("mapped"), "r+b"); view = mmap.mmap(file.fileno(), 0); file.close()
print("made", flush=True); sys.stdin.readline()
open(still("write"), "r+").write("NEW"); append.write("more"); append.flush(); os.pwrite(held.fileno(), b"PWRITTEN", 9000)
view[5000:5003] = b"MAP"; os.truncate(still("truncate"), 7); os.chmod(still("chmod"), 0o4711); os.chown(still("chown"), 5, 6); os.utime(still("times"), (1, 2))
os.setxattr(still("attribute"), "user.mine", b"1"); os.unlink("unlink"); os.rename("rename", "deep/renamed")
open("new", "w").write("other"); os.rename("new", "replaced"); open("deep/other", "r+").write("LINKED")
file = open(still("later"), "r+b"); late = mmap.mmap(file.fileno(), 0); late[9000:9004] = b"LATE"
os.makedirs("fresh/dir"); open("fresh/dir/file", "w").write("fresh"); os.rename("moved", "elsewhere"); open("elsewhere/below/file", "a").write("!")
open("lower/file", "a").write("!"); os.chmod("lower/only/file", 0o600); os.chmod("deep/er", 0o700); os.chmod("deep/77", 0o600)
os.unlink("link"); os.symlink("other", "link"); os.unlink("fifo"); os.utime("deep/99", (3, 4)); os.unlink("lower/doomed")
print("changed", flush=True); sys.stdin.readline()
`;

/** What changed less than 20 ms ago is copied again anyway: only older files show whether changes of them are heard of. */
const SETTLED_MS = 100;

/** All that is copied. Whiteouts may be one file with many names or many files. */
const LOOK = `find . -mindepth 1 -type f -printf '%P f %m %U:%G %s %n %T@\n' -o -mindepth 1 -printf '%P %y %m %U:%G %T@ %l\n' | sort
find . -type f | sort | xargs sha256sum; python3 -c 'import os; print(os.listxattr("still/attribute"))'`;
const look = async (directory: string) =>
  (await run(['sh', '-ec', LOOK], { cwd: directory, maxOutputBytes: 16 << 20 })).stdout;

test('every change until the last moment is in the copy', {
  skip: usable ? false : 'needs root and the program for trees of files',
}, async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'skerry-trees-'));
  const [upper, overlay, target] = [join(scratch, 'upper'), join(scratch, 'root'), join(scratch, 'copy')];
  for (const name of ['upper', 'root', 'copy', 'work', 'layer']) await mkdir(join(scratch, name));
  await run(
    [
      'sh',
      '-ec',
      'mkdir -p lower/only; for name in file doomed only/file; do echo lower > lower/$name; done',
    ],
    { cwd: join(scratch, 'layer') },
  );
  await mountOverlay({
    layers: [join(scratch, 'layer')],
    writable: { upper, work: join(scratch, 'work') },
    ...{ target: overlay, linksDir: join(scratch, 'links'), options: [] },
  });
  const program = spawn('python3', ['-c', PROGRAM], { cwd: overlay, stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
    const hear = async (word: string) => assert.equal((await lines.next()).value, word);
    await hear('made');
    await delay(SETTLED_MS);
    const still = async (take: () => Promise<void>) => {
      program.stdin.write('go on\n');
      await hear('changed');
      await take();
    };
    await new Trees(treesBinaryPath()).copy({ upper, overlay }, target, still, AbortSignal.timeout(60_000));
    assert.deepEqual((await look(target)).split('\n'), (await look(upper)).split('\n'));
  } finally {
    program.kill('SIGKILL');
    await run(['umount', '-l', overlay]);
    await rm(scratch, { recursive: true, force: true });
  }
});
