/** One volume with its rows, layers and working trees in a directory, for tests that write in it as sandboxes do. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { treesBinaryPath } from '../../agent/agent-binary.ts';
import { FileBlobStore } from '../../blobs/blob-store.ts';
import { type EnvironmentId, newTaskId, type TaskId, type VolumeId } from '../../ids.ts';
import { type FaultPoint, noFaultPoint } from '../../platform/fault-points.ts';
import { openTestStore } from '../../store/testing/open-test-store.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { type OpenVolumes, openVolumes } from '../open-volumes.ts';
import type { VolumeMountsOptions } from '../volume-mounts.ts';

const logger = createLogger('silent');

/** A sandbox's working tree, and whose it is. */
export interface AttachedTree {
  readonly task: TaskId;
  /** Where a path in it is. */
  readonly at: (path: string) => string;
}

export class VolumeSetting {
  readonly root: string;
  readonly store;
  readonly files: OpenVolumes['volumeFiles'];
  readonly mounts: OpenVolumes['volumeMounts'];
  readonly volume: VolumeId;

  /** @param root may hold what an earlier one left @param disks what bounds what is written, opened */
  constructor(root: string, faultPoint: FaultPoint = noFaultPoint, disks?: VolumeMountsOptions['disks']) {
    this.root = root;
    this.store = openTestStore(root);
    const { volumes, volumeFiles, volumeMounts } = openVolumes({
      ...{
        dataDir: root,
        mountDir: join(root, 'v'),
        disks,
        treesBinary: treesBinaryPath(),
        store: this.store,
        logger,
        faultPoint,
      },
      blobs: new FileBlobStore(join(root, 'blobs'), new Uint8Array(32), logger),
      ticketKey: new Uint8Array(32),
      now: Date.now,
    });
    this.files = volumeFiles;
    this.mounts = volumeMounts;
    this.volume = volumes.create('en-test' as EnvironmentId, 'vol', 2, 'keep').id;
  }

  /** @param firstId what id 0 of the sandbox is on the machine, if its users are its own */
  async attach(firstId?: number): Promise<AttachedTree> {
    const task = newTaskId();
    const spec = { volumeId: this.volume, target: '/data', readOnly: false, subPath: '' };
    const [attached] = await this.mounts.attach(task, [spec], firstId);
    if (!attached) throw new Error('nothing was attached');
    return { task, at: (path) => join(this.root, 'v', attached.source.tree, path) };
  }

  /** Counts the versions. */
  get number(): number {
    return this.files.version(this.volume).number;
  }

  /** The paths of what the newest version holds. */
  async paths(): Promise<string[]> {
    const entries = await Array.fromAsync(this.files.list(this.volume, '/', { recursive: true }));
    return entries.map(({ path }) => path);
  }

  async text(path: string): Promise<string> {
    const { place, start, length } = await this.files.range(this.volume, path, 0, 0);
    return (await readFile(this.files.hostPath(place))).subarray(start, start + length).toString();
  }

  async close(): Promise<void> {
    await this.mounts.close();
    this.store.close();
  }
}
