/** Clients read the log of an image's build as that of a task. Builds are no tasks here: they have ids that look like one, made of the image's. */
import type { ImageId } from '../../../ids.ts';

/** Four characters shorter than the id of a sandbox's task. */
export const buildTaskId = (image: ImageId): string => `ta-${image.slice('im-'.length)}`;

/** The image that a task id is about; undefined where it is that of a sandbox, or none. */
export const imageOfTask = (taskId: string): ImageId | undefined =>
  /^ta-[A-Za-z0-9]{22}$/.test(taskId) ? (`im-${taskId.slice('ta-'.length)}` as ImageId) : undefined; // has the shape
