/**
 * What the evaluator says of each class of ends, as the end that is judged, towards every other class, at every class of ports. Classes that
 * the same policies concern share a program, and ends that the same peers match share a row of it: one flow of a row is judged.
 */
import type { Direction } from '../../core/vocabulary.ts';
import type {
  ClusterPeer,
  ClusterPolicy,
  ClusterSnapshot,
  DirectionVerdict,
  LabelledNode,
  Peer,
  Pod,
  Policy,
  PolicyRef,
  PortMatch,
} from '../model.ts';
import type { EndClass, EndValue } from './ends.ts';
import type { PortClass } from './ports.ts';

import { type Connection, otherEnd, portMatches } from '../connection.ts';
import {
  type Isolation,
  isolationsOf,
  judgeDirection,
  peerMatches,
  policiesOf,
  type PolicyWorld,
} from '../evaluate.ts';
import { claimantsOf } from '../address-owners.ts';
import { clusterPeerMatches, isSubjectOf } from '../evaluate-tiers.ts';
import { objectKey, UNKNOWN_LABELS } from '../model.ts';
import { namedPortsKey, nodesByAddress } from './ends.ts';
import { peersOf, portMatchesOf } from './rules.ts';

export interface Program {
  /** By class at the other end, where it is not the commonest row, which is 0. */
  readonly rowOf: ReadonlyMap<number, number>;
  /** By class of ports: an index into the verdicts. */
  readonly rows: readonly (readonly number[])[];
}

export interface DirectionTable {
  /** By class: an index into `programs`; -1: there is no such end. */
  readonly programOf: readonly number[];
  readonly programs: readonly Program[];
  /** By class: whether a NetworkPolicy isolates it. */
  readonly isolates: readonly boolean[];
  /** By class: whether it is, or may be, a subject of a cluster-wide policy with rules of this direction. */
  readonly isSubject: readonly boolean[];
}

/** Each verdict once, each row of them, and each program: what is equal is one object, in all worlds. */
export class Verdicts {
  readonly list: DirectionVerdict[] = [];
  readonly #ids = new Map<string, number>();
  readonly #rows = new Map<string, readonly number[]>();
  readonly #programs = new Map<string, Program>();

  rowOf(ids: readonly number[]): readonly number[] {
    const key = ids.join();
    const known = this.#rows.get(key) ?? ids;
    this.#rows.set(key, known);
    return known;
  }

  programOf(program: Program): Program {
    const key = JSON.stringify([program.rows, [...program.rowOf]]);
    const known = this.#programs.get(key) ?? program;
    this.#programs.set(key, known);
    return known;
  }

  idOf(verdict: DirectionVerdict): number {
    const key = JSON.stringify(verdict);
    let id = this.#ids.get(key);
    if (id === undefined) {
      id = this.list.push(verdict) - 1;
      this.#ids.set(key, id);
    }
    return id;
  }
}

/** The end that is judged has an address that is not asked for: of its own pods' other addresses, none is it. */
const SUBJECT = 'another address';

export class ProgramWriter {
  readonly #world: PolicyWorld;
  readonly #at: readonly (EndValue | undefined)[];
  /** Classes that are there in this world. */
  readonly #present: readonly number[];
  readonly #ports: readonly PortClass[];
  readonly #verdicts: Verdicts;
  readonly #byNamespace: ReadonlyMap<string, ReadonlyMap<string, Policy>>;
  readonly #clusterPolicies: readonly ClusterPolicy[];
  readonly #nodesAt: ReadonlyMap<string, readonly LabelledNode[]>;
  /** By peer and namespace of its policy: the classes that it matches. */
  readonly #matched = new Map<string, readonly number[]>();
  /** By peer of cluster-wide policies: the classes that it matches, and those that it may match. */
  readonly #inTiers = new Map<string, readonly (readonly number[])[]>();

  /** `index`: of the world among those that the ends' values are of. Rules are asked for often: `world` must not parse them anew. */
  constructor(
    world: ClusterSnapshot,
    index: number,
    classes: readonly EndClass[],
    ports: readonly PortClass[],
    verdicts: Verdicts,
    enforcesAudited: boolean,
  ) {
    const { namespaces, policies, clusterPolicies, labelledNodes } = world;
    this.#world = { namespaces, policies, ...(enforcesAudited ? { enforcesAudited } : {}) };
    this.#clusterPolicies = [...(clusterPolicies?.values() ?? [])];
    this.#nodesAt = nodesByAddress(labelledNodes?.values() ?? []);
    this.#at = classes.map(({ values }) => values[index]);
    this.#present = this.#at.flatMap((value, each) => (value ? [each] : []));
    this.#ports = ports;
    this.#verdicts = verdicts;
    const byNamespace = Map.groupBy(policies, ([, { namespace }]) => namespace);
    this.#byNamespace = new Map([...byNamespace].map(([name, entries]) => [name, new Map(entries)]));
  }

