/** What an attack is. Attacks are data; `attacks.test.ts` runs them, `npm run test:attacks` writes what came of them into `docs/security.md`. */
import type { NetworkHole } from './network-hole.ts';
import type { Weakening } from './weakenings.ts';

export type Runtime = 'runc' | 'gvisor';
export type Threat = 'escape' | 'network' | 'exhaustion' | 'control plane' | 'images';

/** What came of an attack: what it said is what its user sees. */
export interface Attempt {
  readonly succeeded: boolean;
  readonly said: string;
}

/** How it is shown that a held attack can succeed. */
export type Proof =
  /** In a sandbox without these mechanisms. */
  | readonly Weakening[]
  /** With these rules in the firewall. */
  | NetworkHole
  /** In a chroot, and no sandbox at all. */
  | 'a chroot'
  /** Under runc: nothing that gVisor has could be taken away. */
  | 'runc';

/** What is to come of an attack under one runtime. */
export type Expected =
  | {
      /** What the attack must say. */
      readonly says: RegExp;
      /** The mechanism that holds it. */
      readonly by: string;
      readonly proof: Proof;
    }
  /** It succeeds, and why that is so. */
  | { readonly open: string };

export type Place = 'alone' | 'blocked' | 'listed' | 'named';

/** An attack from inside: a program that runs as root in the sandbox. */
export interface InsideAttack {
  /** What it tries to do. */
  readonly name: string;
  readonly threat: Threat;
  /** Python, with what `inside/attempt.py` defines. */
  readonly program: string;
  /**
   * The sandbox that it is made in: one for all by default. `alone`: one of its own, which it may end. `blocked`: one without network. `listed`: one that may
   * reach an address that nobody has. `named`: one that may reach names below example.org alone.
   */
  readonly place?: Place;
  readonly runc: Expected;
  readonly gvisor: Expected;
}

export const held = (says: RegExp, by: string, ...without: readonly Weakening[]): Expected => ({
  says,
  by,
  proof: without,
});

export const shownBy = (proof: Extract<Proof, string>, says: RegExp, by: string): Expected => ({
  says,
  by,
  proof,
});

export const notHeld = (why: string): Expected => ({ open: why });

/** What holds most calls that only a privileged program may make, and what each says then. */
export const EPERM = /^EPERM/;
export const refused = 'seccomp refuses the call, and the capability is not given';
export const gvisorCapability = 'its own kernel asks for the capability, which is not given';

export const breakout = (name: string, program: string, runc: Expected, gvisor: Expected): InsideAttack => ({
  ...{ name, threat: 'escape', program },
  ...{ runc, gvisor },
});
