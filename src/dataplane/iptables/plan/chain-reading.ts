/** Our chains of one family in the kernel as values, and what follows from them; found once for chains that stay as they are. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { OwnRule, ParsedRule } from '../rules/parse-rule.ts';
import type { Match } from '../rules/rule.ts';
import type { FamilyRules } from '../rules/ruleset.ts';

import { Groups } from '../../../core/groups.ts';
import { DIRECTIONS } from '../../../core/vocabulary.ts';
import { partOf, replyChain, wholeOf } from '../../chain-names.ts';
import { lowBits } from '../rules/low-bits.ts';
import { type Chain, ChainText } from '../rules/chain.ts';
import { dispatchChain, guardChain, replyDispatchChain } from '../rules/names.ts';
import { setsOf } from '../rules/parse-rule.ts';

/** Set -> the chains with a rule that asks about it. */
type Asking = ReadonlyMap<string, ReadonlySet<string>>;

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
  readonly dispatched?: Dispatched | undefined;
  asking?: Asking | undefined;
  /** Endpoint chains that have parts. */
  divided?: ReadonlySet<string>;
  /** What is known of sets that rules ask about. */
  readonly sets: Map<string, SetFindings>;
}

interface SetFindings {
  directions?: readonly Direction[];
  orderedBy?: ReadonlySet<string>;
  isOfDenials?: boolean;
  /** Other sets that some rule asks about together with it. */
  askedWith?: ReadonlySet<string>;
}

/** How the chains were made that find endpoint chains by address, where that is known: replies are found likewise. */
export type Dispatched = Readonly<Record<Direction, Way>>;

export function dispatchedBy(dispatch: FamilyRules['dispatch'], chains: ReadonlyMap<string, Chain>): Dispatched {
  const parts = new Set<string>();
  for (const { name, role } of chains.values()) if (role.kind === 'dispatch') parts.add(name);
  const way = (targets: Way['targets']): Way => ({ targets, parts, ends: new Set(targets.values()) });
  return { egress: way(dispatch.egress), ingress: way(dispatch.ingress) };
}

