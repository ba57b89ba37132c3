/**
 * The door of this stage: a cluster, change by change, -> NodeIntent. The one stage with memory: what a change does not
 * touch is the same object as before, and later stages skip it. Its answer depends on the present state only, never on
 * how it came about: `compileNode` of the same snapshot gives an equal value.
 */
import type { Family } from '../net/ip.ts';
import type {
  ClusterSnapshot,
  Direction,
  Namespace,
  NodeRecord,
  Peer,
  Pod,
  Policy,
  PolicyRef,
  Problem,
  RuleRef,
} from '../policy/model.ts';
import type { OwnerChange } from './address-index.ts';
import type { FamilyPeers, LetsThrough } from './clause-list.ts';
import type { EndpointSet, NodeIntent, PolicyClass, Subject } from './intent.ts';
import type { NamedPortRef } from './ports.ts';

import { DIRECTIONS, objectKey } from '../policy/model.ts';
import { matches, selectorKey } from '../policy/selector.ts';

import { AddressIndex } from './address-index.ts';
import { ClauseList } from './clause-list.ts';
import { GivenUpAddresses } from './given-up.ts';
import { LiveMap } from './live-map.ts';
import { Occurrences } from './occurrences.ts';
import { endpointEntries, endpointKeys, familyOf, PeerSets, type PeerUnion, portNames } from './peer-sets.ts';
import { RuleReader } from './read-rules.ts';
import { isSameValue } from './same-value.ts';
import { type Allowed, mergeRules, type Peers, type SharingLimits } from './shared-peers.ts';

const FAMILIES: readonly Family[] = [4, 6];

/** A local pod with the addresses it owns. */
interface Local {
  readonly pod: Pod;
  readonly addresses: Set<string>;
}

/** A class that a local pod is in; the policies are sorted by name. */
interface NeededClass {
  readonly key: string;
  readonly direction: Direction;
  readonly policies: readonly Policy[];
}

/** The classes of one local pod. */
type Classes = Readonly<Partial<Record<Direction, NeededClass>>>;

/** Ingress named ports: whose ports, and which. */
interface SubjectPorts {
  readonly keys: Readonly<Record<Family, string>>;
  readonly policy: Policy;
  readonly names: readonly NamedPortRef[];
}

interface CompiledClass {
  readonly policies: readonly Policy[];
  /** Which of them occur together; see Occurrences. */
  readonly together: readonly number[];
  readonly value: PolicyClass;
  readonly subjectPorts: readonly SubjectPorts[];
}

