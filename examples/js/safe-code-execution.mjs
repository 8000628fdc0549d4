// Run code in five languages in a sandbox that it cannot get out of, with the official Modal client for JavaScript:
//
//   eval "$(skerry env)"
//   npm install modal
//   node safe-code-execution.mjs
//
// The same program as examples/python/safe_code_execution.py. This client shows no build log.
import { ModalClient } from 'modal';

const modal = new ModalClient();
const app = await modal.apps.fromName('example-safe-code-execution', { createIfMissing: true });
const image = modal.images
  .fromRegistry('python:3.11-slim-bookworm')
  .dockerfileCommands(['RUN apt-get update', 'RUN apt-get install -y nodejs ruby php']);

// The image is built when it is first used, and cached. Without a command the sandbox waits for us.
const sandbox = await modal.sandboxes.create(app, image);
console.log(`Sandbox ID: ${sandbox.sandboxId}`);

// The five processes run at the same time.
const hellos = await Promise.all([
  sandbox.exec(['echo', 'hello from bash']),
  sandbox.exec(['python', '-c', "print('hello from python')"]),
  sandbox.exec(['node', '-e', 'console.log("hello from nodejs")']),
  sandbox.exec(['ruby', '-e', "puts 'hello from ruby'"]),
  sandbox.exec(['php', '-r', "echo 'hello from php';"]),
]);
for (const hello of hellos) process.stdout.write(await hello.stdout.readText());
console.log();

// Languages work together through pipes: Python draws numbers, Node.js adds them up.
const draw = 'import random; print(*(random.randint(1, 100) for _ in range(10)))';
const add = `
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const sum = line.split(" ").map(Number).reduce((a, b) => a + b, 0);
  console.log("The sum of the random numbers is: " + sum);
});`;
const combined = await sandbox.exec(['bash', '-c', `python -c '${draw}' | node -e '${add}'`]);
console.log((await combined.stdout.readText()).trim());

// Output of a long-running process comes as it is printed.
const slowPrinter = await sandbox.exec([
  'ruby',
  '-e',
  '10.times { |i| puts "Line #{i + 1}: #{Time.now}"; STDOUT.flush; sleep(0.5) }',
]);
for await (const text of slowPrinter.stdout) process.stdout.write(text);

// The sandbox is kept apart from everything else, so this harms only itself.
await sandbox.exec(['rm', '-rfv', '/', '--no-preserve-root']);

await sandbox.terminate();
modal.close();
