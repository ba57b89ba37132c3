/** First packets of flows, each traced; a sync may take away what was read a moment ago, so what is not known is asked again. */
import type { TracedFlow, TracedVerdict, TracePlace } from './dataplane.ts';

import { messageOf } from '../core/error-text.ts';
import { firstPacket, type FirstPacket } from './first-packet.ts';

const TRIES = 3;
const OWN_PACKETS = 'the node sends it itself, and what it sends meets no rule of ours';

/** `begin`: whoever traces reads the kernel anew. Never rejects: what throws is unknown. */
export async function traceEach(
  flows: readonly TracedFlow[],
  place: TracePlace,
  begin: () => (packet: FirstPacket) => Promise<TracedVerdict>,
): Promise<readonly TracedVerdict[]> {
  let found: readonly TracedVerdict[] = [];
  for (let tries = 0; tries < TRIES; tries++) {
    found = await traceOnce(flows, place, begin());
    if (found.every(({ kind }) => kind !== 'unknown')) break;
  }
  return found;
}

async function traceOnce(
  flows: readonly TracedFlow[],
  place: TracePlace,
  trace: (packet: FirstPacket) => Promise<TracedVerdict>,
): Promise<readonly TracedVerdict[]> {
  const found: TracedVerdict[] = [];
  for (const flow of flows) {
    try {
      const packet = firstPacket(flow, place);
      found.push(packet ? await trace(packet) : { kind: 'passes', why: OWN_PACKETS, ...NOTHING });
    } catch (error) {
      found.push({ kind: 'unknown', why: messageOf(error), ...NOTHING });
    }
  }
  return found;
}

/** No rule was met. */
export const NOTHING = { path: [], others: [], decided: [] } as const;
