// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are Dockerfile variables
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkerryError } from '../../errors/skerry-error.ts';
import { changeMode } from './copy-words.ts';
import type { Instruction, RunMount, WrittenMount } from './instruction.ts';
import { parseDockerfile } from './parse.ts';
import { readRunMount } from './run-mount.ts';

const steps = (...lines: string[]): readonly Instruction[] =>
  parseDockerfile(`FROM x\n${lines.join('\n')}`).stages[0]?.instructions ?? [];
/** The one instruction of `lines` without its position. */
const only = (...lines: string[]): Record<string, unknown> => {
  const found = steps(...lines);
  assert.equal(found.length, 1, JSON.stringify(found));
  return Object.fromEntries(
    Object.entries(found[0] ?? {}).filter(([key]) => key !== 'line' && key !== 'source'),
  );
};
const refuses = (text: string, message: RegExp) =>
  assert.throws(
    () => parseDockerfile(text),
    (error) =>
      error instanceof SkerryError && error.code === 'invalid-argument' && message.test(error.message),
  );

test('continued lines lose comments, empty lines and nothing else', () => {
  const run = only(
    'RUN apt-get update && \\   ',
    '  # a comment',
    '',
    '    apt-get install -y \\',
    ' a "b \\',
    ' c"',
  );
  assert.deepEqual(run.command, {
    form: 'shell',
    text: 'apt-get update &&     apt-get install -y  a "b  c"',
  });
});

test('three list items of one RUN, as poetry_install_from_file sends them, are one instruction', () => {
  const run = only(
    'RUN cd /tmp/poetry && \\ ',
    '  poetry config virtualenvs.create false && \\ ',
    '  poetry install',
  );
  assert.ok(JSON.stringify(run.command).endsWith('poetry install"}'));
});

test('CRLF line ends and the escape directive', () => {
  const file = parseDockerfile('# escape=`\r\nFROM x\r\nRUN a `\r\n  b c:\\d\r\nUSER me\r\n');
  assert.equal(file.escapeChar, '`');
  assert.deepEqual(
    file.stages[0]?.instructions.map((each) => each.source),
    ['RUN a   b c:\\d', 'USER me'],
  );
});

test('shell and exec forms; a list that is no JSON is shell form', () => {
  assert.deepEqual(only('RUN ["a", "b c"]').command, { form: 'exec', argv: ['a', 'b c'] });
  assert.deepEqual(only('CMD []').command, { form: 'exec', argv: [] });
  assert.deepEqual(only("CMD ['a']").command, { form: 'shell', text: "['a']" });
  assert.deepEqual(only('ENTRYPOINT a "b c"').command, { form: 'shell', text: 'a "b c"' });
});

test('a heredoc is a script when it is the whole command, else part of the shell text', () => {
  const script = only('RUN <<EOF', 'echo hi', '  # stays', 'USER nobody \\', 'EOF');
  assert.equal(script.script, 'echo hi\n  # stays\nUSER nobody \\\n');
  const [piped, user] = steps('RUN python3 <<PY && echo ok', 'print(1)', 'PY', 'USER me');
  assert.deepEqual(piped?.kind === 'run' && [piped.script, piped.command], [
    undefined,
    { form: 'shell', text: 'python3 <<PY && echo ok\nprint(1)\nPY' },
  ]);
  assert.equal(user?.kind, 'user');
  assert.deepEqual(only('RUN echo $((1 << 2)) <<< "x"').command, {
    form: 'shell',
    text: 'echo $((1 << 2)) <<< "x"',
  });
});

test('COPY: flags, several sources, JSON, heredocs', () => {
  const copy = only('COPY --chown=a:b --chmod=755 --from=x --link a "b c" d/');
  assert.deepEqual(copy, {
    kind: 'copy',
    ...{ add: false, unpack: undefined, checksum: undefined, parents: false, exclude: [] },
    from: 'x',
    link: false,
    chown: 'a:b',
    chmod: '755',
    sources: ['a', '"b c"'],
    heredocs: [],
    destination: 'd/',
  });
  assert.deepEqual(only('COPY ["a b", "/c d"]').sources, ['a b']);
  assert.deepEqual(only('COPY <<-A <<"B" /d/', '\tx $Y', '\tA', 'y', 'B').heredocs, [
    { name: 'A', content: 'x $Y\n', expand: true },
    { name: 'B', content: 'y\n', expand: false },
  ]);
});

