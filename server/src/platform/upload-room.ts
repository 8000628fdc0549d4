/** What clients send may fill the machine's file system up to the part that is the server's, however many of them send at once. */
import { SkerryError } from '../errors/skerry-error.ts';
import { type Room, roomOn } from './kept-room.ts';

export interface Wanted {
  readonly bytes: number;
  /** Files and directories; none by default. */
  readonly files?: number;
  /** What it is for, in words that follow "out of disk space for". */
  readonly what: string;
}

/** Room that nobody else is given until it is disposed of. */
export interface TakenRoom extends Disposable {
  /** So many bytes more are on the disk by now, which tells of them itself. */
  wrote(bytes: number): void;
}

export class UploadRoom {
  readonly #look: () => Promise<Room>;
  /** Bytes that were given and are not on the disk yet. */
  #given = 0;

  /** @param directory on the file system whose room it is; `look` tells how much there is, for tests */
  constructor(directory: string, look: () => Promise<Room> = () => roomOn(directory)) {
    this.#look = look;
  }

  /** Whether there is so much. @throws SkerryError `disk-full` */
  async require(wanted: Wanted): Promise<void> {
    this.#check(await this.#look(), wanted);
  }

  /** Takes room for what is about to be written. @throws SkerryError `disk-full` */
  async take(wanted: Wanted): Promise<TakenRoom> {
    const room = await this.#look();
    // In one moment with the addition: else two could be given the same room.
    this.#check(room, wanted);
    let open = wanted.bytes;
    this.#given += open;
    const wrote = (bytes: number) => {
      const less = Math.min(bytes, open);
      open -= less;
      this.#given -= less;
    };
    return { wrote, [Symbol.dispose]: () => wrote(open) };
  }

  #check(room: Room, { bytes, files = 0, what }: Wanted): void {
    const fits = bytes === 0 || bytes + this.#given <= room.bytes;
    if (fits && (files === 0 || files <= room.files)) return;
    const size = `${bytes} bytes${files > 0 ? ` in ${files} files` : ''}`;
    throw new SkerryError(
      'disk-full',
      `The machine is out of disk space for ${what}: it would take ${size}, and what is left is the server's.`,
    );
  }
}
