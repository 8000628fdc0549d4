/** The door. */
import { useState } from 'preact/hooks';
import { useWork } from '../hooks.ts';
import { Failure, Heading } from '../parts.tsx';
import { signIn } from '../session.ts';

export function SignIn({ onSignedIn }: { onSignedIn: () => void }) {
  const [token, setToken] = useState('');
  const { busy, failed, start } = useWork();
  return (
    <main class="door">
      <Heading>Sign in to Skerry</Heading>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          start(() => signIn(token).then(onSignedIn));
        }}
      >
        <label for="token">Token</label>
        <input
          id="token"
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          required
          value={token}
          aria-describedby="token-help"
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <p id="token-help">
          <code>ak-…:as-…</code>, the id and the secret with a colon between them. On the server’s machine{' '}
          <code>skerry env</code> prints those of its owner.
        </p>
        <Failure of={failed} />
        <button type="submit" class="main" disabled={busy}>
          Sign in
        </button>
      </form>
    </main>
  );
}
