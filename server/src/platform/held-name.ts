/** Names that one process at a time has, among those of a network namespace: abstract sockets, which the kernel frees when the process ends, however it does. */
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Holds a name until it is disposed of; nothing waits for that before the process ends. @returns undefined when another process has it */
export async function holdName(name: string): Promise<Disposable | undefined> {
  const holder = createServer((socket) => socket.destroy()).unref();
  try {
    await once(holder.listen({ path: `\0${name}` }), 'listening');
    return { [Symbol.dispose]: () => void holder.close() };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined;
    throw error;
  }
}