export class NodeCompiler {
  readonly #nodeName: string;
  readonly #limits: SharingLimits | undefined;
  readonly #addresses = new AddressIndex();
  readonly #givenUp = new GivenUpAddresses();
  readonly #peers = new PeerSets();
  readonly #rules = new RuleReader();
  readonly #policies = new Map<string, Map<string, Policy>>();
  #policyCount = 0;
  readonly #locals = new Map<string, Local>();
  readonly #refs = {
    ingress: new WeakMap<Policy, readonly RuleRef[]>(),
    egress: new WeakMap<Policy, readonly RuleRef[]>(),
  };
  #compiled = new Map<string, CompiledClass>();
  #subjects: readonly Subject[] = [];
  #classes: readonly PolicyClass[] = [];
  readonly #subjectSets = new Map<string, { readonly members: LiveMap<boolean>; value: EndpointSet }>();
  /** Local pods or policies that concern them changed: classes must be found again. */
  #localsDirty = true;
  #intent: NodeIntent | undefined;

  /** `limits`: the usual ones unless given. */
  constructor(nodeName: string, limits?: SharingLimits) {
    this.#nodeName = nodeName;
    this.#limits = limits;
  }

  // Each of these replaces one object (undefined: it is gone) and returns whether the intent may have changed.

  pod(key: string, pod: Pod | undefined): boolean {
    return this.#ownersChanged(this.#addresses.put(key, pod));
  }

  namespace(name: string, namespace: Namespace | undefined): boolean {
    return this.#touch(this.#peers.namespaceChanged(name, namespace));
  }

  policy(key: string, policy: Policy | undefined): boolean {
    const [namespace, name] = key.split('/') as [string, string];
    let inNamespace = this.#policies.get(namespace);
    if (!inNamespace) {
      inNamespace = new Map();
      this.#policies.set(namespace, inNamespace);
    }
    this.#policyCount += (policy ? 1 : 0) - (inNamespace.has(name) ? 1 : 0);
    if (policy) inNamespace.set(name, policy);
    else inNamespace.delete(name);
    if (inNamespace.size === 0) this.#policies.delete(namespace);
    for (const { pod } of this.#locals.values()) {
      if (pod.namespace !== namespace) continue;
      this.#localsDirty = true;
      break;
    }
    return this.#touch(true);
  }

  node(name: string, node: NodeRecord | undefined): boolean {
    if (name !== this.#nodeName) return false;
    return this.#touch(this.#ownersChanged(this.#addresses.exclude(node?.addresses ?? [])));
  }

  #ownersChanged(changes: readonly OwnerChange[]): boolean {
    let changed = false;
    for (const change of changes) {
      if (!change.to) this.#givenUp.giveUp(change.address);
      // Flows of the pod before may still be let through: they have to be judged again, whatever the new one may do.
      else if (!change.from) changed = this.#givenUp.take(change.address) || changed;
      changed = this.#peers.ownerChanged(change) || changed;
      changed = this.#localChanged(change) || changed;
    }
    return this.#touch(changed);
  }

  #localChanged({ address, from, to }: OwnerChange): boolean {
    const was = from?.nodeName === this.#nodeName;
    const is = to?.nodeName === this.#nodeName;
    if (!was && !is) return false;
    if (was) this.#forgetLocal(from!, address);
    if (is) {
      const key = objectKey(to!);
      const local = this.#locals.get(key);
      this.#locals.set(key, { pod: to!, addresses: new Set([...(local?.addresses ?? []), address]) });
    }
    this.#localsDirty = true;
    return true;
  }

  #forgetLocal(pod: Pod, address: string): void {
    const local = this.#locals.get(objectKey(pod));
    local?.addresses.delete(address);
    if (local?.addresses.size === 0) this.#locals.delete(objectKey(pod));
  }

  #touch(changed: boolean): boolean {
    if (changed) this.#intent = undefined;
    return changed;
  }

  // ------------------------------------------------------------------------------------------------------------ intent

  /** The intent now; the same object while nothing changed. */
  intent(): NodeIntent {
    for (const _ of this.work()) {
      // Without a budget all of it is done at once.
    }
    this.#intent ??= this.#assemble();
    return this.#intent;
  }

  /** What `intent` still has to do, in small steps, for callers that must not stand still; changes may come in between. */
  *work(): Generator<void, void> {
    if (!this.#localsDirty) return;
    this.#localsDirty = false;
    const memo = new Map<string, Map<Pod['labels'], Classes>>();
    const needed = new Map<string, NeededClass>();
    const subjects: Subject[] = [];
    for (const key of [...this.#locals.keys()].sort()) {
      const local = this.#locals.get(key);
      if (!local) continue;
      const classes = this.#classify(local.pod, memo);
      const keys = Object.fromEntries(Object.entries(classes).map(([direction, found]) => [direction, found.key]));
      for (const found of Object.values(classes)) needed.set(found.key, found);
      if (Object.keys(keys).length > 0)
        subjects.push({ pod: key, addresses: [...local.addresses].sort(), classes: keys });
      yield;
    }
    const occurrences = { ingress: new Occurrences(), egress: new Occurrences() };
    for (const { direction, policies } of needed.values()) {
      occurrences[direction].add(policies);
      yield;
    }
    const compiled = new Map<string, CompiledClass>();
    for (const key of [...needed.keys()].sort()) {
      const found = needed.get(key)!;
      compiled.set(key, this.#compileClass(found, occurrences[found.direction].together(found.policies)));
      yield;
    }
    this.#rules.keepOnly(new Set([...needed.values()].flatMap(({ policies }) => policies)));
    this.#compiled = compiled;
    this.#subjects = subjects;
    const classes = [...compiled.values()].map(({ value }) => value);
    if (!sameItems(classes, this.#classes)) this.#classes = classes;
    this.#refreshSubjectSets();
    this.#peers.keepOnly(setsNeeded(classes));
    this.#peers.include(new Map([...this.#subjectSets].map(([key, { value }]) => [key, value])));
    this.#intent = undefined;
  }

  #assemble(): NodeIntent {
    return {
      nodeName: this.#nodeName,
      subjects: this.#subjects,
      classes: this.#classes,
      ...this.#peers.values(),
      isLiveAddress: (address) => this.#addresses.owner(address) !== undefined,
      ownership: this.#givenUp.ownership,
      policyCount: this.#policyCount,
      problems: this.#problems(),
    };
  }

  /** The pod's class per direction (S-03). Pods of one namespace with the same labels have the same classes. */
  #classify(pod: Pod, memo: Map<string, Map<Pod['labels'], Classes>>): Classes {
    const policies = this.#policies.get(pod.namespace);
    if (!policies) return {};
    const inNamespace = memo.get(pod.namespace) ?? new Map<Pod['labels'], Classes>();
    memo.set(pod.namespace, inNamespace);
    let classes = inNamespace.get(pod.labels);
    if (!classes) {
      const selecting = [...policies.values()].filter((policy) => matches(policy.podSelector, pod.labels));
      selecting.sort((a, b) => compareText(a.name, b.name));
      classes = classesOf(selecting);
      inNamespace.set(pod.labels, classes);
    }
    return classes;
  }

  #compileClass(needed: NeededClass, together: readonly number[]): CompiledClass {
    const { key, direction, policies } = needed;
    const known = this.#compiled.get(key);
    if (known && sameItems(known.policies, policies) && sameItems(known.together, together)) return known;
    const subjectPorts: SubjectPorts[] = [];
    const clauses = new ClauseList();
    const peerClauses = new Map<Peers, FamilyPeers>();
    const read = policies.map((policy) => ({ podSelector: policy.podSelector, ...this.#rules.read(policy) }));
    for (const { allowed, by } of mergeRules(read, direction, together, this.#limits)) {
      clauses.add(this.#letsThrough(needed, allowed, subjectPorts, peerClauses), by);
    }
    const refs = policies.map((policy, place) => this.#refsOf(policy, direction, read[place]![direction].length));
    const value = {
      key,
      direction,
      policies: policies.map(refOf),
      clauses: clauses.list(({ place, index }) => refs[place]![index]!),
    };
    return { policies, together, value: known && isSameValue(known.value, value) ? known.value : value, subjectPorts };
  }

  /** What rules that are put together let through. `peerClauses`: those made so far. */
  #letsThrough(
    { direction, policies }: NeededClass,
    allowed: Allowed,
    subjectPorts: SubjectPorts[],
    peerClauses: Map<Peers, FamilyPeers>,
  ): LetsThrough {
    const { namespace } = policies[0]!;
    if (allowed.kind === 'by-port') return this.#letsThroughByPort(namespace, direction, allowed.peersByPort);
    const { peers } = allowed;
    // Egress resolves names on each destination, which is also the peer: one joined set (S-40, S-43, S-44).
    if (allowed.kind === 'named' && direction === 'egress') {
      const set = this.#peers.peerEndpoints(this.#peers.select(namespace, peers), allowed.names);
      return { ports: { kind: 'endpoints', set, address: 'destination' }, peers: ANY_PEER };
    }
    const known = peerClauses.get(peers) ?? this.#peerClausesOf(this.#peers.select(namespace, peers));
    peerClauses.set(peers, known);
    if (allowed.kind === 'numeric') {
      const { ports } = allowed;
      return { ports: ports === 'any' ? { kind: 'any' } : { kind: 'ranges', ...ports }, peers: known };
    }
    // Ingress resolves them on the selected pods; the peer is somebody else and keeps its own set.
    const { names, selectedBy } = allowed;
    const policy = policies[selectedBy]!;
    const set = endpointKeys(['subjects', namespace, selectorKey(policy.podSelector), names]);
    subjectPorts.push({ keys: set, policy, names });
    return { ports: { kind: 'endpoints', set, address: 'destination' }, peers: known };
  }

  #letsThroughByPort(
    namespace: string,
    direction: Direction,
    peersByPort: ReadonlyMap<string, readonly Peer[]>,
  ): LetsThrough {
    const unions = [...peersByPort].map(([port, peers]) => [port, this.#peers.select(namespace, peers)] as const);
    const set = this.#peers.portEndpoints(unions);
    const address = direction === 'ingress' ? 'source' : 'destination';
    return { ports: { kind: 'endpoints', set, address }, peers: ANY_PEER };
  }

  /** One object per rule, whatever the number of classes its policy is in. */
  #refsOf(policy: Policy, direction: Direction, count: number): readonly RuleRef[] {
    const known = this.#refs[direction].get(policy);
    if (known) return known;
    const ref = refOf(policy);
    const refs = Array.from({ length: count }, (_, index) => ({ policy: ref, direction, index }));
    this.#refs[direction].set(policy, refs);
    return refs;
  }

  #peerClausesOf(union: PeerUnion): FamilyPeers {
    return { 4: this.#peers.peerClause(union, 4), 6: this.#peers.peerClause(union, 6) };
  }

  /** The selected local pods' own number for each name (S-40). */
  #refreshSubjectSets(): void {
    const needed = new Map<string, { family: Family; subject: SubjectPorts }>();
    for (const { subjectPorts } of this.#compiled.values()) {
      for (const subject of subjectPorts) {
        for (const family of FAMILIES) needed.set(subject.keys[family], { family, subject });
      }
    }
    for (const key of [...this.#subjectSets.keys()]) if (!needed.has(key)) this.#subjectSets.delete(key);
    for (const [key, { family, subject }] of needed) {
      const wanted = this.#subjectEntries(subject, family);
      const known = this.#subjectSets.get(key)?.members ?? new LiveMap<boolean>();
      for (const entry of [...known.view().keys()]) if (!wanted.has(entry)) known.set(entry, undefined);
      for (const entry of wanted) known.set(entry, true);
      const members = known.view();
      const value = this.#subjectSets.get(key)?.value;
      this.#subjectSets.set(key, {
        members: known,
        value: value?.members === members ? value : { key, family, members },
      });
    }
  }

  #subjectEntries({ policy, names }: SubjectPorts, family: Family): Set<string> {
    const entries = new Set<string>();
    const known = portNames(names);
    for (const { pod, addresses } of this.#locals.values()) {
      if (pod.namespace !== policy.namespace || !matches(policy.podSelector, pod.labels)) continue;
      for (const address of addresses) {
        if (familyOf(address) !== family) continue;
        for (const entry of endpointEntries(address, pod, known)) entries.add(entry);
      }
    }
    return entries;
  }

  #problems(): readonly Problem[] {
    const problems: Problem[] = [...this.#rules.problems()];
    for (const [address, pod] of this.#addresses.wronglyClaimed()) {
      problems.push({
        object: { kind: 'Pod', namespace: pod.namespace, name: pod.name },
        field: 'status.podIPs',
        message: `${address} is an address of node ${this.#nodeName}; it is treated as the node's, not as this pod's`,
      });
    }
    return problems;
  }
}

/** Compiles what `nodeName` must enforce from a whole snapshot. */
export function compileNode(snapshot: ClusterSnapshot, nodeName: string, limits?: SharingLimits): NodeIntent {
  const compiler = new NodeCompiler(nodeName, limits);
  loadSnapshot(compiler, snapshot);
  return compiler.intent();
}

export function loadSnapshot(compiler: NodeCompiler, snapshot: ClusterSnapshot): void {
  for (const [name, node] of snapshot.nodes) compiler.node(name, node);
  for (const [name, namespace] of snapshot.namespaces) compiler.namespace(name, namespace);
  for (const [key, pod] of snapshot.pods) compiler.pod(key, pod);
  for (const [key, policy] of snapshot.policies) compiler.policy(key, policy);
}

const ANY_PEER: FamilyPeers = { 4: { kind: 'any' }, 6: { kind: 'any' } };

function classesOf(selecting: readonly Policy[]): Classes {
  const classes: Partial<Record<Direction, NeededClass>> = {};
  for (const direction of DIRECTIONS) {
    const policies = selecting.filter((policy) => policy.isolates[direction]);
    if (policies.length === 0) continue;
    const key = JSON.stringify([direction, ...policies.map((policy) => [policy.namespace, policy.name])]);
    classes[direction] = { key, direction, policies };
  }
  return classes;
}

function refOf(policy: Policy): PolicyRef {
  return { namespace: policy.namespace, name: policy.name };
}

function setsNeeded(classes: readonly PolicyClass[]): Set<string> {
  const keys = new Set<string>();
  for (const { clauses } of classes) {
    for (const { ports, peers } of clauses) {
      for (const family of FAMILIES) {
        const peer = peers[family];
        if (peer.kind === 'set') keys.add(peer.key);
        if (ports.kind === 'endpoints') keys.add(ports.set[family]);
      }
    }
  }
  return keys;
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
