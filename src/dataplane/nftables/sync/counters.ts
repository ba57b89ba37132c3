/**
 * What the rules of the table have counted, by policies. A rule's counter begins at 0 with the rule and ends with it, so what a chain has
 * counted is kept when it goes; the chains that stand go on where an agent before this one left them.
 */
import { objectKey } from '../../../policy/model.ts';
import type { CountedFor, RuleCounter } from '../../dataplane.ts';
import type { Counted } from '../table/counted.ts';
import type { ReadCounts } from '../table/read-counters.ts';
import type { Table } from '../table/table.ts';

interface CountersOptions {
  /** By chain, the counters of its rules in order. */
  readonly read: () => Promise<ReadCounts>;
  readonly now: () => number;
  readonly onProblem: (problem: unknown) => void;
}

interface Total {
  readonly counted: Omit<RuleCounter, 'packets' | 'bytes'>;
  packets: number;
  bytes: number;
}

/** A listing is not asked for more often. */
const FRESH_MS = 1_000;
/** Others are counted together. */
const MAX_SERIES = 10_000;

export class NftCounters {
  readonly #options: CountersOptions;
  /** By chain: what its rules count; of chains that are gone as well, until they are read for the last time. */
  readonly #rules = new Map<string, readonly (Counted | undefined)[]>();
  /** By chain, as read last. */
  #seen: ReadCounts = new Map();
  readonly #totals = new Map<string, Total>();
  #standing: Pick<Table['chains'], 'has'> = new Set<string>();
  /** Of the chains that were rendered last. */
  #version: number | undefined;
  #reading: Promise<void> | undefined;
  #readMs = Number.NEGATIVE_INFINITY;

  constructor(options: CountersOptions) {
    this.#options = options;
  }

  rendered({ chains }: Table): void {
    const changes = chains.changesSince(this.#version);
    this.#standing = chains;
    this.#version = chains.version;
    const fresh = changes === 'all' ? [...chains.values()] : changes.flatMap(({ after }) => after ?? []);
    for (const { name, rules = [] } of fresh) {
      if (this.#rules.has(name) || !rules.some(({ counts }) => counts)) continue;
      this.#rules.set(
        name,
        rules.map(({ counts }) => counts),
      );
    }
  }

  /** Before chains are deleted; nothing is read where none of them counts, as where epochs alone leave theirs. Never rejects. */
  async aheadOfDeletion(): Promise<void> {
    const gone = [...this.#rules.keys()].filter((name) => !this.#standing.has(name));
    if (gone.length === 0) return;
    await this.#read();
    for (const name of gone) if (!this.#standing.has(name)) this.#rules.delete(name);
  }

  /** Never rejects. */
  async counters(): Promise<readonly RuleCounter[]> {
    if (this.#options.now() - this.#readMs >= FRESH_MS) await this.#read();
    return [...this.#totals.values()].map(({ counted, packets, bytes }) => ({ ...counted, packets, bytes }));
  }

  #read(): Promise<void> {
    this.#reading ??= this.#readNow().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readNow(): Promise<void> {
    try {
      const now = await this.#options.read();
      for (const [chain, counts] of now) this.#add(chain, counts);
      this.#seen = now;
      this.#readMs = this.#options.now();
    } catch (error) {
      this.#options.onProblem(error);
    }
  }

  #add(chain: string, counts: NonNullable<ReturnType<ReadCounts['get']>>): void {
    const before = this.#seen.get(chain);
    for (const [index, counted] of (this.#rules.get(chain) ?? []).entries()) {
      const count = counts[index];
      if (!counted || !count) continue;
      const last = before?.[index];
      // A chain that was written anew counts from 0.
      const isNew = !last || count.packets < last.packets;
      const packets = count.packets - (isNew ? 0 : last.packets);
      const bytes = count.bytes - (isNew ? 0 : last.bytes);
      const { also, ...own } = counted;
      this.#count(own, packets, bytes);
      if (also) this.#count({ ...own, ...also }, packets, bytes);
    }
  }

  #count(counted: Total['counted'], packets: number, bytes: number): void {
    const of: CountedFor = this.#totals.size < MAX_SERIES ? counted.of : { kind: 'other' };
    const key = keyOf(this.#totals.has(keyOf(counted)) ? counted : { ...counted, of });
    let total = this.#totals.get(key);
    if (!total) {
      total = { counted: { ...counted, of }, packets: 0, bytes: 0 };
      this.#totals.set(key, total);
    }
    total.packets += packets;
    total.bytes += bytes;
  }
}

function keyOf({ action, direction, flow, of }: Total['counted']): string {
  const whose = of.kind === 'policies' ? of.policies.map(objectKey) : of.kind;
  return JSON.stringify([action, direction, flow, whose]);
}
