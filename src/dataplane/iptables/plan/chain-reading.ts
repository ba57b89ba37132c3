/** Our chains of one family in the kernel as values, and what follows from them; found once for chains that stay as they are. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { OwnRule, ParsedRule } from '../rules/parse-rule.ts';
import type { Match } from '../rules/rule.ts';

import { Groups } from '../../../core/groups.ts';
import { DIRECTIONS } from '../../../core/vocabulary.ts';
import { lowBits } from '../rules/low-bits.ts';
import { ChainText } from '../rules/chain.ts';
import { chainsOfEndpoint, dispatchChain, guardChain, partOf, replyDispatchChain } from '../rules/names.ts';
import { setsOf } from '../rules/parse-rule.ts';

/** What rules ask of sets. */
interface SetUsage {
  /** Set -> the chains with a rule that asks about it. */
  readonly chains: ReadonlyMap<string, ReadonlySet<string>>;
  /** Set -> the directions that those chains judge. */
  readonly directions: ReadonlyMap<string, ReadonlySet<Direction>>;
  /** Set -> sets that some rule asks about together with it. */
  readonly together: ReadonlyMap<string, ReadonlySet<string>>;
  /** Set -> endpoint chains that ask about it in rules of which the first that matches decides. */
  readonly ordered: ReadonlyMap<string, ReadonlySet<string>>;
  /** Sets of rules that deny, or pass on to others: who joins may lose what was allowed. */
  readonly denying: ReadonlySet<string>;
}

/** Where packets go from one chain on, as far as addresses and interfaces decide. */
interface Way {
  /** Address -> the endpoint chain it is sent to. The first rule decides, as for a packet. */
  readonly targets: ReadonlyMap<string, string>;
  /** The chains on the way. */
  readonly parts: ReadonlySet<string>;
  /** Where it ends. */
  readonly ends: ReadonlySet<string>;
}

/** What does not depend on the chains where packets come in. */
interface Findings {
  readonly ways: Map<string, Way>;
  usage?: SetUsage;
}

const NONE: ReadonlyMap<string, ChainText> = new Map();
const NO_RULES = { rules: [] as readonly ParsedRule[] };

/** As a map: the exact lines of each chain. */
export class ChainReading implements ReadonlyMap<string, readonly string[]> {
  readonly #body: ReadonlyMap<string, ChainText>;
  /** The chains where packets come in, in the place of those of that name in the body. */
  readonly #entry: ReadonlyMap<string, ChainText>;
  readonly #findings: Findings;
  readonly size: number;

  constructor(
    body: ReadonlyMap<string, ChainText>,
    entry: ReadonlyMap<string, ChainText> = NONE,
    findings: Findings = { ways: new Map() },
  ) {
    this.#body = body;
    this.#entry = entry;
    this.#findings = findings;
    this.size = body.size + [...entry.keys()].filter((name) => !body.has(name)).length;
  }

  /** See `ReadableChains`. */
  get reading(): this {
    return this;
  }

