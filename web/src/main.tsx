/** The dashboard: a person's view of one Skerry server. */
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { hrefOf, useRoute } from './hooks.ts';
import { Sandboxes } from './pages/sandboxes.tsx';
import { SignIn } from './pages/sign-in.tsx';
import { Heading } from './parts.tsx';
import { isSignedIn, signOut, whenSignedOut } from './session.ts';

const ROOMS = [['sandboxes', 'Sandboxes']] as const;

function Dashboard() {
  const [signedIn, setSignedIn] = useState(isSignedIn);
  useEffect(() => whenSignedOut(() => setSignedIn(false)), []);
  const route = useRoute();
  const [room = 'sandboxes'] = route;
  useEffect(() => {
    document.title = `${route.at(-1) ?? 'sandboxes'} · Skerry`;
  }, [route]);
  if (!signedIn) return <SignIn onSignedIn={() => setSignedIn(true)} />;
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById('main')?.focus()}>
        Skip to content
      </button>
      <header>
        <a class="brand" href="#/">
          Skerry
        </a>
        <nav aria-label="Rooms">
          {ROOMS.map(([id, title]) => (
            <a key={id} href={hrefOf(id)} aria-current={id === room ? 'page' : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <button type="button" onClick={() => void signOut()}>
          Sign out
        </button>
      </header>
      <main id="main" tabIndex={-1}>
        <Room key={route.join('/')} route={route} />
      </main>
    </>
  );
}

function Room({ route: [room = 'sandboxes'] }: { route: readonly string[] }) {
  if (room === 'sandboxes') return <Sandboxes />;
  return <Heading>There is nothing here</Heading>;
}

const root = document.getElementById('app');
if (root) render(<Dashboard />, root);
