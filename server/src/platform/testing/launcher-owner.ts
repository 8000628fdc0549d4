/** A process to be killed: has a command started by a launcher, and prints the launcher's process id once the command runs. Arguments: which, and its files. */
import { run, startCommandsWith } from '../command.ts';
import { testLauncher } from './test-launcher.ts';

const [what = '', ...files] = process.argv.slice(2);
const { launcher } = testLauncher();
startCommandsWith(launcher);
const started = () => process.stdout.write(`${launcher.pid}\n`);

/** More than pipes hold. */
const MUCH = 4 << 20;
/** Waits for the first file, writes much, and makes the second one. */
const WRITER = 'echo; until [ -e "$0" ]; do sleep 0.01; done; head -c 4194304 /dev/zero && touch "$1"';
/** Reads nothing, and does not end by itself. */
const READER = 'echo; sleep 1000';

switch (what) {
  case 'idle':
    await run(['true']);
    started();
    break;
  case 'closing':
    await run(['true']);
    started();
    await launcher.close();
    break;
  case 'working':
    await run(['sh', '-c', WRITER, ...files], { onOutput: started });
    break;
  case 'reading':
    await run(['sh', '-c', READER], { input: Buffer.alloc(MUCH, '\n'), onOutput: started });
    break;
  default:
    throw new Error(`There is no ${what}.`);
}