  tableOf(direction: Direction): DirectionTable {
    const programs: Program[] = [];
    const indexes = new Map<string, number>();
    const isolates = this.#at.map(() => false);
    const isSubject = this.#at.map(() => false);
    const programOf = this.#at.map((subject, each) => {
      if (!subject) return -1;
      const world = this.#narrowed(claimantsOf(subject.owner).map(({ namespace }) => namespace));
      const isolations = isolationsOf(world, direction, connection(direction, subject, subject, ANY_PORT));
      const tiers = this.#tiersFor(direction, subject);
      isolates[each] = isolations.length > 0;
      isSubject[each] = tiers.policies.size > 0;
      const key = programKey(direction, subject, isolations, tiers);
      let index = indexes.get(key);
      if (index === undefined) {
        index = programs.length;
        indexes.set(key, index);
        programs.push(this.#write(direction, subject, policiesOf(isolations), tiers));
      }
      return index;
    });
    return { programOf, programs, isolates, isSubject };
  }

  /** With the policies of some namespaces alone, as policies isolate pods of their own namespace only. */
  #narrowed(namespaces: readonly string[]): PolicyWorld {
    const found = [...new Set(namespaces)].flatMap((name) => [...(this.#byNamespace.get(name) ?? [])]);
    return { ...this.#world, policies: new Map(found) };
  }

  /** Policies with rules of that direction, by whom of the end they concern; all of them alike where there is but one. */
  #tiersFor(direction: Direction, { owner }: EndValue): Tiers {
    const policies = new Map<string, ClusterPolicy>();
    const concerns = subjectsOf(owner).map((pod) =>
      this.#clusterPolicies.flatMap((policy) => {
        const certainty = policy[direction].length === 0 ? 'no' : isSubjectOf(this.#world, policy, pod);
        if (certainty === 'no') return [];
        policies.set(policy.name, policy);
        return [`${policy.name} ${certainty}`];
      }),
    );
    return { policies, concerns };
  }

  #write(direction: Direction, subject: EndValue, isolating: readonly Policy[], { policies: tiers }: Tiers): Program {
    const policies = new Map(isolating.map((policy) => [objectKey(policy), policy]));
    const world = { ...this.#world, policies, clusterPolicies: tiers };
    const rules = isolating.flatMap((policy) => policy[direction].map((rule) => ({ policy, rule })));
    const tierRules = [...tiers.values()].flatMap((policy) => policy[direction]);
    const ports = portMatchesOf([...rules.map(({ rule }) => rule), ...tierRules]);
    const peers = [
      ...rules.flatMap(({ policy, rule: { peers: list } }) =>
        list === 'any' ? [] : list.map((peer) => this.#classesMatching(direction, peer, policy)),
      ),
      ...peersOf(tierRules).flatMap((peer) => this.#classesInTiers(direction, peer)),
    ];
    const named = direction === 'egress' && ports.some(({ kind }) => kind === 'named');
    const { rowOf, first } = partition(this.#present, named ? [...peers, ...this.#classesByPortNames()] : peers);
    const rows = first.map((other) => this.#row(world, direction, subject, this.#at[other]!, ports));
    return this.#verdicts.programOf({ rowOf, rows });
  }

  #row(
    world: PolicyWorld,
    direction: Direction,
    subject: EndValue,
    other: EndValue,
    matches: readonly PortMatch[],
  ): readonly number[] {
    const known = new Map<string, number>();
    const labelledNodes = new Map(this.#nodesAt.get(other.address)?.map((node) => [node.name, node]));
    const here = { ...world, labelledNodes };
    const ids = this.#ports.map((port) => {
      const asked = connection(direction, subject, other, port);
      const meaning = matches.map((match) => portMeaning(match, asked)).join('');
      let id = known.get(meaning);
      id ??= this.#verdicts.idOf(judgeDirection(here, direction, asked));
      known.set(meaning, id);
      return id;
    });
    return this.#verdicts.rowOf(ids);
  }

  #classesMatching(direction: Direction, peer: Peer, policy: Policy): readonly number[] {
    const whose = peer.kind === 'pods' && peer.namespaces === 'own' ? policy.namespace : '';
    const key = `${whose} ${JSON.stringify(peer)}`;
    const found = this.#matched.get(key) ?? this.#match(direction, peer, policy);
    this.#matched.set(key, found);
    return found;
  }

  #match(direction: Direction, peer: Peer, policy: PolicyRef): number[] {
    return this.#at.flatMap((other, index) => {
      if (!other) return [];
      const end = otherEnd(direction, connection(direction, other, other, ANY_PORT));
      return peerMatches(this.#world, peer, policy, end) ? [index] : [];
    });
  }

  #classesInTiers(direction: Direction, peer: ClusterPeer): readonly (readonly number[])[] {
    const key = JSON.stringify(peer);
    const known = this.#inTiers.get(key);
    if (known) return known;
    const found = { yes: [] as number[], maybe: [] as number[] };
    for (const [index, other] of this.#at.entries()) {
      if (!other) continue;
      const end = otherEnd(direction, connection(direction, other, other, ANY_PORT));
      const labelledNodes = new Map(this.#nodesAt.get(other.address)?.map((node) => [node.name, node]));
      const { namespaces } = this.#world;
      const certainty = clusterPeerMatches({ namespaces, labelledNodes }, peer, end, other.address);
      if (certainty !== 'no') found[certainty].push(index);
    }
    const groups = [found.yes, found.maybe];
    this.#inTiers.set(key, groups);
    return groups;
  }

  #classesByPortNames(): readonly (readonly number[])[] {
    const named = this.#at.flatMap((other, index) => {
      const key = other ? portNamesOf(other) : '';
      return key === '' ? [] : [{ index, key }];
    });
    const groups = Map.groupBy(named, ({ key }) => key);
    return [...groups.values()].map((same) => same.map(({ index }) => index));
  }
}