test('ENV and LABEL in both forms, ARG, EXPOSE, SHELL', () => {
  assert.deepEqual(only(`ENV A="x y" B='z' C=a\\ b D=`).pairs, [
    ['A', '"x y"'],
    ['B', "'z'"],
    ['C', 'a\\ b'],
    ['D', ''],
  ]);
  assert.deepEqual(only('ENV A hello   world').pairs, [['A', 'hello   world']]);
  assert.deepEqual(only('LABEL a=b "c d"=e').pairs, [
    ['a', 'b'],
    ['"c d"', 'e'],
  ]);
  assert.deepEqual(only('ARG A B=1').args, [
    { name: 'A', value: undefined },
    { name: 'B', value: '1' },
  ]);
  assert.deepEqual(only('EXPOSE 80/tcp 90-91').ports, ['80/tcp', '90-91']);
  assert.deepEqual(only('SHELL ["/bin/bash", "-c"]').argv, ['/bin/bash', '-c']);
});

test('stages, global ARGs, platforms and digests', () => {
  const file = parseDockerfile(
    'ARG V=3.11\nFROM --platform=linux/amd64 python:$V@sha256:ab AS Build\nRUN a\nFROM build\n',
  );
  assert.equal(file.globalArgs.length, 1);
  assert.deepEqual(
    file.stages.map(({ from }) => [from.image, from.alias, from.platform]),
    [
      ['python:$V@sha256:ab', 'build', 'linux/amd64'],
      ['build', undefined, undefined],
    ],
  );
});

/** The mounts of a RUN, every variable with the value `7`. */
const mountsOf = (flags: string): readonly (RunMount | undefined)[] =>
  (only(`RUN ${flags} x`).mounts as readonly WrittenMount[]).map(
    (
      mount, // of a RUN
    ) => readRunMount(mount, (word) => word.replaceAll('$V', '7'), assert.fail),
  );

test('RUN mounts: binds, private scratch space and secrets', () => {
  const mount = (options: string) => mountsOf(`--mount=${options}`)[0];
  const root = { uid: 0, gid: 0 };
  assert.deepEqual(
    mountsOf('--mount=type=cache,id=a,sharing=locked,target=/root/.cache --mount=type=secret,id=k'),
    [
      { type: 'scratch', target: '/root/.cache', mode: 0o755, ...root },
      {
        ...{ type: 'secret', id: 'k', target: '/run/secrets/k', env: undefined, required: false },
        ...{ mode: 0o400, ...root },
      },
    ],
  );
  assert.deepEqual(mount('type=tmpfs,dst=/t,size=10m'), {
    ...{ type: 'scratch', target: '/t', mode: 0o755, ...root },
  });
  assert.deepEqual(mount('type=secret,id=k,env=KEY,required,uid=7,mode=0440'), {
    ...{ type: 'secret', id: 'k', target: undefined, env: 'KEY', required: true },
    ...{ mode: 0o440, uid: 7, gid: 0 },
  });
  const bind = { type: 'bind', target: '/b', from: undefined, source: '', readOnly: true };
  assert.deepEqual(mount('target=/b'), bind);
  assert.deepEqual(mount('type=bind,from=s'), { ...bind, target: '', from: 's' });
  assert.deepEqual(mount('ro=false,target="/b",source=\'a b\''), { ...bind, source: 'a b', readOnly: false });
  assert.deepEqual(mount('type=cache,target="/a/$V",id="x",uid=$V,gid="$V",mode=0$V00'), {
    ...{ type: 'scratch', target: '/a/7', mode: 0o700, uid: 7, gid: 7 },
  });
  assert.deepEqual(mount('type=secret,src=k$V,required=false'), {
    ...{ type: 'secret', id: 'k7', target: '/run/secrets/k7', env: undefined, required: false },
    ...{ mode: 0o400, ...root },
  });
  assert.equal(mount('type=ssh,id=default,mode=0600'), undefined);
  assert.deepEqual(mount('type=bind,src=a/$B,destination=/b,ro'), { ...bind, source: 'a/$B' });
  assert.deepEqual(mount('"type=bind,from=s,source=/x,target=b,rw=true"'), {
    ...{ type: 'bind', target: 'b', from: 's', source: '/x', readOnly: false },
  });
  assert.deepEqual(mount('type=cache,from=s,target=/c'), {
    ...bind,
    target: '/c',
    from: 's',
    readOnly: false,
  });
  const refusals: [string, RegExp][] = [
    ['type=ssh,required', /line 2: .*type=ssh,required is not supported/],
    ['type=secret', /line 2: .*needs an id/],
    ['type=secret,id=a,src=b', /line 2: .*a source or an id, not both/],
    ['type=volume,target=/b', /`volume` is no type of mount/],
    ['type=toString,target=/b', /`toString` is no type of mount/],
    ['type=bind,target=/b,size=1', /type=bind has no option `size`/],
    ['type=bind,target=/b,rw=maybe', /`rw` of a mount is true or false/],
    ['type=cache,target=/b,mode=999', /`mode` of a mount is a number/],
  ];
  for (const [options, message] of refusals) refuses(`FROM x\nRUN --mount=${options} x`, message);
});

