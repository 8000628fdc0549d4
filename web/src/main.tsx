/** The dashboard: a person's view of one Skerry server. */
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { hrefOf, useRoute } from './hooks.ts';
import { Environments } from './pages/environments.tsx';
import { ImageRoom, Images } from './pages/images.tsx';
import { Machine } from './pages/machine.tsx';
import { SandboxRoom } from './pages/sandbox.tsx';
import { Sandboxes } from './pages/sandboxes.tsx';
import { Secrets } from './pages/secrets.tsx';
import { SignIn } from './pages/sign-in.tsx';
import { Tokens } from './pages/tokens.tsx';
import { VolumeRoom, Volumes } from './pages/volumes.tsx';
import { Heading } from './parts.tsx';
import { isAdmin, session, signOut, whenSignedOut } from './session.ts';

const ROOMS = [
  ['sandboxes', 'Sandboxes'],
  ['images', 'Images'],
  ['volumes', 'Volumes'],
  ['secrets', 'Secrets'],
  ['environments', 'Environments'],
  ['machine', 'Machine'],
] as const;

const roomsOf = () => (isAdmin() ? [...ROOMS, ['tokens', 'Tokens'] as const] : ROOMS);

function Dashboard() {
  const [signedIn, setSignedIn] = useState(() => session() !== undefined);
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
          {roomsOf().map(([id, title]) => (
            <a key={id} href={hrefOf(id)} aria-current={id === room ? 'page' : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <span class="quiet">{session()?.scope}</span>
        <button type="button" onClick={() => void signOut()}>
          Sign out
        </button>
      </header>
      <main id="main" tabIndex={-1}>
        <Room key={route.slice(0, 2).join('/')} route={route} />
      </main>
    </>
  );
}

function Room({ route: [room = 'sandboxes', id, view, more] }: { route: readonly string[] }) {
  switch (room) {
    case 'sandboxes':
      return id === undefined ? <Sandboxes /> : <SandboxRoom id={id} view={view} more={more} />;
    case 'images':
      return id === undefined ? <Images /> : <ImageRoom id={id} />;
    case 'volumes':
      return id === undefined ? <Volumes /> : <VolumeRoom name={id} path={view ?? '/'} />;
    case 'secrets':
      return <Secrets />;
    case 'environments':
      return <Environments />;
    case 'machine':
      return <Machine />;
    case 'tokens':
      return <Tokens />;
    default:
      return <Heading>There is nothing here</Heading>;
  }
}

const root = document.getElementById('app');
if (root) render(<Dashboard />, root);
