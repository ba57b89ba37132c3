/** Counts as text, for the agent that goes on after this one. */
import type { Sliced } from '../core/sliced.ts';
import type { Family } from '../core/vocabulary.ts';
import type { RuleCounter } from './dataplane.ts';

import { DATAPLANES, type DataplaneName } from './dataplane-chooser.ts';
import { DIRECTIONS } from '../core/vocabulary.ts';
import { objectKey, type PolicyRef } from '../policy/model.ts';
import { COUNTED_ACTIONS, COUNTED_FLOWS, type CountedFor } from './dataplane.ts';

/** What of a chain a later process needs to go on from. */
export interface SavedChain {
  readonly family: Family;
  readonly name: string;
  /** Tells whether the chain is the same. */
  readonly hash: number;
  readonly packets: readonly number[];
  readonly bytes: readonly number[];
}

export interface SavedTotal extends RuleCounter {
  /** The most that was told. */
  readonly toldPackets: number;
  readonly toldBytes: number;
}

export interface SavedCounts {
  readonly totals: Iterable<SavedTotal>;
  /** Of the data planes that have some. */
  readonly chains: ReadonlyMap<DataplaneName, Iterable<SavedChain>>;
}

const VERSION = 1;
const ROWS_PER_STEP = 20;

/** Behind the name of the kernel: whose chains are called just that. Versions that keep those of one data plane begin anew with the other's. */
const WHOSE = { iptables: '', nftables: ' table inet portcullis' } as const satisfies Record<DataplaneName, string>;

/** `kernel`: names the one that counts, as long as it runs. `reader`: who counts now. */
export function* countsText({ totals, chains }: SavedCounts, kernel: string, reader: DataplaneName): Sliced<string> {
  const lines: string[] = [JSON.stringify({ version: VERSION, scope: `${kernel}${WHOSE[reader]}` })];
  for (const total of totals) {
    lines.push(JSON.stringify(totalRow(total)));
    if (lines.length % ROWS_PER_STEP === 0) yield;
  }
  for (const [dataplane, those] of chains) {
    const kind = dataplane === reader ? 'chain' : chainOf(dataplane);
    for (const chain of those) {
      lines.push(JSON.stringify([kind, ...chainRow(chain)]));
      if (lines.length % ROWS_PER_STEP === 0) yield;
    }
  }
  return `${lines.join('\n')}\n${END}\n`;
}

function chainOf(dataplane: DataplaneName): string {
  return `chain of ${dataplane}`;
}

/** The last line: without it the text is not whole. */
const END = '"end"';

/** Undefined: the text is none of ours, or not whole. `other`: the kernel that counted is gone. */
export function readCounts(text: string, kernel: string): SavedCounts | 'other' | undefined {
  try {
    const rows = text
      .split('\n')
      .filter((line) => line !== '')
      .map((line): unknown => JSON.parse(line));
    const head = rows[0] as { version?: unknown; scope?: unknown };
    if (head.version !== VERSION || rows.at(-1) !== JSON.parse(END)) return undefined;
    const reader = DATAPLANES.find((dataplane) => head.scope === `${kernel}${WHOSE[dataplane]}`);
    if (reader === undefined) return 'other';
    const body = rows.slice(1, -1) as readonly (readonly unknown[])[];
    const chainsOf = (dataplane: DataplaneName) => {
      const kinds: readonly unknown[] = [chainOf(dataplane), ...(dataplane === reader ? ['chain'] : [])];
      return body.flatMap(([kind, ...row]) => (kinds.includes(kind) ? readChain(row) : []));
    };
    return {
      totals: body.flatMap(([kind, ...row]) => (kind === 'total' ? readTotal(row) : [])),
      chains: new Map(DATAPLANES.map((dataplane) => [dataplane, chainsOf(dataplane)])),
    };
  } catch {
    return undefined;
  }
}

function totalRow({ action, direction, flow, of, packets, bytes, toldPackets, toldBytes }: SavedTotal): unknown[] {
  const whose = of.kind === 'policies' ? of.policies.map(objectKey) : of.kind;
  return ['total', action, direction, flow, whose, packets, bytes, toldPackets, toldBytes];
}

/** Most rules have counted nothing. */
function chainRow({ family, name, hash, packets, bytes }: SavedChain): unknown[] {
  const counts = packets.flatMap((count, index) => (count === 0 ? [] : [index, count, bytes[index]!]));
  return [family, name, hash, packets.length, counts];
}

/** Throws on what is no such row. */
function readTotal([action, direction, flow, whose, ...counts]: readonly unknown[]): SavedTotal {
  const counted: Omit<RuleCounter, 'packets' | 'bytes'> = {
    action: oneOf(COUNTED_ACTIONS, action),
    direction: oneOf(DIRECTIONS, direction),
    flow: oneOf(COUNTED_FLOWS, flow),
    of: readWhose(whose),
  };
  const [packets, bytes, toldPackets, toldBytes] = counts.map(whole);
  return { ...counted, packets: packets!, bytes: bytes!, toldPackets: toldPackets!, toldBytes: whole(toldBytes) };
}

function readChain([family, name, hash, size, counts]: readonly unknown[]): SavedChain {
  const packets: number[] = new Array<number>(whole(size)).fill(0);
  const bytes = [...packets];
  const given = (counts as readonly unknown[]).map(whole);
  for (let at = 0; at < given.length; at += 3) {
    const index = given[at]!;
    if (index >= packets.length) throw new Error('no such rule');
    packets[index] = given[at + 1]!;
    bytes[index] = whole(given[at + 2]);
  }
  return { family: oneOf([4, 6] as const, family), name: String(name), hash: whole(hash), packets, bytes };
}

function readWhose(value: unknown): CountedFor {
  if (!Array.isArray(value)) return { kind: oneOf(['closed', 'other'] as const, value) };
  return { kind: 'policies', policies: value.map(readPolicy) };
}

function readPolicy(value: unknown): PolicyRef {
  const [namespace, name, ...rest] = String(value).split('/');
  // Of a cluster-wide policy it is empty.
  if (namespace === undefined || !name || rest.length > 0) throw new Error('no policy');
  return { namespace, name };
}

function oneOf<T>(values: readonly T[], value: unknown): T {
  const found = values.find((each) => each === value);
  if (found === undefined) throw new Error('no such value');
  return found;
}

/** A count that was subtracted from at the wrong moment may be a packet below 0. */
function whole(value: unknown): number {
  if (!Number.isInteger(value)) throw new Error('no number');
  return value as number;
}
