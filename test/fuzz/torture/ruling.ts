/**
 * What one probe proves. A probe is a question to two processes: one sends and looks, one answers. If either of them did not run,
 * silence says nothing about what was done to the packet. Pure.
 */
import type { ProbeResult, ProberLife, Span } from '../../../lab/network/types.ts';

/** `starved`: the answer proves nothing, ask again. */
export type Ruling =
  | { readonly kind: 'agrees' }
  | { readonly kind: 'wrong'; readonly why: string }
  | { readonly kind: 'starved'; readonly why: string };

/**
 * The kernel's connection tables as a witness of one flow. `unanswered`: the packet passed every rule on its way and nobody answered.
 * `answered`: the server answered. `dropped`: a node on the way has no entry: the packet was dropped there. `unknown`: cannot be told.
 */
export type FlowWitness = 'unanswered' | 'answered' | 'dropped' | 'unknown';

export interface Testimony {
  readonly predicted: boolean;
  readonly result: ProbeResult;
  /** Undefined: gave no sign of life when asked. */
  readonly client: ProberLife | undefined;
  readonly server: ProberLife | undefined;
  readonly witness: FlowWitness;
}

/** Of a probe's time, this share without a prober makes its silence worthless; never more than the limit is needed. */
const STARVED_SHARE = 0.25;
const STARVED_MS = 500;

const AGREES: Ruling = { kind: 'agrees' };
const wrong = (why: string): Ruling => ({ kind: 'wrong', why });
const starved = (why: string): Ruling => ({ kind: 'starved', why });

export function ruleOn(testimony: Testimony): Ruling {
  const { predicted, result, witness } = testimony;
  switch (result.outcome) {
    case 'reached':
    case 'refused':
      return predicted ? AGREES : wrong('the packet arrived and was answered');
    case 'error':
      return ruleOnError(predicted, result.detail ?? '');
    case 'blocked': {
      const why = whyStarved(testimony);
      if (!predicted) return why === undefined ? AGREES : starved(why);
      if (witness === 'dropped') return wrong('the packet was sent, and a node on its way has no connection for it');
      if (witness === 'answered') return wrong('the packet was answered, and the answer did not come back');
      if (witness === 'unanswered') return starved(why ?? 'the packet passed all rules, and its server did not answer');
      return why === undefined ? wrong('no answer, although both probers ran') : starved(why);
    }
  }
}

function ruleOnError(predicted: boolean, detail: string): Ruling {
  // The kernel shook hands, so the packet arrived; the process behind it did not run.
  if (detail.includes('not greeted')) return predicted ? starved(detail) : wrong(detail);
  if (detail.includes('no sign of life')) return starved(detail);
  return wrong(`the probe could not be made: ${detail}`);
}

function whyStarved({ result, client, server }: Testimony): string | undefined {
  if (result.sent === 0) return 'nothing was sent';
  const span = spanOf(result);
  if (!ranDuring(client, span)) return 'the sender did not run';
  return ranDuring(server, span) ? undefined : 'the server did not run';
}

/** From its start to its answer, or to when it was given up. */
export function spanOf({ atMs = 0, rttUs }: ProbeResult): Span {
  return { fromMs: atMs, toMs: atMs + rttUs / 1000 };
}

export function ranDuring(life: ProberLife | undefined, span: Span): boolean {
  if (life === undefined) return false;
  const lost = life.stalls.reduce((sum, stall) => sum + overlapMs(stall, span), 0);
  return lost < Math.min(STARVED_MS, STARVED_SHARE * (span.toMs - span.fromMs)) || lost === 0;
}

function overlapMs(a: Span, b: Span): number {
  return Math.max(0, Math.min(a.toMs, b.toMs) - Math.max(a.fromMs, b.fromMs));
}

/** What the entries for one flow, on the sender's and on the server's node, say; undefined where there is no such node. */
export function witnessOf(nodes: readonly (string | undefined)[]): FlowWitness {
  const known = nodes.filter((entries) => entries !== undefined);
  if (known.length === 0) return 'unknown';
  if (known.some((entries) => entries.trim() === '')) return 'dropped';
  return known.at(-1)!.includes('[UNREPLIED]') ? 'unanswered' : 'answered';
}
