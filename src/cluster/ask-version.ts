/** One small question to the API server: is the store behind you at least at this version? */
import { messageOf } from '../core/error-text.ts';
import { isRecord } from '../policy/raw-values.ts';
import type { Clock } from '../core/clock.ts';
import { inTime } from './deadline.ts';
import { header, parseJson, readBounded, versionOf } from './read-answer.ts';
import type { ApiResponse, Transport } from './transport.ts';
import { isOlderVersion } from './relist.ts';

/** A server that does not have the version waits 3 s for it before it says so. */
export const QUESTION_MS = 10_000;
/** One object, however large, and no more is read of the answer. */
const MAX_ANSWER = 4 * 1024 * 1024;

export type VersionAnswer =
  | { readonly kind: 'holds' }
  /** The server's version is older than ours: its store is not the one we listed. */
  | { readonly kind: 'went-back'; readonly text: string }
  /** Nothing came in time, or the connection broke. */
  | { readonly kind: 'no-answer'; readonly text: string }
  /** The server lives and did not answer the question: nothing can be concluded. */
  | { readonly kind: 'refused'; readonly status: number };

interface Question {
  readonly transport: Transport;
  readonly clock: Clock;
  /** Path without query. */
  readonly path: string;
  readonly fieldSelector?: string;
  readonly version: string;
  readonly signal: AbortSignal;
}

/** Never rejects. */
export function askVersion(question: Question): Promise<VersionAnswer> {
  const { transport } = question;
  return inTime({ ...question, limitMs: QUESTION_MS }, async (signal, deadline) => {
    try {
      return await readAnswer(question, await transport.open({ path: pathOf(question), signal }));
    } catch (error) {
      const late = `${transport.server}: no answer to a question within ${QUESTION_MS / 1000} s`;
      return { kind: 'no-answer', text: deadline.expired ? late : messageOf(error) };
    }
  });
}

function pathOf({ path, fieldSelector, version }: Question): string {
  const query = new URLSearchParams({
    limit: '1',
    resourceVersion: version,
    resourceVersionMatch: 'NotOlderThan',
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
  });
  return `${path}?${query.toString()}`;
}

async function readAnswer({ version }: Question, response: ApiResponse): Promise<VersionAnswer> {
  const { status } = response;
  const body = parseJson(await readBounded(response, MAX_ANSWER));
  if (status === 504 && isTooLarge(body)) return { kind: 'went-back', text: textOf(body) };
  if (status !== 200 || !isRecord(body) || header(response, 'content-type')?.includes('json') === false)
    return { kind: 'refused', status };
  const current = versionOf(body);
  // A server that does not know the question answers with what it has.
  if (current !== undefined && isOlderVersion(current, version))
    return { kind: 'went-back', text: `the API server is at version ${current}, we were told ${version}` };
  return { kind: 'holds' };
}

/** A 504 of a gateway is nothing of the kind. */
function isTooLarge(body: unknown): boolean {
  if (!isRecord(body)) return false;
  const causes = isRecord(body.details) && Array.isArray(body.details.causes) ? body.details.causes : [];
  if (causes.some((cause) => isRecord(cause) && cause.reason === 'ResourceVersionTooLarge')) return true;
  return typeof body.message === 'string' && /too large resource version/i.test(body.message);
}

function textOf(body: unknown): string {
  return isRecord(body) && typeof body.message === 'string' ? body.message.slice(0, 200) : 'too large resource version';
}
