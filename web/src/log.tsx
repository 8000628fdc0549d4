/** Text that comes as something goes on, and grows at its end. It is shown as text. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { messageOf } from './hooks.ts';
import { Failure } from './parts.tsx';

/** What is kept on the page, however much a program writes; the server has all of it. */
const MAX_CHARACTERS = 200_000;
const MAX_PIECES = 2_000;

/** Adds text. @param kind a class for its colour */
type Add = (text: string, kind: string) => void;

/**
 * What something writes, for as long as this is on the page: give it a key where it may be of something else next.
 * @param follow adds what there is and what comes, until its end or the signal's; gives what is said of the end
 */
export function Log({
  label,
  follow,
}: {
  label: string;
  follow: (add: Add, signal: AbortSignal) => Promise<string>;
}) {
  const place = useRef<HTMLPreElement>(null);
  const [end, setEnd] = useState('');
  const [failed, setFailed] = useState<string>();
  useEffect(() => {
    const stop = new AbortController();
    const into = place.current;
    if (into) {
      follow(adderTo(into), stop.signal)
        .then(setEnd)
        .catch((error: unknown) => {
          if (!stop.signal.aborted) setFailed(messageOf(error));
        });
    }
    return () => stop.abort();
  }, []);
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <pre ref={place} class="log" role="log" aria-label={label} tabIndex={0} />
      <p role="status" class="quiet">
        {end}
      </p>
      <Failure of={failed} />
    </>
  );
}

/**
 * Draws once a frame, so that of a flood no more is laid out than can be seen: the rest makes room for what follows it before. Follows the text's end unless somebody
 * reads further up.
 */
function adderTo(into: HTMLElement): Add {
  /** Those on the page, and behind them those that will be. */
  const pieces: HTMLElement[] = [];
  let characters = 0;
  let drawing = false;
  const draw = () => {
    drawing = false;
    const atEnd = into.scrollHeight - into.scrollTop - into.clientHeight < 40;
    into.append(...pieces.filter((piece) => piece.parentNode === null));
    if (atEnd) into.scrollTop = into.scrollHeight;
  };
  return (text, kind) => {
    const shown = plain(text).slice(-MAX_CHARACTERS);
    const last = pieces.at(-1);
    if (last && last.parentNode === null && last.className === kind) last.append(shown);
    else {
      const piece = document.createElement('span');
      piece.className = kind;
      piece.append(shown);
      pieces.push(piece);
    }
    characters += shown.length;
    while (characters > MAX_CHARACTERS || pieces.length > MAX_PIECES) {
      const first = pieces[0]?.firstChild;
      characters -= first?.textContent?.length ?? 0;
      first?.remove();
      if (!pieces[0]?.firstChild) pieces.shift()?.remove();
    }
    if (!drawing) requestAnimationFrame(draw);
    drawing = true;
  };
}

/** Without the sequences that colour a terminal (ECMA-48, section 5.4), and other control characters. */
const plain = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
  text.replaceAll(/\u001b\[[0-?]*[ -/]*[@-~]|\u001b|[\u0000-\u0008\u000b-\u001a]/g, '');
