/** A table of nftables as values: chains, sets and verdict maps by name. Of what is desired and of what was read alike. */
import type { VersionedMap } from '../../../core/versioned-map.ts';
import type { Family } from '../../../core/vocabulary.ts';
import type { PolicyRef } from '../../../policy/model.ts';
import type { MarkBits } from '../../mark-bits.ts';
import type { Rule } from './rule.ts';

import { ruleText } from './rule-text.ts';

/** Rules as text, and as values where they are ours. */
export interface Chain {
  readonly name: string;
  /** `type filter hook ...` of a base chain; empty: other chains lead to it. */
  readonly hook: string;
  readonly lines: readonly string[];
  /** Absent: it was read. */
  readonly rules?: readonly Rule[];
  /** The policies that isolate the pods it judges; of one that isolates nobody, those that are audited. */
  readonly policies?: readonly PolicyRef[];
  /** Whether what nothing allows is dropped. */
  readonly denies?: boolean;
}

export function chainOf(
  name: string,
  rules: readonly Rule[],
  of: Omit<Chain, 'name' | 'lines' | 'rules' | 'hook'> & { hook?: string } = {},
): Chain {
  return { hook: '', ...of, name, rules, lines: rules.map(ruleText) };
}

export function isSameChain(a: Chain, b: Chain | undefined): boolean {
  if (a === b) return true;
  return b !== undefined && a.hook === b.hook && isSameText(a.lines, b.lines);
}

function isSameText(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, index) => line === b[index]);
}

/** Element -> true, or the verdict of a map's element. */
export type Elements = VersionedMap<string, true | string>;

export interface NftSet {
  readonly name: string;
  /** As nft writes it: `ipv4_addr . inet_proto . inet_service`; of a map whose elements lead to other things than verdicts with these. */
  readonly type: string;
  /** Elements are disjoint ranges. */
  readonly isInterval?: boolean;
  /** Its elements lead to something: verdicts, unless its type says so. */
  readonly isMap?: boolean;
  /** Addresses and ports are written as those of NodeIntent are: `10.0.0.1,6:80`. */
  readonly elements: Elements;
  /** Present: rules of policies ask who is in it. Of a family, whose flows may have to be judged again when something leaves or joins. */
  readonly grants?: Family;
  /** Present: its addresses are of nodes, and of no pod. */
  readonly isOfNodes?: true;
}

/** Of our tables, both of them: their names tell which (families.ts). */
export interface Table {
  readonly chains: VersionedMap<string, Chain>;
  readonly sets: VersionedMap<string, NftSet>;
}

/** What a table is known to have held, by name. */
export interface Known {
  readonly chain: (name: string) => Chain | undefined;
  readonly set: (name: string) => NftSet | undefined;
}

export function isSameKind(a: Omit<NftSet, 'elements'>, b: Omit<NftSet, 'elements'>): boolean {
  return a.type === b.type && Boolean(a.isInterval) === Boolean(b.isInterval) && Boolean(a.isMap) === Boolean(b.isMap);
}

/** What shapes the table besides the cluster. */
export interface Layout {
  readonly mode: 'enforce' | 'audit';
  /** Absent: no connection marks; established flows always pass ("new connections only"). */
  readonly marks?: MarkBits;
  /** Interfaces over which node traffic may come back to a pod (security groups for pods). */
  readonly trunkInterfacePrefix: string;
  /** Closed to pods that are not programmed yet: how names of their interfaces begin. Absent: open. */
  readonly newPods?: { readonly interfacePrefixes: readonly string[] };
  /** Absent: denied packets are counted, not logged. */
  readonly log?: { readonly group: number; readonly perSecond: number; readonly burst: number };
}

/** Marks decide only while something is enforced; audit judges first packets alone and never touches a mark. */
export function stamps(layout: Layout): layout is Layout & Required<Pick<Layout, 'marks'>> {
  return layout.mode === 'enforce' && layout.marks !== undefined;
}