test('what cannot be built is refused with its line', () => {
  refuses('FROM x\nRUN a \\\n  b\nFOO bar', /^Dockerfile line 4: unknown instruction `FOO`$/);
  refuses('FROM x\nRUN', /line 2: RUN needs an argument/);
  refuses('RUN x', /line 1: only ARG may come before/);
  refuses('', /has no FROM/);
  for (const signal of ['SIGQUIT extra', 'SIGFOO', '0', '65', 'SIGRTMIN-1', 'SIGRTMAX+1', '-9'])
    refuses(`FROM x\nRUN a\nSTOPSIGNAL ${signal}`, /^Dockerfile line 3: STOPSIGNAL takes a signal/);
  refuses('FROM x y', /line 1: FROM is/);
  for (const repository of [
    'https://github.com/a/b.git#v1',
    '"https://github.com/a/b.git#v$VERSION"',
    'git@github.com:a/b',
    'git://h/b',
    'ssh://git@h/b',
  ])
    refuses(`FROM x\nADD ${repository} /b`, /line 2: ADD of a Git repository is not supported: clone it/);
  refuses('FROM x\nADD ftp://example.com/a /b', /line 2: ADD takes http and https, not ftp/);
  refuses('FROM x\nADD https://example.com/a file /b/', /line 2: ADD takes URLs or files, not both/);
  refuses('FROM x\nADD --checksum=sha256:abc https://example.com/a /b', /line 2: `--checksum` is `sha256:`/);
  refuses(
    `FROM x\nADD --checksum=sha256:${'a'.repeat(64)} file /b`,
    /line 2: `--checksum` is for ADD of one URL/,
  );
  refuses('FROM x\nCOPY --chmod=u+z a b', /line 2: --chmod takes a mode such as 755/);
  refuses('FROM x\nCOPY --checksum=x a b', /line 2: COPY has no flag `--checksum`/);
  refuses('FROM x\nADD --from=x a b', /line 2: ADD has no flag `--from`/);
  for (const keyword of ['ONBUILD RUN x', 'FROM y', 'MAINTAINER me'])
    refuses(`FROM x\nONBUILD ${keyword}`, /line 2: \w+ cannot be a trigger of ONBUILD/);
  refuses('FROM x\nRUN y\nONBUILD RUN --network=host z', /line 3: RUN --network=host is not supported/);
  refuses('FROM x\nCOPY a', /line 2: COPY needs/);
  refuses('FROM x\nRUN <<EOF\necho', /line 2: the heredoc/);
  refuses('FROM x\nSHELL bash', /line 2: SHELL needs a JSON list/);
});

