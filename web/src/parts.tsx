/** Small parts of pages. Everything that is shown is text: nothing that clients or sandboxes say is markup. */
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import { duration, moment } from './format.ts';
import { useQuery } from './hooks.ts';
import { mayChange } from './session.ts';

/** Something that went wrong. Screen readers tell at once. */
export const Failure = ({ of }: { of: string | undefined }) => (
  <div role="alert">{of && <p class="failure">{of}</p>}</div>
);

/** What a page is about; the focus goes there when it opens, so that keyboards and screen readers begin there. */
export function Heading({ children }: { children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  return (
    <h1 ref={heading} tabIndex={-1}>
      {children}
    </h1>
  );
}

/** How long ago something was, with when in its tooltip. */
export const Ago = ({ at }: { at: string | number | null | undefined }) =>
  at === null || at === undefined ? (
    <>–</>
  ) : (
    <time dateTime={new Date(at).toISOString()} title={moment(at)}>
      {duration(Date.now() - new Date(at).getTime())}
    </time>
  );

/** When something is or was, by date and time. */
export const When = ({ at }: { at: string | number }) => (
  <time dateTime={new Date(at).toISOString()}>{moment(at)}</time>
);

export const State = ({ of }: { of: string }) => <span class={`state ${of}`}>{of}</span>;

/**
 * A field for what is looked for in a list, which the page's address says as well.
 * @param textsOf what is looked through, of one of them
 */
export function useSearch<T>(
  all: readonly T[] | undefined,
  textsOf: (each: T) => readonly (string | null | undefined)[],
  placeholder: string,
): {
  readonly field: ComponentChildren;
  readonly text: string;
  /** Those in which each word of it is somewhere. */
  readonly found: readonly T[] | undefined;
} {
  const [text, setText] = useQuery('search');
  const words = text.toLowerCase().split(/\s+/);
  const found = all?.filter((each) => {
    const whole = textsOf(each).join(' ').toLowerCase();
    return words.every((word) => whole.includes(word));
  });
  const field = (
    <label>
      Search{' '}
      <input
        type="search"
        placeholder={placeholder}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
    </label>
  );
  return { field, text, found };
}

/** How many of a list are shown; screen readers tell it as it changes. */
export const Count = ({
  of,
  all,
  more,
}: {
  of: number | undefined;
  all: number | undefined;
  more?: boolean;
}) => (
  <p role="status" class="quiet">
    {of !== undefined && `${of} of ${all}${more ? ' newest' : ''}`}
  </p>
);

/** What something is: a name for each thing that is known of it. */
export const Fact = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

/** A table that scrolls sideways by itself where the screen is narrow. */
export const Table = ({
  label,
  heads,
  children,
}: {
  label: string;
  heads: readonly string[];
  children: ComponentChildren;
}) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
  <section class="wide" aria-label={label} tabIndex={0}>
    <table>
      <thead>
        <tr>
          {heads.map((head) => (
            <th key={head} scope="col">
              {head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  </section>
);

/** A button that asks before it does what cannot be undone; nothing for who may only look. */
export function Danger({
  verb,
  what,
  loses,
  disabled = false,
  onConfirm,
}: {
  verb: string;
  what: string;
  /** What is gone then. */
  loses: string;
  disabled?: boolean;
  onConfirm: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  if (!mayChange()) return null;
  return (
    <>
      <button type="button" class="danger" disabled={disabled} onClick={() => dialog.current?.showModal()}>
        {verb}
        <span class="unseen"> {what}</span>
      </button>
      <dialog ref={dialog} aria-labelledby={title}>
        <h2 id={title}>
          {verb} {what}?
        </h2>
        <p>{loses}</p>
        <form method="dialog">
          <button type="submit">Keep it</button>
          <button type="submit" class="danger" onClick={onConfirm}>
            {verb} it
          </button>
        </form>
      </dialog>
    </>
  );
}
