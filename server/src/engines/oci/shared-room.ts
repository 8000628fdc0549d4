/** The disks that share the room of the machine: who has one puts it in here for as long as it is mounted. */
import { Limiter } from '../../platform/limiter.ts';
import type { MachineRoom } from '../../platform/machine-room.ts';
import { repeat } from '../../platform/repeat.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { DiskTap, shareRoom } from './disk-room.ts';

/** How often the room is shared out anew. */
const SHARE_INTERVAL_MS = 1_000;

export class SharedRoom {
  readonly #room: MachineRoom;
  readonly #logger: Logger;
  /** By the file that each is in. */
  readonly #taps = new Map<string, DiskTap>();
  /** A disk must not go, and its device not be another's, while its share is being set. */
  readonly #sharing = new Limiter(1);
  #stop: () => void = () => {};

  /** @param room of which the disks share what nobody else was given */
  constructor(room: MachineRoom, logger: Logger) {
    this.#room = room;
    this.#logger = logger;
    room.shareBy((bytes) => this.#sharing.run(() => shareRoom(bytes, [...this.#taps.values()])));
  }

  /** Begins to share the room out. */
  open(): void {
    const share = { name: 'disk-room', run: () => this.share() };
    this.#stop = repeat(SHARE_INTERVAL_MS, [share], this.#logger);
  }

  close(): void {
    this.#stop();
  }

  async add(places: { readonly image: string; readonly target: string }): Promise<void> {
    this.#taps.set(places.image, await DiskTap.of(places));
  }

  /** When it resolves nothing is done with that disk any more. */
  async remove({ image }: { readonly image: string }): Promise<void> {
    await this.#sharing.run(async () => this.#taps.delete(image));
  }

  async share(): Promise<void> {
    await this.#room.left();
  }

  /** Whether so much is left, for who makes a disk. */
  async has(bytes: number): Promise<boolean> {
    return (await this.#room.left()).bytes >= bytes;
  }
}
