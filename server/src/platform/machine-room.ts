/**
 * The room on the machine's file system, kept by one book: what sandboxes were promised, and what the server itself fills on behalf of clients, however many do so at once. A part
 * of the disk stays for the server and everybody else. What a sandbox's disk has accepted and not written yet counts as taken: it would be lost where others took its place.
 */
import { SkerryError } from '../errors/skerry-error.ts';
import { type Room, roomOn } from './kept-room.ts';
import { Limiter } from './limiter.ts';

/** So much of what is left, or a quarter of it, is kept from sandboxes: who takes less need not wait until what they may take is set anew. */
const READY_BYTES = 64 * 2 ** 20;

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

/**
 * Lets those that were promised room have no more of it together than so many bytes, from now on.
 * @returns what they have taken by then and what is not on the disk yet, in bytes
 */
export type ShareOut = (bytes: number) => Promise<number>;

export class MachineRoom {
  readonly #look: () => Promise<Room>;
  readonly #one = new Limiter(1);
  #shareOut: ShareOut | undefined;
  /** What those wait for who ask what is left while somebody is being told. */
  #next: Promise<Room> | undefined;
  /** Bytes that were given and are not on the disk yet. */
  #given = 0;
  /** Bytes that nobody was promised when it was last shared out, less what was given since. */
  #ready = 0;

  /** @param directory on the file system whose room it is; `look` tells how much there is, for tests */
  constructor(directory: string, look: () => Promise<Room> = () => roomOn(directory)) {
    this.#look = look;
  }

  /** From now on sandboxes share what is left. */
  shareBy(shareOut: ShareOut): void {
    this.#shareOut = shareOut;
  }

  /** Shares out anew what is left now; who was promised room calls it again and again. @returns what nobody has; negative where the server's part is used */
  left(): Promise<Room> {
    if (this.#next) return this.#next;
    let hasBegun = false;
    const answer = this.#one.run(() => {
      hasBegun = true;
      this.#next = undefined;
      return this.#settle();
    });
    if (!hasBegun) this.#next = answer;
    return answer;
  }

  /** Whether there is so much. @throws SkerryError `disk-full` */
  async require(wanted: Wanted): Promise<void> {
    const left = await this.left();
    if (!fits(wanted, left)) throw noRoomFor(wanted);
  }

  /** Takes room for what is about to be written. @throws SkerryError `disk-full` */
  async take(wanted: Wanted): Promise<TakenRoom> {
    await this.#one.run(async () => {
      if (await this.#takeReady(wanted)) return;
      // Before sandboxes are told what is left for them: they may take that at once.
      this.#given += wanted.bytes;
      const { bytes, files } = await this.#settle().catch((error: unknown) => {
        this.#given -= wanted.bytes;
        throw error;
      });
      if (fits(wanted, { bytes: bytes + wanted.bytes, files })) return;
      this.#given -= wanted.bytes;
      throw noRoomFor(wanted);
    });
    let open = wanted.bytes;
    const wrote = (bytes: number) => {
      const less = Math.min(bytes, open);
      open -= less;
      this.#given -= less;
    };
    return { wrote, [Symbol.dispose]: () => wrote(open) };
  }

  async #takeReady(wanted: Wanted): Promise<boolean> {
    if (wanted.bytes > this.#ready) return false;
    const { bytes, files } = await this.#look();
    if (!fits(wanted, { bytes: bytes - this.#given, files })) return false;
    this.#ready -= wanted.bytes;
    this.#given += wanted.bytes;
    return true;
  }

  async #settle(): Promise<Room> {
    const { bytes, files } = await this.#look();
    const free = bytes - this.#given;
    if (!this.#shareOut) return { bytes: free, files };
    const ready = Math.max(0, Math.min(READY_BYTES, Math.floor(free / 4)));
    this.#ready = 0; // until it is known that sandboxes leave so much
    const left = free - (await this.#shareOut(free - ready));
    this.#ready = Math.max(0, Math.min(ready, left));
    return { bytes: left, files };
  }
}

const fits = ({ bytes, files = 0 }: Wanted, room: Room): boolean =>
  (bytes === 0 || bytes <= room.bytes) && (files === 0 || files <= room.files);

function noRoomFor({ bytes, files = 0, what }: Wanted): SkerryError {
  const size = `${bytes} bytes${files > 0 ? ` in ${files} files` : ''}`;
  return new SkerryError(
    'disk-full',
    `The machine is out of disk space for ${what}: it would take ${size}, and what is left is the server's.`,
  );
}
