/** The form that makes a token, that which gives one another secret, and the one time that a secret can be seen. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { DialogForm } from '../dialog.tsx';
import { useWork } from '../hooks.ts';
import { Failure } from '../parts.tsx';
import { QuotaFields, quotasOf } from '../quotas.tsx';
import { send } from '../session.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const SCOPES = {
  read: 'looks at everything, changes nothing',
  sandboxes: 'all that programs do',
  admin: 'all that the operator does, tokens included',
};

/** How long the secret before stays good: until all who have it were told. */
const GRACES = [
  [0, 'not any more'],
  [HOUR_MS, 'for an hour'],
  [DAY_MS, 'for a day'],
  [7 * DAY_MS, 'for 7 days'],
  [30 * DAY_MS, 'for 30 days'],
] as const;

/** As requests that make a secret answer: what is given to whoever asks for it, once. */
interface Issued {
  readonly tokenId: string;
  readonly tokenSecret: string;
}
const wholeOf = ({ tokenId, tokenSecret }: Issued): string => `${tokenId}:${tokenSecret}`;

/** What a token is to be. @param onMade is given its id and its secret, with a colon between them */
export function TokenForm({ onMade }: { onMade: (secret: string) => void }) {
  const [scope, setScope] = useState<keyof typeof SCOPES>('sandboxes');
  const { busy, failed, start } = useWork();
  const make = async (form: HTMLFormElement) => {
    const given = new FormData(form);
    const days = Number(given.get('days'));
    const wish = {
      label: String(given.get('label')).trim(),
      scope,
      ...(days > 0 && { expiresAtMs: Date.now() + days * DAY_MS }),
      quotas: quotasOf(given),
    };
    onMade(wholeOf(await send<Issued>('POST', '/skerry/v1/tokens', wish)));
  };
  return (
    <>
      <form
        class="fields"
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          start(() => make(form));
        }}
      >
        <label>
          Label
          <input name="label" maxLength={64} placeholder="whom or what it is for" autocomplete="off" />
        </label>
        <label>
          Scope
          <select
            value={scope}
            // Its values are those below.
            onChange={(event) => setScope(event.currentTarget.value as keyof typeof SCOPES)}
          >
            {Object.keys(SCOPES).map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
          <small>{SCOPES[scope]}</small>
        </label>
        <label>
          Expires
          <select name="days">
            <option value="0">never</option>
            {[1, 7, 30, 90, 365].map((days) => (
              <option key={days} value={days}>
                in {days} {days === 1 ? 'day' : 'days'}
              </option>
            ))}
          </select>
        </label>
        {/* The server refuses quotas of who can make tokens without. */}
        <QuotaFields disabled={scope === 'admin'} />
        <button type="submit" class="main" disabled={busy}>
          Make it
        </button>
      </form>
      <Failure of={failed} />
    </>
  );
}

/** Gives a token another secret. @param isOwn whether who does it is signed in with that token @param onMade as for `TokenForm` */
export function RotateForm({
  tokenId,
  isOwn,
  onMade,
  onLeft,
}: {
  tokenId: string;
  isOwn: boolean;
  onMade: (secret: string) => void;
  onLeft: () => void;
}) {
  const rotate = async (given: FormData) => {
    const graceMs = Number(given.get('grace'));
    onMade(wholeOf(await send<Issued>('POST', `/skerry/v1/tokens/${tokenId}/secret`, { graceMs })));
  };
  return (
    <DialogForm class="fields" leave="Keep it" save="Make another" work={rotate} onLeft={onLeft}>
      <p>Its id, its quotas and its sandboxes stay.{isOwn && ' You are signed in with it.'}</p>
      <label>
        The secret of now is good
        <select name="grace" defaultValue={String(HOUR_MS)}>
          {GRACES.map(([ms, title]) => (
            <option key={ms} value={ms} selected={ms === HOUR_MS}>
              {title}
            </option>
          ))}
        </select>
        <small>Sessions of this page end with it.</small>
      </label>
    </DialogForm>
  );
}

/** The one time that it can be seen. @param secret id and secret */
export function Secret({ secret, onDone }: { secret: string; onDone: () => void }) {
  const field = useRef<HTMLInputElement>(null);
  const copying = useWork();
  const [copied, setCopied] = useState(false);
  useEffect(() => field.current?.select(), []);
  // Pages without TLS, but for the machine's own, have no clipboard.
  const clipboard: Clipboard | undefined = navigator.clipboard;
  return (
    <section class="made" aria-labelledby="made">
      <h2 id="made">A secret was made</h2>
      <p>
        Keep it now: the server has no more than its hash, and shows it never again. What stands before the
        colon is <code>MODAL_TOKEN_ID</code>, what stands behind it <code>MODAL_TOKEN_SECRET</code>.
      </p>
      <div class="tools">
        <input ref={field} readOnly value={secret} aria-label="Id and secret" spellcheck={false} />
        {clipboard && (
          <button
            type="button"
            onClick={() => copying.start(() => clipboard.writeText(secret).then(() => setCopied(true)))}
          >
            Copy
          </button>
        )}
        <button type="button" onClick={onDone}>
          I have it
        </button>
        <span role="status">{copied && 'Copied.'}</span>
      </div>
      <Failure of={copying.failed} />
    </section>
  );
}
