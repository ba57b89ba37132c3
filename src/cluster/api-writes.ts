/** Objects written, read and taken away one by one, with a user's own rights. */
import type { Transport } from './transport.ts';

import { isRecord, type RawRecord } from '../policy/raw-values.ts';
import { parseJson, readBounded, readStatus } from './read-answer.ts';

const MAX_BYTES = 16 * 1024 * 1024;

/** The API server said no; the message says what was asked, and what it said. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly status: number;

  constructor(asked: string, status: number, said: string) {
    super(`${asked}: HTTP ${status}: ${said}`);
    this.status = status;
  }
}

/** `path`: of the collection. Rejects with `Refused`. */
export async function createObject(
  transport: Transport,
  path: string,
  object: object,
  signal: AbortSignal,
): Promise<RawRecord> {
  return recordIn(await ask(transport, { path, method: 'POST', body: JSON.stringify(object), signal }));
}

/** What is not there needs not be taken away. Rejects with `Refused`. */
export async function deleteObject(transport: Transport, path: string, signal: AbortSignal): Promise<void> {
  try {
    await ask(transport, { path, method: 'DELETE', signal });
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
  }
}

/** Undefined: it is not there. Rejects with `Refused`. */
export async function readObject(
  transport: Transport,
  path: string,
  signal: AbortSignal,
): Promise<RawRecord | undefined> {
  try {
    return recordIn(await ask(transport, { path, signal }));
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return undefined;
    throw error;
  }
}

/** As text, such as a log. Rejects with `Refused`. */
export async function readText(transport: Transport, path: string, signal: AbortSignal): Promise<string> {
  return (await ask(transport, { path, signal })).toString('utf8');
}

async function ask(transport: Transport, request: Parameters<Transport['open']>[0]): Promise<Buffer> {
  const response = await transport.open(request);
  if (response.status >= 200 && response.status < 300) return readBounded(response, MAX_BYTES);
  const { said } = await readStatus(response);
  const [path] = request.path.split('?', 1);
  throw new Refused(`${request.method ?? 'GET'} ${path}`, response.status, said);
}

function recordIn(body: Buffer): RawRecord {
  const value = parseJson(body);
  return isRecord(value) ? value : {};
}
