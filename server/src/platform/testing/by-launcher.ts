/**
 * For test files that run commands by the hundred: imported, it has them started as a server's are. A fork of a process as large as theirs takes 3 to 5 ms of the processor, most of what
 * many of the commands take.
 */
import { startCommandsWith } from '../command.ts';
import { testLauncher } from './test-launcher.ts';

// It ends with this process, and keeps it from ending only while a command runs.
startCommandsWith(testLauncher().launcher);
