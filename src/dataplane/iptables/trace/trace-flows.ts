/**
 * The door of this folder: first packets of flows, traced through what the kernel holds now. Rules are read once for all of them, sets as
 * they are met, so a node with large sets reads what decides and no more.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { TracedDecision, TracedFlow, TracedVerdict, TracePlace } from '../../dataplane.ts';
import type { FirstPacket } from '../../first-packet.ts';
import type { ObservedFamily, ObservedSet, ObservedState } from '../plan/plan.ts';
import type { Rule } from '../rules/rule.ts';
import type { Walk, WalkedRule } from './walk-chains.ts';

import { traceEach } from '../../trace-each.ts';
import { judgedWhenClosed, parsedRule, readJudged, sharesOf } from '../counters/counted-rules.ts';
import { walkChains } from './walk-chains.ts';

/** Each reads the kernel; rejects where that cannot be done. */
export interface TraceReads {
  rules(family: Family): Promise<ObservedFamily>;
  sets(names: readonly string[]): Promise<ReadonlyMap<string, ObservedSet>>;
}

/** `written`: what was written last, which knows for whom a rule stands; absent: legends tell. Never rejects. */
export function traceFlows(
  reads: TraceReads,
  written: ObservedState | undefined,
  flows: readonly TracedFlow[],
  place: TracePlace,
): Promise<readonly TracedVerdict[]> {
  return traceEach(flows, place, () => {
    const kept = new Kept(reads);
    return (packet) => traceOne(kept, written, packet);
  });
}

async function traceOne(kept: Kept, written: ObservedState | undefined, packet: FirstPacket): Promise<TracedVerdict> {
  const rules = await kept.rules(packet.family);
  const { verdict, path, others } = await kept.walk(rules, packet);
  const told = { path: path.map(textOf), others: others.map(textOf), decided: decisions(path, rules, written, packet) };
  return typeof verdict === 'string' ? { kind: verdict, ...told } : { kind: 'unknown', why: verdict.unknown, ...told };
}

function textOf({ chain, line }: WalkedRule): string {
  return `${chain} ${line}`;
}

/** What was read for one question. */
class Kept {
  readonly #reads: TraceReads;
  readonly #rules = new Map<Family, Promise<ObservedFamily>>();
  readonly #sets = new Map<string, ObservedSet>();

  constructor(reads: TraceReads) {
    this.#reads = reads;
  }

  rules(family: Family): Promise<ObservedFamily> {
    const known = this.#rules.get(family) ?? this.#reads.rules(family);
    this.#rules.set(family, known);
    return known;
  }

  async walk(rules: ObservedFamily, packet: FirstPacket): Promise<Walk> {
    const walking = walkChains(rules, this.#sets, packet);
    for (let next = walking.next(); ; next = walking.next()) {
      if (next.done) return next.value;
      for (const [name, set] of await this.#reads.sets(next.value)) this.#sets.set(name, set);
    }
  }
}

/** What the rules on the way count, and for whom: that is what they decide. */
function decisions(
  path: readonly WalkedRule[],
  { chains }: ObservedFamily,
  written: ObservedState | undefined,
  { family }: FirstPacket,
): readonly TracedDecision[] {
  return path.flatMap(({ chain, line }): TracedDecision[] => {
    const lines = chains.get(chain) ?? [];
    const judged = readJudged(lines) ?? judgedWhenClosed(chain);
    if (!judged) return [];
    const origins = originsOf(written?.families[family]?.chains.reading?.text(chain)?.rules);
    const rules = lines.map((each) => origins.get(each) ?? parsedRule(each, family));
    return sharesOf(rules, judged)
      .filter(({ index, sign }) => lines[index] === line && sign > 0)
      .map(({ index, counted: { action, direction, of } }) => ({
        action,
        direction,
        policies: of.kind === 'policies' ? of.policies : [],
        rules: action === 'allow' || action === 'would-allow' ? (rules[index]?.by ?? []) : [],
      }));
  });
}

/** By text: somebody may have put other rules between ours. */
function originsOf(rules: readonly { readonly line: string; readonly rule?: Rule }[] = []): ReadonlyMap<string, Rule> {
  return new Map(rules.flatMap(({ line, rule }) => (rule ? [[line, rule]] : [])));
}
