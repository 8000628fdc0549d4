/** A shell in a sandbox, drawn by xterm.js: keys are POSTs, one at a time, and what it writes is one stream (`sdk/src/process.ts`). */
import { FitAddon } from '@xterm/addon-fit';
import { type ITheme, Terminal } from '@xterm/xterm';
import { sandboxOf } from './sandbox-access.ts';

/** Bash where the image has it, since that is what people expect. */
const SHELL = ['/bin/sh', '-c', 'if command -v bash >/dev/null 2>&1; then exec bash -l; fi; exec sh'];

/**
 * Runs one until it ends, or is aborted, which ends it.
 * @param readAloud has what is written in a form for screen readers; keyboards of phones write nothing then
 * @param leave is called when the keyboard is to go elsewhere
 * @returns its exit code
 */
export async function runShell(
  id: string,
  into: HTMLElement,
  {
    signal,
    leave,
    readAloud,
  }: { readonly signal: AbortSignal; readonly leave: () => void; readonly readAloud: boolean },
): Promise<number> {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const terminal = new Terminal({ screenReaderMode: readAloud, fontSize: 14, theme: themeOf(dark.matches) });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(into);
  fit.fit();
  const recolour = () => {
    terminal.options.theme = themeOf(dark.matches);
  };
  dark.addEventListener('change', recolour);
  const watch = new ResizeObserver(() => fit.fit());
  watch.observe(into);
  try {
    const sandbox = await sandboxOf(id);
    const process = sandbox.exec(SHELL, {
      ...{ stdin: 'open', signal },
      env: { TERM: 'xterm-256color' },
      pty: { rows: terminal.rows, cols: terminal.cols },
    });
    const write = oneAtATime((text) => process.stdin.write(text));
    terminal.onData(write);
    terminal.onResize((size) => void process.resize({ rows: size.rows, cols: size.cols }).catch(() => {}));
    terminal.attachCustomKeyEventHandler((event) => {
      if (event.key !== 'Escape' || !event.shiftKey) return true;
      // Only then has the terminal seen all of that key.
      if (event.type === 'keyup') leave();
      return false;
    });
    terminal.focus();
    const output = process.follow('stdout', { signal });
    for (;;) {
      const { done, value } = await output.next();
      if (done) return value.exitCode;
      // Waiting has the server wait too, so that a flood is as long as what is drawn.
      await new Promise<void>((resolve) => terminal.write(value.bytes, resolve));
    }
  } finally {
    dark.removeEventListener('change', recolour);
    watch.disconnect();
    terminal.options.disableStdin = true;
    signal.addEventListener('abort', () => terminal.dispose(), { once: true });
    if (signal.aborted) terminal.dispose();
  }
}

/** Sends text in order; what comes while a piece is under way goes with the next. */
function oneAtATime(send: (text: string) => Promise<void>): (text: string) => void {
  let waiting = '';
  let busy = false;
  return (text) => {
    waiting += text;
    if (busy) return;
    busy = true;
    void (async () => {
      while (waiting !== '') {
        const piece = waiting;
        waiting = '';
        await send(piece).catch(() => {}); // its end, or that of the session, is told elsewhere
      }
      busy = false;
    })();
  };
}

const themeOf = (dark: boolean): ITheme =>
  dark
    ? { background: '#12181b', foreground: '#e4ecef', cursor: '#7fd3e2' }
    : {
        background: '#ffffff',
        foreground: '#16212a',
        cursor: '#0f5e6b',
        selectionBackground: '#b9dbe1',
        // Those of dark backgrounds cannot be read on a light one.
        yellow: '#7a5200',
        brightYellow: '#7a5200',
        green: '#1a6b34',
        brightGreen: '#1a6b34',
        cyan: '#0b5563',
        brightCyan: '#0b5563',
        white: '#51626d',
        brightWhite: '#16212a',
      };
