/**
 * The program that runs in a sandbox for `runCode` in JavaScript and TypeScript; python-kernel.ts has the messages. Two processes: a host, which speaks with us, and a
 * child, in whose global scope code runs, so that whatever is printed, also by programs that code starts, goes through pipes of the host's.
 *
 * Code is evaluated by V8's inspector in the mode of a REPL: `await` at the top, and names that may be declared again. A second thread of the child ends what runs.
 * Both do so while the event loop is busy, and everything stays.
 */

/** The second thread of the child: passes requests on from descriptor 4, and ends what the main thread executes when one says so. */
const SECOND_THREAD = `
const { parentPort } = require('node:worker_threads');
const session = new (require('node:inspector').Session)();
session.connectToMainThread();
const requests = require('node:fs').createReadStream('', { fd: 4 });
require('node:readline').createInterface({ input: requests }).on('line', (line) => {
  const request = JSON.parse(line);
  if (request.interrupt === undefined) return parentPort.postMessage(request);
  session.post('Runtime.terminateExecution', () => {
    // Where nothing was executed the next thing is ended: a message, which the one after it makes good.
    for (let n = 0; n < 4; n++) setTimeout(() => parentPort.postMessage(request), n * 20);
  });
});
`;

/** The child. Events go to descriptor 3. */
const CHILD = String.raw`
(() => {
'use strict';
const fs = require('node:fs');
const util = require('node:util');
const path = require('node:path');
const { Worker } = require('node:worker_threads');
const { stripTypeScriptTypes } = require('node:module');
const MAX_TEXT = 1 << 20;
const MAX_ROWS = 10_000;
const TABLE = 'application/vnd.skerry.table+json';
const session = new (require('node:inspector').Session)();
session.connect();
const post = (method, params) =>
  new Promise((resolve, reject) => session.post(method, params, (error, answer) => (error ? reject(error) : resolve(answer))));

// After what the code has written, whatever it makes of these streams.
const writers = { 1: process.stdout.write.bind(process.stdout), 2: process.stderr.write.bind(process.stderr) };
const print = (text, to) => new Promise((resolve) => writers[to](text, resolve));

let current = 0;
let interrupt = () => {};
const unhandled = new Set();
const tell = (kind, more) => {
  const line = Buffer.from(JSON.stringify({ id: current, kind, ...more }) + '\n');
  for (let at = 0; at < line.length; ) at += fs.writeSync(3, line, at);
};
// What is of this program is none of the code's.
const traceOf = (error) => {
  const text = util.types.isNativeError(error) ? String(error.stack) : 'Uncaught ' + util.inspect(error);
  return text.split('\n').filter((line) => !/^\s+at /.test(line) || /cell_\d+/.test(line)).join('\n').slice(0, MAX_TEXT);
};
const printUnhandled = () => {
  for (const error of unhandled) print('Unhandled: ' + traceOf(error) + '\n', 2);
  unhandled.clear();
};
// A promise that nobody waits for must not end the interpreter; the failure of the code itself comes this way as well, and is told otherwise.
let failed;
process.on('unhandledRejection', (error) => {
  if (failed?.error === error) return;
  unhandled.add(error);
  setTimeout(printUnhandled, 50);
});
process.on('uncaughtException', (error) => print('Unhandled: ' + traceOf(error) + '\n', 2));
// An inspector that is connected would be waited for.
process.on('exit', (code) => {
  tell('exit', { code });
  process.kill(process.pid, 'SIGKILL');
});
process.on('warning', (warning) => {
  if (warning.name !== 'PromiseRejectionHandledWarning' && warning.name !== 'ExperimentalWarning') print(String(warning) + '\n', 2);
});

const media = Symbol.for('Jupyter.display');
const isPlain = (value) =>
  Array.isArray(value) || (value !== null && typeof value === 'object' && [Object.prototype, null].includes(Object.getPrototypeOf(value)));
const bundle = (value) => {
  const data = { 'text/plain': util.inspect(value, { maxStringLength: MAX_TEXT }).slice(0, MAX_TEXT) };
  if (isPlain(value)) {
    try {
      const text = JSON.stringify(value);
      if (text.length <= MAX_TEXT) data['application/json'] = text;
    } catch {}
  }
  if (Array.isArray(value) && value.length > 0 && value.length <= MAX_ROWS && value.every((row) => isPlain(row) && !Array.isArray(row))) {
    const columns = [...new Set(value.flatMap((row) => Object.keys(row)))];
    try {
      data[TABLE] = JSON.stringify({ columns, rows: value.map((row) => columns.map((column) => row[column] ?? null)) });
    } catch {}
  }
  if (typeof value?.[media] === 'function') {
    for (const [type, shown] of Object.entries(value[media]())) data[type] = typeof shown === 'string' ? shown : JSON.stringify(shown);
  }
  return data;
};
const kernel = {
  show(value) {
    if (value !== undefined) tell('result', { data: bundle(value) });
  },
  fail(error, where) {
    failed = { error };
    unhandled.delete(error);
    const isError = util.types.isNativeError(error);
    const message = isError ? String(error.message) : util.inspect(error);
    tell('error', { name: isError ? String(error.name) : 'Error', message: message.slice(0, MAX_TEXT), traceback: traceOf(error) + (where && error instanceof SyntaxError ? where : '') });
  },
};
const define = (name, value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
const here = path.join(process.cwd(), '[code]');
define('require', require('node:module').createRequire(here));
define('__filename', here);
define('__dirname', process.cwd());
define('display', (...values) => values.forEach(kernel.show));
const { pathToFileURL } = require('node:url');
// Code of the inspector cannot import by itself: relative names are those of the working directory.
define('__import', (name, options) => {
  const text = String(name);
  return import(/^\.{0,2}\//.test(text) ? pathToFileURL(path.resolve(text)).href : text, options);
});
const handle = (async () => {
  define('__kernel', kernel);
  const { result } = await post('Runtime.evaluate', { expression: '__kernel' });
  delete globalThis.__kernel;
  return result.objectId;
})();
const call = async (name, argument, more) =>
  post('Runtime.callFunctionOn', {
    objectId: await handle,
    functionDeclaration: 'function (value, more) { this.' + name + '(value, more); }',
    arguments: [argument.objectId ? { objectId: argument.objectId } : 'unserializableValue' in argument ? { unserializableValue: argument.unserializableValue } : { value: argument.value }, { value: more }],
  });

// Declarations of modules, at the start of a line, as what does the same in a script.
const named = (list) => '{ ' + list.replace(/\s+as\s+/g, ': ') + ' }';
const asScript = (code) =>
  code
    .replace(/^([ \t]*)import\s+(?:([\w$]+)\s*(?:,\s*)?)?(?:\*\s*as\s+([\w$]+)\s*|\{([^}]*)\}\s*)?from\s*(['"][^'"\n]+['"])[ \t]*;?/gm, (_, space, whole, all, some, from) => {
      const parts = [];
      if (all) parts.push(all);
      if (some !== undefined) parts.push(named(some));
      if (whole) parts.push('{ default: ' + whole + ' }');
      const [first, ...rest] = parts.length > 0 ? parts : ['{}'];
      return space + 'let ' + [first + ' = await __import(' + from + ')', ...rest.map((each) => each + ' = await __import(' + from + ')')].join(', ') + ';';
    })
    .replace(/^([ \t]*)import\s*(['"][^'"\n]+['"])[ \t]*;?/gm, '$1await __import($2);')
    .replace(/^([ \t]*)export\s+(?=(?:async\s+)?(?:const|let|var|function|class)\b)/gm, '$1')
    .replace(/(^|[^\w$.'"])import\s*\(/gm, '$1__import(');

async function run({ id, code, mark, language }) {
  current = id;
  failed = undefined;
  const interrupted = new Promise((_, reject) => {
    interrupt = () => reject(Object.assign(new Error('The code was interrupted.'), { name: 'Interrupted', stack: 'Interrupted: The code was interrupted.' }));
  });
  interrupted.catch(() => {});
  try {
    const script = asScript(language === 'typescript' ? stripTypeScriptTypes(code) : code);
    const expression = script + '\n//# sourceURL=cell_' + id;
    const evaluated = post('Runtime.evaluate', { expression, replMode: true, awaitPromise: true });
    // The inspector's own words for what was ended while it was evaluated.
    const answer = await Promise.race([evaluated.catch((error) => new Promise((_, reject) => setTimeout(reject, 500, error))), interrupted]);
    const { exceptionDetails: thrown } = answer;
    if (thrown) await call('fail', thrown.exception ?? { value: thrown.text }, '\n    at cell_' + id + ':' + (thrown.lineNumber + 1) + ':' + (thrown.columnNumber + 1));
    else await call('show', answer.result);
  } catch (error) {
    kernel.fail(error);
  }
  interrupt = () => {};
  await Promise.all([print(mark, 1), print(mark, 2)]);
  tell('done');
}

new Worker(SECOND_THREAD, { eval: true, stdout: true, stderr: true }).on('message', (request) => {
  // From here and no timer or stream, whose work would be ended together with the code's.
  if (request.interrupt === undefined) void run(request);
  else if (request.interrupt === current) interrupt();
});
tell('ready');
})();
`;