test('VOLUME, HEALTHCHECK and MAINTAINER, as Docker reads them', () => {
  assert.deepEqual(only('VOLUME /x "/y z" $D').paths, ['/x', '"/y z"', '$D']);
  assert.deepEqual(only('VOLUME ["/x", "/y z"]').paths, ['/x', '/y z']);
  assert.equal(only('MAINTAINER Some Body <a@example.com>').value, 'Some Body <a@example.com>');
  assert.deepEqual(only('HEALTHCHECK none').healthcheck, { test: ['NONE'] });
  assert.deepEqual(only('HEALTHCHECK CMD curl -f "http://localhost" || exit 1').healthcheck, {
    test: ['CMD-SHELL', 'curl -f "http://localhost" || exit 1'],
  });
  const flags = '--interval=1m30s --timeout=1.5s --start-period=2h --start-interval=250ms --retries=4';
  assert.deepEqual(only(`HEALTHCHECK ${flags} CMD ["true", "$X"]`).healthcheck, {
    test: ['CMD', 'true', '$X'],
    ...{ intervalNs: 90e9, timeoutNs: 1.5e9, startPeriodNs: 7200e9, startIntervalNs: 0.25e9, retries: 4 },
  });
  assert.deepEqual(only('HEALTHCHECK --interval=0 --retries=0 CMD x').healthcheck, {
    test: ['CMD-SHELL', 'x'],
  });
  for (const [line, why] of [
    ['VOLUME', /VOLUME needs an argument/],
    ['VOLUME []', /VOLUME needs a directory/],
    ['HEALTHCHECK', /HEALTHCHECK needs an argument/],
    ['HEALTHCHECK true', /HEALTHCHECK is `HEALTHCHECK CMD command`/],
    ['HEALTHCHECK NONE true', /HEALTHCHECK is/],
    ['HEALTHCHECK CMD []', /HEALTHCHECK CMD has no command/],
    ['HEALTHCHECK --interval=30 CMD x', /--interval is a time such as 30s/],
    ['HEALTHCHECK --timeout=1us CMD x', /--timeout is a time .*1ms at least/],
    ['HEALTHCHECK --retries=-1 CMD x', /--retries is a whole number/],
    ['HEALTHCHECK --wait=1s CMD x', /HEALTHCHECK has no flag `--wait`/],
  ] as const)
    refuses(`FROM x\n${line}`, new RegExp(`line 2: ${why.source}`));
});

test('COPY --parents and --exclude, ADD of URLs, modes by letters, mounts of an agent that is not there, triggers', () => {
  const copy = only('COPY --parents --exclude=*.md --exclude=**/test --chmod=u=rwX,go=rX ./a/./b /c/');
  assert.deepEqual(
    [copy.parents, copy.exclude, copy.chmod, copy.sources],
    [true, ['*.md', '**/test'], 'u=rwX,go=rX', ['./a/./b']],
  );
  assert.equal(only('COPY --parents=false a b').parents, false);
  assert.deepEqual(
    ['--link', '--link=false', '--link --chmod=600'].map((flags) => only(`COPY ${flags} a b`).link),
    [true, false, false],
  );
  const checksum = `sha256:${'0'.repeat(64)}`;
  const add = only(`ADD --checksum=${checksum} --unpack=true https://example.com/a.tar.gz /b/`);
  assert.deepEqual([add.add, add.checksum, add.unpack], [true, checksum, true]);
  const quoted = only(`ADD --checksum="${checksum}" --chmod='755' "https://example.com/a" /b`);
  assert.deepEqual(quoted.sources, ['"https://example.com/a"']);
  assert.deepEqual([only('ADD a b').unpack, only('ADD --unpack=false a b').unpack], [undefined, false]);
  assert.deepEqual(mountsOf('--mount=type=ssh --mount=type=tmpfs,target=/t'), [
    undefined,
    { type: 'scratch', target: '/t', mode: 0o755, uid: 0, gid: 0 },
  ]);
  assert.equal(only('ONBUILD COPY . /app').trigger, 'COPY . /app');
  assert.equal(only('ONBUILD RUN <<E', 'echo a', 'E').trigger, 'RUN <<E\necho a\nE');
});

test('modes by letters do what chmod(1) does', () => {
  for (const [text, mode, isDirectory, expected] of [
    ['755', 0o600, false, 0o755],
    ['+x', 0o644, false, 0o755],
    ['u=rwX,go=rX', 0o600, false, 0o644],
    ['u=rwX,go=rX', 0o600, true, 0o755],
    ['a+X', 0o744, false, 0o755],
    ['go-rwx', 0o4755, false, 0o4700],
    ['u+s,o=', 0o755, false, 0o4750],
    ['g=s', 0o777, false, 0o2707],
    ['+t', 0o777, true, 0o1777],
    ['g=u', 0o640, false, 0o660],
    ['o+g', 0o754, false, 0o755],
  ] as const)
    assert.equal(changeMode(text, mode, isDirectory), expected, text);
});