const NONE: ReadonlyMap<string, ChainText> = new Map();
const NOBODY: ReadonlySet<string> = new Set();

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
    findings: Findings = { ways: new Map(), sets: new Map() },
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

  /** With other chains behind the entry as well. What is known of the sets that rules ask about is brought up to date. */
  with(
    body: ReadonlyMap<string, ChainText>,
    entry: ReadonlyMap<string, ChainText>,
    dispatched: Dispatched,
  ): ChainReading {
    const ways = new Map(DIRECTIONS.map((direction) => [dispatchChain(direction), dispatched[direction]]));
    const findings: Findings = { ways, dispatched, divided: dividedAmong(body.keys()), sets: new Map() };
    const after = new ChainReading(body, entry, findings);
    findings.asking = askingAfter(this.asking, this, after);
    return after;
  }

  text(name: string): ChainText | undefined {
    return this.#entry.get(name) ?? this.#body.get(name);
  }

  *texts(): Iterable<readonly [string, ChainText]> {
    for (const each of this.#body) if (!this.#entry.has(each[0])) yield each;
    yield* this.#entry;
  }

  /** The same, with nothing made for each of them: there are hundreds, and most are looked at to see that they are as before. */
  forEachText(look: (name: string, text: ChainText) => void): void {
    this.#body.forEach((text, name) => {
      if (!this.#entry.has(name)) look(name, text);
    });
    this.#entry.forEach((text, name) => {
      look(name, text);
    });
  }

  /** The chains that are not, in the same words, in `before`. `instead`: chains to have in the place of these for now. */
  changedSince(before: ChainReading, instead: ReadonlyMap<string, ChainText> = NONE): ReadonlyMap<string, ChainText> {
    const changed = new Map<string, ChainText>();
    const look = (name: string, text: ChainText): void => {
      const now = instead.get(name) ?? text;
      if (!now.equals(before.get(name))) changed.set(name, now);
    };
    if (this.#body !== before.#body) this.forEachText(look);
    else for (const [name, text] of [...instead, ...this.#entry]) look(name, text);
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

  targets(direction: Direction): ReadonlyMap<string, string> {
    return this.#way(dispatchChain(direction)).targets;
  }

  /** The chain that judges replies to and from an address, by the chain that judges the original direction, is that chain's. */
  repliesFollow(direction: Direction): (address: string, chain: string) => boolean {
    const top = replyDispatchChain(direction);
    if (this.#findings.dispatched) return () => this.has(top);
    const { targets } = this.#way(top);
    return (address, chain) => targets.get(address) === replyChain(chain);
  }

  /** The chains that find endpoint chains by address. */
  dispatchParts(): ReadonlySet<string> {
    if (this.#findings.dispatched) return this.#findings.dispatched.egress.parts;
    const tops = DIRECTIONS.flatMap((direction) => [dispatchChain(direction), replyDispatchChain(direction)]);
    return new Set(tops.flatMap((top) => [...this.#way(top).parts]));
  }

  get asking(): Asking {
    this.#findings.asking ??= askingAfter(new Map(), undefined, this);
    return this.#findings.asking;
  }

  /** What the chains judge that ask about the set. */
  directionsOf(set: string): readonly Direction[] {
    const known = this.#found(set);
    known.directions ??= this.#directionsOf(set);
    return known.directions;
  }

  /** Whether some rule asks about the set together with another of these. */
  isAskedWith(set: string, others: ReadonlySet<string>): boolean {
    const known = this.#found(set);
    known.askedWith ??= this.#askedWith(set);
    for (const other of known.askedWith) if (others.has(other)) return true;
    return false;
  }

  /** Endpoint chains that ask about the set in rules of which the first that matches decides. */
  orderedBy(set: string): ReadonlySet<string> {
    const known = this.#found(set);
    known.orderedBy ??= new Set([...this.#asking(set)].map(wholeOf).filter((endpoint) => this.#isOrdered(endpoint)));
    return known.orderedBy;
  }

  /** The set is of rules that deny, or pass on to others: who joins may lose what was allowed. */
  isOfDenials(set: string): boolean {
    const known = this.#found(set);
    known.isOfDenials ??= this.#isOfDenials(set);
    return known.isOfDenials;
  }

  #found(set: string): SetFindings {
    const known = this.#findings.sets.get(set) ?? {};
    this.#findings.sets.set(set, known);
    return known;
  }

  #askedWith(set: string): ReadonlySet<string> {
    const rules = [...this.#asking(set)].flatMap((chain) => this.text(chain)?.sets ?? []);
    const together = new Set(rules.filter((sets) => sets.includes(set)).flat());
    together.delete(set);
    return together;
  }

  #directionsOf(set: string): readonly Direction[] {
    const endpoints = [...this.#asking(set)].map(wholeOf);
    return DIRECTIONS.filter((direction) => endpoints.some((endpoint) => this.#isEnd(endpoint, direction)));
  }

  #isOfDenials(set: string): boolean {
    const isDenial = (parsed: ParsedRule): boolean =>
      setsOf(parsed).includes(set) && !(parsed.kind === 'own' && parsed.rule.target.kind === 'return');
    return [...this.#asking(set)].some(
      (chain) => this.#isOrdered(wholeOf(chain)) && this.text(chain)?.rules.some(isDenial),
    );
  }

  #asking(set: string): ReadonlySet<string> {
    return this.asking.get(set) ?? NOBODY;
  }

  #isEnd(endpoint: string, direction: Direction): boolean {
    return [dispatchChain(direction), guardChain(direction)].some((top) => this.#way(top).ends.has(endpoint));
  }

  #isOrdered(endpoint: string): boolean {
    this.#findings.divided ??= dividedAmong(this.keys());
    return this.#findings.divided.has(endpoint) && DIRECTIONS.some((direction) => this.#isEnd(endpoint, direction));
  }

  #way(top: string): Way {
    const known = this.#findings.ways.get(top) ?? follow(this, top);
    this.#findings.ways.set(top, known);
    return known;
  }
}

/** `asking` is of `before`, and costs of those chains alone that are others in `after`. */
function askingAfter(asking: Asking, before: ChainReading | undefined, after: ChainReading): Asking {
  const found = new Map(asking);
  const own = new Groups<string, string>();
  const chainsOf = (set: string): Set<string> => {
    const chains = own.get(set) ?? new Set(found.get(set));
    own.set(set, chains);
    return chains;
  };
  before?.forEachText((name, text) => {
    if (after.text(name) !== text) for (const set of text.sets.flat()) chainsOf(set).delete(name);
  });
  after.forEachText((name, text) => {
    if (before?.text(name) !== text) for (const set of text.sets.flat()) chainsOf(set).add(name);
  });
  for (const [set, chains] of own) {
    if (chains.size > 0) found.set(set, chains);
    else found.delete(set);
  }
  return found;
}

/** Those of the endpoint chains that have parts. */
function dividedAmong(chains: Iterable<string>): ReadonlySet<string> {
  const divided = new Set<string>();
  for (const name of chains) if (partOf(name) !== undefined) divided.add(wholeOf(name));
  return divided;
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
