/** One page of a list, read once with whatever rights there are; no watch follows. */
import type { ApiRequest, Transport } from './transport.ts';

import { isRecord } from '../policy/raw-values.ts';
import { parseJson, readBounded, readStatus } from './read-answer.ts';

export type ListPage =
  /** `next`: what continues it; empty: nothing. */
  | { readonly kind: 'list'; readonly items: readonly unknown[]; readonly next: string }
  | { readonly kind: 'refused'; readonly status: number; readonly said: string }
  | { readonly kind: 'no-list' };

/** Rejects if the server cannot be reached. */
export async function readList(
  transport: Transport,
  request: Pick<ApiRequest, 'path' | 'signal'>,
  maxBytes: number,
): Promise<ListPage> {
  const response = await transport.open(request);
  if (response.status !== 200) {
    const { said } = await readStatus(response);
    return { kind: 'refused', status: response.status, said };
  }
  const body = parseJson(await readBounded(response, maxBytes));
  if (!isRecord(body) || !Array.isArray(body.items)) return { kind: 'no-list' };
  const next = isRecord(body.metadata) && typeof body.metadata.continue === 'string' ? body.metadata.continue : '';
  return { kind: 'list', items: body.items, next };
}
