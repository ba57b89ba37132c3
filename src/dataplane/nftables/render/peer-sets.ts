/**
 * Sets of NodeIntent -> sets of nftables. An interval set has no exceptions and is slow to change, a hash set of addresses is neither: what
 * holds blocks is parted into its single addresses, which pods come and go with, and the ranges that all other entries make.
 *
 *   10.0.0.0/8, 10.0.1.0/24 nomatch, 10.0.1.7      pods: 10.0.1.7     blocks: 10.0.0.0/16 less 10.0.1.0/24, as ranges
 *
 * An address is in the original set if it is in one of the two: an entry of its own decides whatever the blocks say.
 */
import type { AddressPortSet, AddressSet, NodeIntent } from '../../../compile/intent.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { Family } from '../../../core/vocabulary.ts';
import type { VersionedMap } from '../../../core/versioned-map.ts';
import type { Elements, NftSet } from '../table/table.ts';

import { versionedMap } from '../../../core/versioned-map.ts';
import { AddressSpace } from '../../../net/address-space.ts';
import { parseCidr } from '../../../net/cidr.ts';
import { peerSet } from '../table/names.ts';

type Source = AddressSet | AddressPortSet;

interface Rendered {
  readonly from: Source;
  /** One of addresses, and where there are blocks another one of ranges. */
  readonly sets: readonly [NftSet, ...NftSet[]];
}

export class PeerSets {
  #rendered = new Map<string, Rendered>();
  readonly #named = new Map<string, NftSet>();
  #last: Pick<NodeIntent, 'addressSets' | 'addressPortSets'> | undefined;

  /** By key: the names of the sets that hold what it means. */
  names(key: string): readonly string[] {
    return this.#rendered.get(key)?.sets.map(({ name }) => name) ?? [];
  }

  named(name: string): NftSet | undefined {
    return this.#named.get(name);
  }

