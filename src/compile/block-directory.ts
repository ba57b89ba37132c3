/** The ipBlocks of policies by address. Nothing is read or built before the first question. */
import type { MapVersion } from '../core/snapshot-map.ts';
import type { Sliced } from '../core/sliced.ts';
import type { Cidr } from '../net/cidr.ts';
import type { Address } from '../net/ip.ts';
import type { Policy, RuleRef } from '../policy/model.ts';

import { runSync } from '../core/sliced.ts';
import { DIRECTIONS, type Family } from '../core/vocabulary.ts';
import { CidrTrie } from '../net/cidr-trie.ts';
import { objectKey } from '../policy/model.ts';
import { compareText } from '../core/compare.ts';

/** Exceptions between two places to stop at. */
const SLICE = 100;

/** Blocks to tell of one address: what a person reads to the end, and what one namespace can make an answer cost. */
const MAX_MENTIONS = 100;

/** One `ipBlock` of a rule. */
export interface BlockMention extends RuleRef {
  /** Position in the rule's `from` or `to`. */
  readonly peer: number;
  readonly cidr: Cidr;
}

/** What the prefix under which it stands says of its addresses: they are in the block, or excepted from it. */
interface Edge {
  readonly mention: BlockMention;
  readonly isException: boolean;
}

type Tries = Readonly<Record<Family, CidrTrie<Edge[]>>>;

/** Policies as they were at one moment, also when they are asked for later. */
type PoliciesThen = Pick<MapVersion<Policy>, 'values'>;

/** An immutable value: what is built later follows from its policies. */
export class BlockDirectory {
  readonly #policies: PoliciesThen;
  #tries: Tries | undefined;

  constructor(policies: PoliciesThen) {
    this.#policies = policies;
  }

  get isBuilt(): boolean {
    return this.#tries !== undefined;
  }

  /** What the first question costs, in slices: some microseconds per block and exception. */
  *prepare(): Sliced<void> {
    if (this.#tries) return;
    const tries: Tries = { 4: new CidrTrie(4), 6: new CidrTrie(6) };
    const inOrder = [...this.#policies.values()].sort((a, b) => compareText(objectKey(a), objectKey(b)));
    for (const policy of inOrder) yield* addBlocks(tries, policy);
    this.#tries = tries;
  }

  /**
   * The blocks that hold the address and do not except it (S-28): the longest prefix first, then by policy, direction and position; of more
   * than a hundred the first.
   */
  at({ family, words }: Address): readonly BlockMention[] {
    if (!this.#tries) runSync(this.prepare());
    const excepted = new Set<BlockMention>();
    const found: BlockMention[] = [];
    // What an exception takes away from is wider, and comes later.
    for (const { value: edges } of this.#tries![family].covering(words).toReversed()) {
      for (const { mention, isException } of edges) if (isException) excepted.add(mention);
      const holding = edges.filter(({ mention, isException }) => !isException && !excepted.has(mention));
      found.push(...holding.slice(0, MAX_MENTIONS - found.length).map(({ mention }) => mention));
      if (found.length === MAX_MENTIONS) break;
    }
    return found.sort(compareMentions);
  }
}

function* addBlocks(tries: Tries, policy: Policy): Sliced<void> {
  const { namespace, name } = policy;
  for (const direction of DIRECTIONS) {
    for (const [index, { peers }] of policy[direction].entries()) {
      if (peers === 'any') continue;
      for (const [peer, block] of peers.entries()) {
        yield;
        if (block.kind !== 'ip-block') continue;
        const mention = { policy: { namespace, name }, direction, index, peer, cidr: block.cidr };
        addEdge(tries, block.cidr, { mention, isException: false });
        const exception = { mention, isException: true };
        for (const [at, except] of block.except.entries()) {
          addEdge(tries, except, exception);
          if (at % SLICE === 0) yield;
        }
      }
    }
  }
}

function addEdge(tries: Tries, cidr: Cidr, edge: Edge): void {
  const trie = tries[cidr.family];
  const known = trie.get(cidr);
  if (known) known.push(edge);
  else trie.insert(cidr, [edge]);
}

function compareMentions(a: BlockMention, b: BlockMention): number {
  return (
    b.cidr.prefixLength - a.cidr.prefixLength ||
    compareText(objectKey(a.policy), objectKey(b.policy)) ||
    compareText(a.direction, b.direction) ||
    a.index - b.index ||
    a.peer - b.peer
  );
}