export const JAVASCRIPT_KERNEL = String.raw`
if (process.argv[1] === 'typescript' && !require('node:module').stripTypeScriptTypes) process.exit(1); // too old
const { spawn } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const { StringDecoder } = require('node:string_decoder');
const code = 'const SECOND_THREAD = ' + JSON.stringify(${JSON.stringify(SECOND_THREAD)}) + ';' + ${JSON.stringify(CHILD)};
const child = spawn(process.execPath, ['--no-warnings', '-e', code], { stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'] });
const [, out, err, events, requests] = child.stdio;
requests.on('error', () => {}); // it has ended, which is told below
const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n');
// The interrupt is for what runs, and comes as a message; a signal to all processes is none of ours.
process.on('SIGINT', () => {});

let current = 0;
let exitCode = 1;
let mark = randomBytes(16).toString('hex');
let awaited = 0;
const arrived = () => {
  if (--awaited === 0) tell({ id: current, kind: 'done' });
};
for (const [stream, kind] of [[out, 'stdout'], [err, 'stderr']]) {
  const decoder = new StringDecoder('utf8');
  let held = Buffer.alloc(0);
  stream.on('data', (piece) => {
    held = Buffer.concat([held, piece]);
    const at = held.indexOf(mark);
    if (at >= 0) held = Buffer.concat([held.subarray(0, at), held.subarray(at + mark.length)]);
    // The start of a mark may be at the end of a piece.
    let keep = at >= 0 ? 0 : Math.min(held.length, mark.length - 1);
    while (keep > 0 && !held.subarray(held.length - keep).equals(Buffer.from(mark.slice(0, keep)))) keep--;
    const text = decoder.write(held.subarray(0, held.length - keep));
    held = held.subarray(held.length - keep);
    if (text !== '') tell({ id: current, kind, text });
    if (at >= 0) arrived();
  });
}
require('node:readline').createInterface({ input: events }).on('line', (line) => {
  const event = JSON.parse(line);
  if (event.kind === 'done') arrived();
  else if (event.kind === 'exit') exitCode = event.code;
  else tell(event);
});
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line);
  if (request.interrupt !== undefined) return requests.write(line + '\n');
  current = request.id;
  mark = randomBytes(16).toString('hex');
  awaited = 3;
  requests.write(JSON.stringify({ ...request, mark }) + '\n');
}).on('close', () => child.kill('SIGKILL'));
child.on('close', () => process.exit(exitCode));
`;
