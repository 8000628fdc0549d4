/**
 * What the `skerry` command asks about images. What changes something needs the scope `admin`. An IMAGE is an id or a published name, percent-encoded.
 *
 *   GET    images                  what images there are
 *   GET    images/IMAGE/history    what one came out of
 *   GET    images/IMAGE/logs       what its builds said, as lines; to the end, where the last is under way
 *   POST   images/tag              {image, name}: gives it a name
 *   DELETE images/IMAGE            forgets a name, and the image with the last of its names; of an id, the image with all names
 *   POST   images/pull             {reference, name, username, password}: fetches one; lines of progress
 *   POST   images/push             {image, reference, username, password}: sends one; lines of progress
 *   POST   images/import?name=     an archive, as bytes; lines of progress
 *   GET    images/export?image=    an archive with the images that are named, as bytes
 */
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ImageId } from '../../ids.ts';
import type { BuildLogEntry, Images } from '../../images/image.ts';
import type { ImageArchives } from '../../images/image-archives.ts';
import type { ImageCatalog } from '../../images/image-catalog.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute, readBody, told } from './requests.ts';
import { StreamedAnswer } from './streamed-answer.ts';

export interface ImageRouteDeps {
  readonly tokens: OperatorAuth;
  readonly images: Images;
  readonly catalog: ImageCatalog;
  readonly archives: ImageArchives;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/images`;
const MAX_EXPORTED = 100;
const MAX_NAMES = 1_000_000;

const name = z
  .string()
  .regex(
    /^(?!im-)[A-Za-z0-9][A-Za-z0-9._:@/-]{0,511}$/,
    "a name such as python:3.12-slim, which does not begin with 'im-'",
  );
const image = z.string().min(1).max(512);
const login = { username: z.string().max(1000).optional(), password: z.string().max(3000).optional() };
const tagSchema = z.strictObject({ image, name });
const pullSchema = z.strictObject({ reference: name, name: name.optional(), ...login });
const pushSchema = z.strictObject({ image, reference: name, ...login });

/** The routes of images; they never reject. */
export function imageRoute({ tokens, images, catalog, archives, logger }: ImageRouteDeps): HttpRoute {
  const idOf = (text: string): ImageId =>
    text.startsWith('im-') ? images.get(text as ImageId).id : images.getByName(text);
  const progress = (work: (say: (line: string) => void) => Promise<unknown>): StreamedAnswer =>
    StreamedAnswer.progress(work, (thrown) => told(thrown, PREFIX, logger).error);

  return operatorRoute(PREFIX, { logger, tokens, needed: 'admin' }, async (request: AnyRequest, signal) => {
    const [what = '', rest, ...more] = pathOf(request)
      .slice(PREFIX.length + 1)
      .split('/')
      .map(decoded);
    const query = new URL(request.url ?? '', 'http://localhost').searchParams;
    const asked = `${request.method} ${rest === undefined ? what : `* ${rest}`}`;
    if (more.length > 0) throw nothingAt(request);
    switch (asked) {
      case 'GET ':
        return { images: catalog.list() };
      case 'GET * history': {
        const id = idOf(what);
        return { id, steps: catalog.history(id) };
      }
      case 'GET * logs':
        return StreamedAnswer.lines(
          logsOf(images, what.startsWith('im-') ? (what as ImageId) : idOf(what), signal),
        );
      case 'POST tag': {
        const wanted = await readBody(request, tagSchema);
        const id = idOf(wanted.image);
        images.publish(id, wanted.name);
        return { id };
      }
      case 'POST pull': {
        const { reference, name, ...login } = await readBody(request, pullSchema);
        return progress(async (say) => {
          const { id } = await images.fetch(reference, credentialsOf(login), say, signal);
          if (name !== undefined) images.publish(id, name);
          return { id };
        });
      }
      case 'POST push': {
        const { image, reference, ...login } = await readBody(request, pushSchema);
        const id = idOf(image);
        return progress(async (say) => {
          await archives.push(id, reference, credentialsOf(login), say, signal);
          return { id };
        });
      }
      case 'POST import': {
        const given = query.get('name');
        const wanted = given === null ? undefined : checked(given);
        return progress((say) => archives.import(request, wanted, say, signal));
      }
      case 'GET export': {
        const wanted = query.getAll('image');
        if (wanted.length === 0 || wanted.length > MAX_EXPORTED)
          throw new SkerryError('invalid-argument', `Name 1 to ${MAX_EXPORTED} images to export.`);
        const found = wanted.map((text) => ({ id: idOf(text), names: text.startsWith('im-') ? [] : [text] }));
        return new StreamedAnswer('application/x-tar', archives.export(found, signal));
      }
      default:
        if (request.method === 'DELETE' && what !== '' && rest === undefined)
          return { removed: await remove(images, what) };
        throw nothingAt(request);
    }
  });
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new SkerryError('invalid-argument', 'The path is not percent-encoded.');
  }
}

function checked(text: string): string {
  const { data, error } = name.safeParse(text);
  if (data === undefined) throw new SkerryError('invalid-argument', z.prettifyError(error));
  return data;
}

function credentialsOf({
  username,
  password,
}: {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}) {
  if (username === undefined && password === undefined) return undefined;
  if (username === undefined || password === undefined)
    throw new SkerryError('invalid-argument', 'A user name and a password go together.');
  return { username, password };
}

/** What was removed: a name, or the image with it. */
async function remove(images: Images, text: string): Promise<string[]> {
  if (text.startsWith('im-')) {
    await images.delete(text as ImageId);
    return [text];
  }
  const id = images.getByName(text);
  images.unpublish(text);
  if (images.names('', '', MAX_NAMES).some(({ imageId }) => imageId === id)) return [text];
  await images.delete(id);
  return [text, id];
}

/** A line of a build's log, with the number of the step that it is of, 0 before the first. */
export type ImageLogLine = Omit<BuildLogEntry, 'index'> & { readonly image: ImageId; readonly step: number };

async function* logsOf(images: Images, id: ImageId, signal: AbortSignal): AsyncGenerator<ImageLogLine> {
  for (const build of images.builds(id)) {
    let step = 0;
    for await (const event of images.follow(build.id, 0, signal)) {
      if (event.kind !== 'log') continue;
      const { timeMs, stream, text } = event.entry;
      // Only Skerry writes to this stream: no program can pretend that its step is another.
      if (stream === 'system') step = Number(/^Step (\d+)\//.exec(text)?.[1] ?? step);
      yield { image: build.id, step, timeMs, stream, text };
    }
  }
}