  /** `changed`: sets that are not what they were, or new; `gone`: names of those that are no more. */
  *render(intent: NodeIntent): Sliced<{ readonly changed: readonly NftSet[]; readonly gone: readonly string[] }> {
    const changed: NftSet[] = [];
    const gone: string[] = [];
    for (const which of ['addressSets', 'addressPortSets'] as const) {
      const sets: VersionedMap<string, Source> = intent[which];
      for (const [key, after] of yield* changesOf(sets, this.#last?.[which], this.#rendered)) {
        const before = this.#rendered.get(key);
        if (!after) {
          this.#rendered.delete(key);
          gone.push(...(before?.sets ?? []).map(({ name }) => name));
        } else {
          const now = { from: after, sets: renderSet(after, before) };
          this.#rendered.set(key, now);
          for (const set of now.sets) if (!before?.sets.includes(set)) changed.push(set);
          for (const { name } of before?.sets ?? []) if (!now.sets.some((set) => set.name === name)) gone.push(name);
        }
        yield;
      }
    }
    this.#last = intent;
    for (const name of gone) this.#named.delete(name);
    for (const set of changed) this.#named.set(set.name, set);
    return { changed, gone };
  }
}

function* changesOf(
  sets: VersionedMap<string, Source>,
  last: VersionedMap<string, Source> | undefined,
  known: ReadonlyMap<string, Rendered>,
): Sliced<Iterable<readonly [string, Source | undefined]>> {
  const changes = sets.changesSince(last?.version);
  if (changes !== 'all') return changes.map(({ key, after }) => [key, after]);
  const gone = [...(last?.keys() ?? [])].filter((key) => !sets.has(key));
  yield;
  const others = [...sets].filter(([key, set]) => known.get(key)?.from !== set);
  return [...others, ...gone.map((key) => [key, undefined] as const)];
}

function renderSet(from: Source, before: Rendered | undefined): Rendered['sets'] {
  const { family, members, key } = from;
  const hasPorts = 'holds' in from;
  const type = `${family === 4 ? 'ipv4_addr' : 'ipv6_addr'}${hasPorts ? ' . inet_proto . inet_service' : ''}`;
  const [hosts, ranges] = before?.sets ?? [];
  const pods = { name: hosts?.name ?? peerSet(hasPorts ? 'pod-ports' : 'pods', family, key), type, grants: family };
  if (!hasPorts && from.kind === 'nodes') return [{ ...pods, isOfNodes: true, elements: members as Elements }];
  // Nothing is carved out of pods.
  if ((hasPorts ? from.holds : from.kind) === 'addresses') return [{ ...pods, elements: members as Elements }];
  const blocks = {
    name: ranges?.name ?? peerSet(hasPorts ? 'block-ports' : 'blocks', family, key),
    type,
    isInterval: true,
    grants: family,
  };
  const changes = before ? members.changesSince(before.from.members.version) : 'all';
  if (changes === 'all' || !hosts || !ranges)
    return [
      { ...pods, elements: versionedMap(hostsIn(members)) },
      { ...blocks, elements: versionedMap(rangesIn(members, family)) },
    ];
  const moved = changes.filter(({ key: member }) => !isPrefix(member));
  const elements = hosts.elements.with(moved.map(({ key: member, after }) => [member, after || undefined]));
  const isCarved = changes.some(
    ({ key: member, before: was, after: is }) => isPrefix(member) || was === false || is === false,
  );
  return [
    elements === hosts.elements ? hosts : { ...pods, elements },
    isCarved ? { ...blocks, elements: evolved(ranges.elements, new Map(rangesIn(members, family))) } : ranges,
  ];
}

function isPrefix(member: string): boolean {
  return member.includes('/');
}

function* hostsIn(members: ReadonlyMap<string, boolean>): Iterable<readonly [string, true]> {
  for (const [member, match] of members) if (match && !isPrefix(member)) yield [member, true];
}

/** Of all entries but those of single addresses that match: the longest prefix decides, for each port of its own. */
function* rangesIn(members: ReadonlyMap<string, boolean>, family: Family): Iterable<readonly [string, true]> {
  const entries = [...members].filter(([member, match]) => !match || isPrefix(member));
  const portOf = (member: string): string => (member.includes(',') ? member.slice(member.indexOf(',')) : '');
  for (const [port, own] of Map.groupBy(entries, ([member]) => portOf(member))) {
    const table = own.map(([member, match]) => ({ text: member.slice(0, member.length - port.length), match }));
    for (const range of spaceOf(table, family).toRanges()) yield [`${range}${port}`, true];
  }
}

interface Entry {
  readonly text: string;
  readonly match: boolean;
}

/** Shorter prefixes first: what is longer has the last word. */
function spaceOf(table: readonly Entry[], family: Family): AddressSpace {
  const cidrs = table.map(({ text, match }) => ({
    cidr: parseCidr(isPrefix(text) ? text : hostCidr(text, family))!,
    match,
  }));
  const byLength = Map.groupBy(cidrs, ({ cidr }) => cidr.prefixLength);
  let space = AddressSpace.empty(family);
  for (const length of [...byLength.keys()].sort((a, b) => a - b)) {
    const [joining, leaving] = [true, false].map((match) => {
      const some = byLength.get(length)!.filter((entry) => entry.match === match);
      return AddressSpace.fromCidrs(
        family,
        some.map(({ cidr }) => cidr),
      );
    }) as [AddressSpace, AddressSpace];
    space = space.union(joining).difference(leaving);
  }
  return space;
}

function hostCidr(address: string, family: Family): string {
  return `${address}/${family === 4 ? 32 : 128}`;
}

/** The same map, or a version of it, that holds `now`. */
export function evolved(before: Elements | undefined, now: ReadonlyMap<string, true | string>): Elements {
  if (!before) return versionedMap(now);
  const gone = [...before.keys()].filter((key) => !now.has(key)).map((key) => [key, undefined] as const);
  return before.with([...gone, ...now]);
}
