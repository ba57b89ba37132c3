/** What a log rule writes ahead of a packet: a word for what becomes of it, the direction that was judged, and the chain. */
import type { Direction } from '../core/vocabulary.ts';
import type { Denial } from './denial.ts';

import { DIRECTIONS } from '../core/vocabulary.ts';
import { isOurChain } from './chain-names.ts';

/** Every word that a prefix may begin with. */
const STAGES = {
  denied: { verdict: 'denied', isReply: false },
  'would-deny': { verdict: 'would-deny', isReply: false },
  cut: { verdict: 'live-flow-cut', isReply: false },
  'cut-reply': { verdict: 'live-flow-cut', isReply: true },
} as const satisfies Readonly<Record<string, Denial>>;
export type LogStage = keyof typeof STAGES;

/** In place of a direction: the packet met no policy. */
const NOT_JUDGED = 'new-pod';

/** iptables takes 63 characters (write-text.ts): the longest is 41. */
export function writePrefix(stage: LogStage, direction: Direction | undefined, chain: string): string {
  return `${stage} ${direction ?? NOT_JUDGED} ${chain}`;
}

/** Undefined: a prefix of others, or of another version. */
export function readPrefix(prefix: string): (Denial & { readonly chain: string }) | undefined {
  const [stage = '', where, chain = '', ...rest] = prefix.split(' ');
  if (!Object.hasOwn(STAGES, stage) || !isOurChain(chain) || rest.length > 0) return undefined;
  const denial = { ...STAGES[stage as LogStage], chain };
  if (where === NOT_JUDGED) return denial;
  const direction = DIRECTIONS.find((each) => each === where);
  return direction && { ...denial, direction };
}
