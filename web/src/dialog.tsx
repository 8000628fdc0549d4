/** A button, and the dialog with a form that it opens. */
import type { ComponentChildren } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';

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
