/** A button, the dialog with a form that it opens, and that form. */
import type { ComponentChildren } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';
import { useWork } from './hooks.ts';
import { Failure } from './parts.tsx';

/**
 * For who may do what it does. The focus goes back to the button with its end, as the browser has it.
 * @param what the button is for, as screen readers say it where others see it by its place
 * @param children its content, made anew each time it opens; given what closes it
 */
export function FormDialog({
  verb,
  what,
  title,
  children,
}: {
  verb: string;
  what?: string;
  title: string;
  children: (close: () => void) => ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  const [opened, setOpened] = useState(0);
  return (
    <>
      <button
        type="button"
        onClick={() => {
          setOpened(opened + 1);
          dialog.current?.showModal();
        }}
      >
        {verb}
        {what !== undefined && <span class="unseen"> {what}</span>}
      </button>
      <dialog ref={dialog} aria-labelledby={id}>
        <h2 id={id}>{title}</h2>
        {opened > 0 && <div key={opened}>{children(() => dialog.current?.close())}</div>}
      </dialog>
    </>
  );
}

/**
 * The form of such a dialog: what is asked for, and the two ways to go on.
 * @param leave on the button that does nothing
 * @param save on that which does the work, given what is in the form. What keeps it from it is shown
 */
export function DialogForm({
  class: className,
  leave,
  save,
  work,
  onLeft,
  children,
}: {
  class?: string;
  leave: string;
  save: string;
  work: (given: FormData) => Promise<unknown>;
  onLeft: () => void;
  children: ComponentChildren;
}) {
  const { busy, failed, start } = useWork();
  return (
    <form
      class={className}
      onSubmit={(event) => {
        event.preventDefault();
        const given = new FormData(event.currentTarget);
        start(() => work(given));
      }}
    >
      {children}
      <Failure of={failed} />
      <div class="choices">
        <button type="button" onClick={onLeft}>
          {leave}
        </button>
        <button type="submit" class="main" disabled={busy}>
          {save}
        </button>
      </div>
    </form>
  );
}