/** Cluster-wide policies that concern an end. */
interface Tiers {
  /** By name. */
  readonly policies: ReadonlyMap<string, ClusterPolicy>;
  /** Of each pod that the end stands for: names, each with how certain it is. */
  readonly concerns: readonly (readonly string[])[];
}

/** N-40, S-70. */
function subjectsOf(owner: Pod | undefined): readonly Pod[] {
  return claimantsOf(owner).filter(({ nodeName }) => nodeName !== undefined);
}

/** Of an end's pods; empty: they declare none. */
function portNamesOf({ owner }: EndValue): string {
  const keys = claimantsOf(owner).map(namedPortsKey);
  return keys.every((key) => key === '') ? '' : JSON.stringify(keys);
}

/** Whether an entry matches: surely, or for one of several pods that claim the address. */
function portMeaning(match: PortMatch, asked: Connection): string {
  if (portMatches(match, asked)) return '1';
  const claimants = match.kind === 'named' ? claimantsOf(asked.destinationPod) : [];
  return claimants.some((destinationPod) => portMatches(match, { ...asked, destinationPod })) ? '?' : '0';
}

const ANY_PORT = { number: 0, port: 0 };

function connection(
  direction: Direction,
  subject: EndValue,
  other: EndValue,
  { number: protocol, port }: Pick<PortClass, 'number' | 'port'>,
): Connection {
  const judged = { ...subject, address: SUBJECT };
  const [from, to] = direction === 'egress' ? [judged, other] : [other, judged];
  const flow = { source: from.address, destination: to.address, protocol, port };
  return {
    flow: from.fromNode === undefined ? flow : { ...flow, fromNode: from.fromNode },
    sourcePod: from.owner,
    destinationPod: to.owner,
  };
}

/** The same for ends of which the same policies decide in the same way. */
function programKey(
  direction: Direction,
  end: EndValue,
  isolations: readonly Isolation[],
  { policies, concerns }: Tiers,
): string {
  const isSubject = subjectsOf(end.owner).length > 0;
  if (isolations.length === 0 && policies.size === 0)
    return isSubject && end.fromNode === undefined ? 'open' : 'exempt';
  return JSON.stringify([
    isolations.map(({ subject, policies: own }) => [subject.labels === UNKNOWN_LABELS, ...own.map(objectKey)]),
    concerns,
    // Ports are those of the destination.
    direction === 'ingress' ? portNamesOf(end) : '',
  ]);
}

/** Parts `indexes` so that those of one part are in the same ones of `groups`. The largest part is row 0. */
function partition(
  indexes: readonly number[],
  groups: readonly (readonly number[])[],
): { readonly rowOf: ReadonlyMap<number, number>; readonly first: readonly number[] } {
  const partOf = new Map(indexes.map((index) => [index, 0]));
  let next = 1;
  for (const group of groups) {
    const moved = new Map<number, number>();
    for (const index of group) {
      const from = partOf.get(index)!;
      if (!moved.has(from)) moved.set(from, next++);
      partOf.set(index, moved.get(from)!);
    }
  }
  const sizes = new Map<number, { size: number; readonly first: number }>();
  for (const [index, part] of partOf) {
    const known = sizes.get(part);
    if (known) known.size++;
    else sizes.set(part, { size: 1, first: index });
  }
  const parts = [...sizes].sort(([, a], [, b]) => b.size - a.size);
  const rows = new Map(parts.map(([part], row) => [part, row]));
  const rowOf = new Map<number, number>();
  for (const [index, part] of partOf) {
    const row = rows.get(part)!;
    if (row > 0) rowOf.set(index, row);
  }
  return { rowOf, first: parts.map(([, { first }]) => first) };
}
