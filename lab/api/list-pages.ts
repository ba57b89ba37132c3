/** Lists in pages: a list's later pages show the same moment as its first, as long as that picture is kept. */
import { badRequest, expired } from './errors.ts';
import type { ApiObject } from './objects.ts';

/** Pictures kept for lists whose later pages were not asked for yet. */
const MAX_PICTURES = 64;

interface Picture {
  readonly version: number;
  readonly objects: readonly ApiObject[];
}

export interface Page {
  readonly objects: readonly ApiObject[];
  readonly version: number;
  readonly continue?: string;
  readonly remaining?: number;
}

interface Token {
  /** Number of the picture; -1: go on in what is there now. */
  readonly picture: number;
  /** Namespace and name of the last object sent. */
  readonly after: readonly [string, string];
}

export class ListPages {
  readonly #pictures = new Map<number, Picture>();
  #nextNumber = 1;

  /** The first page of `objects`, which must be sorted by namespace and name. `limit` 0: everything. */
  first(objects: readonly ApiObject[], version: number, limit: number): Page {
    return this.#page({ objects, version }, -1, 0, limit);
  }

  /**
   * The page after the one that gave `token`. `present` is what a fresh list would hold now.
   * Throws 410 with a token for going on in the present when the picture is gone, 400 on a token that is not ours.
   */
  next(token: string, present: Picture, limit: number): Page {
    const { picture: number, after } = readToken(token);
    const picture = number < 0 ? present : this.#pictures.get(number);
    if (!picture) {
      const message = 'The provided continue parameter is too old to display a consistent list result';
      throw expired(message, writeToken({ picture: -1, after }));
    }
    return this.#page(picture, number, firstAfter(picture.objects, after), limit);
  }

  /** Forgets all pictures, as compaction does. */
  clear(): void {
    this.#pictures.clear();
  }

  #page(picture: Picture, number: number, start: number, limit: number): Page {
    const end = limit > 0 ? start + limit : picture.objects.length;
    const objects = start === 0 && end >= picture.objects.length ? picture.objects : picture.objects.slice(start, end);
    const last = objects.at(-1);
    const { version } = picture;
    if (end >= picture.objects.length || !last) return { objects, version };
    const kept = number < 0 ? this.#keep(picture) : number;
    const after = keyOf(last);
    return {
      objects,
      version,
      continue: writeToken({ picture: kept, after }),
      remaining: picture.objects.length - end,
    };
  }

  #keep(picture: Picture): number {
    const number = this.#nextNumber;
    this.#nextNumber += 1;
    this.#pictures.set(number, picture);
    const oldest = this.#pictures.keys().next().value;
    if (this.#pictures.size > MAX_PICTURES && oldest !== undefined) this.#pictures.delete(oldest);
    return number;
  }
}

const keyOf = (object: ApiObject): [string, string] => [object.metadata.namespace ?? '', object.metadata.name];

function firstAfter(objects: readonly ApiObject[], after: readonly [string, string]): number {
  let low = 0;
  let high = objects.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const object = objects[middle];
    if (object && compareKeys(keyOf(object), after) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function compareKeys(a: readonly [string, string], b: readonly [string, string]): number {
  if (a[0] !== b[0]) return a[0] < b[0] ? -1 : 1;
  return a[1] === b[1] ? 0 : a[1] < b[1] ? -1 : 1;
}

const writeToken = (token: Token): string => Buffer.from(JSON.stringify(token)).toString('base64url');

function readToken(text: string): Token {
  try {
    const { picture, after } = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Partial<Token>;
    if (typeof picture === 'number' && Array.isArray(after) && after.length === 2) {
      return { picture, after: [String(after[0]), String(after[1])] };
    }
  } catch {
    // Falls through to the same refusal as a token of the wrong shape.
  }
  throw badRequest('continue key is not valid');
}