  /** With other chains where packets come in. */
  withEntry(entry: ReadonlyMap<string, ChainText>): ChainReading {
    return new ChainReading(this.#body, entry, this.#findings);
  }

  text(name: string): ChainText | undefined {
    return this.#entry.get(name) ?? this.#body.get(name);
  }

  *texts(): Iterable<readonly [string, ChainText]> {
    for (const each of this.#body) if (!this.#entry.has(each[0])) yield each;
    yield* this.#entry;
  }

  /** The chains that are not, in the same words, in `before`. `instead`: chains to have in the place of these for now. */
  changedSince(before: ChainReading, instead: ReadonlyMap<string, ChainText> = NONE): ReadonlyMap<string, ChainText> {
    const candidates = this.#body === before.#body ? [...instead, ...this.#entry] : this.texts();
    const changed = new Map<string, ChainText>();
    for (const [name, text] of candidates) {
      const now = instead.get(name) ?? text;
      if (!now.equals(before.get(name))) changed.set(name, now);
    }
    return changed;
  }

  get(name: string): readonly string[] | undefined {
    return this.text(name)?.lines;
  }

  has(name: string): boolean {
    return this.#entry.has(name) || this.#body.has(name);
  }

  *entries(): MapIterator<[string, readonly string[]]> {
    for (const [name, { lines }] of this.texts()) yield [name, lines];
    return undefined;
  }

  *keys(): MapIterator<string> {
    for (const [name] of this.texts()) yield name;
    return undefined;
  }

  *values(): MapIterator<readonly string[]> {
    for (const [, { lines }] of this.texts()) yield lines;
    return undefined;
  }

  [Symbol.iterator](): MapIterator<[string, readonly string[]]> {
    return this.entries();
  }

  forEach(
    callback: (lines: readonly string[], name: string, map: ReadonlyMap<string, readonly string[]>) => void,
  ): void {
    for (const [name, lines] of this) callback(lines, name, this);
  }

  targets(direction: Direction, replies = false): ReadonlyMap<string, string> {
    return this.#way(replies ? replyDispatchChain(direction) : dispatchChain(direction)).targets;
  }

  /** The chains that find endpoint chains by address. */
  dispatchParts(): ReadonlySet<string> {
    const tops = DIRECTIONS.flatMap((direction) => [dispatchChain(direction), replyDispatchChain(direction)]);
    return new Set(tops.flatMap((top) => [...this.#way(top).parts]));
  }

  get usage(): SetUsage {
    this.#findings.usage ??= this.#findUsage();
    return this.#findings.usage;
  }

  #partsOf(endpoint: string): readonly ChainText[] {
    return chainsOfEndpoint(endpoint).flatMap((name) => (partOf(name) ? (this.text(name) ?? []) : []));
  }

  #findOrdered(
    endpoint: string,
    parts: readonly ChainText[],
    usage: { ordered: Groups<string, string>; denying: Set<string> },
  ): void {
    for (const { rules } of [this.text(endpoint) ?? NO_RULES, ...parts]) {
      for (const parsed of rules) {
        const sets = setsOf(parsed);
        for (const set of sets) usage.ordered.add(set, endpoint);
        const isPlain = parsed.kind === 'own' && parsed.rule.target.kind === 'return';
        if (!isPlain) for (const set of sets) usage.denying.add(set);
      }
    }
  }

  #way(top: string): Way {
    const known = this.#findings.ways.get(top) ?? follow(this, top);
    this.#findings.ways.set(top, known);
    return known;
  }

  #findUsage(): SetUsage {
    const usage = {
      chains: new Groups<string, string>(),
      directions: new Groups<string, Direction>(),
      together: new Groups<string, string>(),
      ordered: new Groups<string, string>(),
      denying: new Set<string>(),
    };
    for (const [chain, text] of this.texts()) {
      for (const sets of text.sets) {
        for (const set of sets) {
          usage.chains.add(set, chain);
          for (const other of sets) if (other !== set) usage.together.add(set, other);
        }
      }
    }
    for (const direction of DIRECTIONS) {
      for (const top of [dispatchChain(direction), guardChain(direction)]) {
        for (const end of this.#way(top).ends) {
          const parts = this.#partsOf(end);
          for (const set of [this.text(end), ...parts].flatMap((text) => text?.sets ?? []).flat())
            usage.directions.add(set, direction);
          if (parts.length > 0) this.#findOrdered(end, parts, usage);
        }
      }
    }
    return usage;
  }
}

/** Our chains of one family as they were read, or as we left them. */
export interface ReadableChains {
  /** Chain name -> rules in order, each as `iptables-save` prints it without `-A CHAIN`. Ours only. `reading`: the same as values. */
  readonly chains: ReadonlyMap<string, readonly string[]> & { readonly reading?: ChainReading };
}

/** One chain alone, without a look at the others. */
export function textOf(family: Family, { chains }: ReadableChains, name: string): ChainText | undefined {
  if (chains.reading) return chains.reading.text(name);
  const lines = chains.get(name);
  return lines && new ChainText(lines, family);
}

/** `written`: chains that we write. What is in the kernel as one of those need not be read. */
export function readingOf(
  family: Family,
  observed: ReadableChains,
  written?: ReadonlyMap<string, ChainText>,
): ChainReading {
  if (observed.chains.reading) return observed.chains.reading;
  const chains = [...observed.chains].map(([name, lines]): [string, ChainText] => {
    const ours = written?.get(name);
    return [name, ours?.equals(lines) ? ours : new ChainText(lines, family)];
  });
  return new ChainReading(new Map(chains));
}

/** What the last 16 bits of an address are under a mask. */
type Bucket = Extract<Match, { kind: 'source-bucket' | 'destination-bucket' }>;

function follow(chains: ChainReading, top: string): Way {
  const targets = new Map<string, string>();
  const parts = new Set<string>();
  const ends = new Set<string>();
  const walk = (name: string, buckets: readonly Bucket[]): void => {
    const chain = chains.text(name);
    if (!chain || parts.has(name)) return;
    parts.add(name);
    for (const rule of chain.rules) {
      if (rule.kind !== 'own' || rule.rule.target.kind !== 'goto') continue;
      const { chain: next } = rule.rule.target;
      const [match, more] = rule.rule.matches;
      if (match && !more && isBucket(match)) walk(next, [...buckets, match]);
      else if (match && isPart(match)) walk(next, buckets);
      else {
        ends.add(next);
        if (!match || more || (match.kind !== 'source' && match.kind !== 'destination')) continue;
        const { address } = match;
        if (!targets.has(address) && buckets.every((bucket) => isIn(address, bucket))) targets.set(address, next);
      }
    }
  };
  walk(top, []);
  return { targets, parts, ends };
}

/** A rule that leads on by the address alone. */
export function isDispatchRule(parsed: ParsedRule): parsed is OwnRule {
  if (parsed.kind !== 'own' || parsed.rule.target.kind !== 'goto') return false;
  const [match, more] = parsed.rule.matches;
  return match !== undefined && !more && (isBucket(match) || match.kind === 'source' || match.kind === 'destination');
}

function isBucket(match: Match): match is Bucket {
  return match.kind === 'source-bucket' || match.kind === 'destination-bucket';
}

/** Leads to a part of the chains that find pods by interface. */
function isPart(match: Match): boolean {
  const isPort = match.kind === 'in-port' || match.kind === 'out-port';
  return isPort
    ? match.isPrefix === true
    : match.kind === 'in-interface-prefix' || match.kind === 'out-interface-prefix';
}

function isIn(address: string, { bits, mask }: Bucket): boolean {
  return (lowBits(address) & mask) === bits;
}
