/** Where the files of images are: `<directory>/layers/<LayerId>` in overlayfs format, and `<directory>/tmp` for what is being made. */
import { join, relative } from 'node:path';
import type { FilePlaces, LayerRef, MountRef } from '../engines/references.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { MemberId } from '../ids.ts';
import { memberDir } from '../platform/member-dirs.ts';

export class ImagePlaces implements FilePlaces {
  readonly layers: string;
  /** Emptied when the server starts. */
  readonly temporary: string;

  /**
   * The places below a server's data directory.
   * @param member of several servers one that does not lead, which makes what it makes in a directory of its own
   */
  static in(dataDir: string, member?: MemberId): ImagePlaces {
    return new ImagePlaces(join(dataDir, 'images'), member && join(memberDir(dataDir, member), 'images'));
  }

  constructor(directory: string, temporary = join(directory, 'tmp')) {
    this.layers = join(directory, 'layers');
    this.temporary = temporary;
  }

  layer(ref: LayerRef): string {
    return below(this.layers, ref);
  }

  newLayer(ref: LayerRef): string {
    return join(this.workspace(ref), 'layer');
  }

  mount(ref: MountRef): string {
    if (ref.kind !== 'scratch') throw new SkerryError('internal', `A ${ref.kind} is nothing of images.`);
    return below(this.temporary, ref.path);
  }

  /** A directory for one purpose, whose name is made like a layer's. */
  workspace(name: LayerRef): string {
    return below(this.temporary, name);
  }

  /** How a file or directory of a workspace is named to an engine. */
  refer(path: string): MountRef {
    return { kind: 'scratch', path: relative(this.temporary, path) };
  }
}

function below(directory: string, name: string): string {
  const path = join(directory, name);
  if (path.startsWith(`${directory}/`)) return path;
  throw new SkerryError('internal', `${JSON.stringify(name)} is nothing in ${directory}.`);
}
