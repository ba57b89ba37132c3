/**
 * What the evaluator says of each class of ends, as the end that is judged, towards every other class, at every class of ports. Classes that
 * the same policies isolate share a program, and ends that the same peers match share a row of it: one flow of a row is judged.
 */
import type { Direction } from '../../core/vocabulary.ts';
import type { ClusterSnapshot, DirectionVerdict, Peer, Policy, PolicyRef, PortMatch } from '../model.ts';
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
import { objectKey, UNKNOWN_LABELS } from '../model.ts';
import { namedPortsKey } from './ends.ts';

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
  /** By peer and namespace of its policy: the classes that it matches. */
  readonly #matched = new Map<string, readonly number[]>();

  /** `index`: of the world among those that the ends' values are of. Rules are asked for often: `world` must not parse them anew. */
  constructor(
    world: ClusterSnapshot,
    index: number,
    classes: readonly EndClass[],
    ports: readonly PortClass[],
    verdicts: Verdicts,
    enforcesAudited: boolean,
  ) {
    const { namespaces, policies } = world;
    this.#world = { namespaces, policies, ...(enforcesAudited ? { enforcesAudited } : {}) };
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
    const programOf = this.#at.map((subject) => {
      if (!subject) return -1;
      const world = this.#narrowed(claimantsOf(subject.owner).map(({ namespace }) => namespace));
      const isolations = isolationsOf(world, direction, connection(direction, subject, subject, ANY_PORT));
      const key = programKey(direction, subject, isolations);
      let index = indexes.get(key);
      if (index === undefined) {
        index = programs.length;
        indexes.set(key, index);
        programs.push(this.#write(direction, subject, policiesOf(isolations)));
      }
      return index;
    });
    return { programOf, programs };
  }

  /** With the policies of some namespaces alone, as policies isolate pods of their own namespace only. */
  #narrowed(namespaces: readonly string[]): PolicyWorld {
    const found = [...new Set(namespaces)].flatMap((name) => [...(this.#byNamespace.get(name) ?? [])]);
    return { ...this.#world, policies: new Map(found) };
  }

  #write(direction: Direction, subject: EndValue, isolating: readonly Policy[]): Program {
    const world = { ...this.#world, policies: new Map(isolating.map((policy) => [objectKey(policy), policy])) };
    const rules = isolating.flatMap((policy) => policy[direction].map((rule) => ({ policy, rule })));
    const ports = rules.flatMap(({ rule }) => (rule.ports === 'any' ? [] : rule.ports));
    const peers = rules.flatMap(({ policy, rule: { peers: list } }) =>
      list === 'any' ? [] : list.map((peer) => this.#classesMatching(direction, peer, policy)),
    );
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
    const ids = this.#ports.map((port) => {
      const asked = connection(direction, subject, other, port);
      const meaning = matches.map((match) => (portMatches(match, asked) ? 1 : 0)).join('');
      let id = known.get(meaning);
      id ??= this.#verdicts.idOf(judgeDirection(world, direction, asked));
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

  #classesByPortNames(): readonly (readonly number[])[] {
    const indexes = this.#at.flatMap((other, index) => ((other?.owner?.namedPorts.length ?? 0) > 0 ? [index] : []));
    return [...Map.groupBy(indexes, (index) => namedPortsKey(this.#at[index]!.owner!)).values()];
  }
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
function programKey(direction: Direction, { owner, fromNode }: EndValue, isolations: readonly Isolation[]): string {
  const isSubject = claimantsOf(owner).some(({ nodeName }) => nodeName !== undefined);
  if (isolations.length === 0) return isSubject && fromNode === undefined ? 'open' : 'exempt';
  return JSON.stringify([
    isolations.map(({ subject, policies }) => [subject.labels === UNKNOWN_LABELS, ...policies.map(objectKey)]),
    // Ports are those of the destination.
    direction === 'ingress' && owner ? namedPortsKey(owner) : '',
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
