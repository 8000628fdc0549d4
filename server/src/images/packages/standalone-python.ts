/**
 * The Python of `add_python=...`: Modal's clients ask for a mount of Modal's own that holds a build of python-build-standalone, and copy its folder
 * `/python` to `/usr/local`. Facts: docs/protocol/images-and-mounts.md, section 4.
 */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { MountId } from '../../ids.ts';
import { thisArchitecture } from './packaged-layer.ts';
import { type Cpython, cpythons, seriesOf } from './python.ts';

export interface StandalonePython {
  /** `X.Y.Z` */
  readonly version: string;
  /** Whether it has the name `python`: for releases that lack it the clients make it, and fail when it is there. */
  readonly namesPython: boolean;
}

/** The clients' own bound: builds before this release have no `python`. */
const FIRST_WITH_PYTHON_NAME = '20241008';
const NAME = /^python-build-standalone\.(\d{8})\.(\d+\.\d+\.\d+)(t?)-(gnu|musl)$/;
const ID = /^mo-standalone-(\d+)-(\d+)-(\d+)(-python)?$/;

/**
 * The Python that a mount's name means; undefined for another mount's name.
 * @throws SkerryError `not-found` when it cannot be had, saying which can
 */
export function standalonePythonNamed(mountName: string): StandalonePython | undefined {
  const [, release = '', version = '', freeThreaded, libc] = NAME.exec(mountName) ?? [];
  if (version === '') return undefined;
  const wanted = { version, namesPython: release >= FIRST_WITH_PYTHON_NAME };
  if (freeThreaded === 't') throw notToBeHad('without the global lock', wanted);
  if (libc === 'musl') throw notToBeHad('for musl', wanted);
  standaloneCpython(wanted);
  return wanted;
}

/** The id of its mount: it says all there is to know, so that nothing has to be kept. */
export function standaloneMountId({ version, namesPython }: StandalonePython): MountId {
  return `mo-standalone-${version.replaceAll('.', '-')}${namesPython ? '-python' : ''}` as MountId;
}

/** The Python that a mount's id means; undefined for an ordinary mount's. */
export function standalonePythonOf(mountId: string): StandalonePython | undefined {
  const [, major, minor, patch, python] = ID.exec(mountId) ?? [];
  if (major === undefined) return undefined;
  return { version: `${major}.${minor}.${patch}`, namesPython: python !== undefined };
}

/** The package with a Python of the same series. @throws SkerryError `not-found` */
export function standaloneCpython(wanted: StandalonePython): Cpython {
  const python = available().find(({ version }) => seriesOf(version) === seriesOf(wanted.version));
  if (!python) throw notToBeHad(`on ${process.arch}`, wanted);
  return python;
}

const available = (): readonly Cpython[] => {
  const architecture = thisArchitecture();
  return architecture ? cpythons(architecture) : [];
};

function notToBeHad(how: string, { version }: StandalonePython): SkerryError {
  const works = available().map((each) => seriesOf(each.version));
  return new SkerryError(
    'not-found',
    `There is no standalone Python ${seriesOf(version)} ${how} for add_python; these work: ${works.join(', ') || 'none'}. ` +
      'Or install Python in the image, for example with .apt_install("python3", "python3-pip"), or start from Image.debian_slim().',
  );
}
