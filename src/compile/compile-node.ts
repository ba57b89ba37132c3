/**
 * The door of this stage: a cluster, change by change, -> NodeIntent. The one stage with memory: what a change does not
 * touch is the same object as before, and later stages skip it. Its answer depends on the present state only, never on
 * how it came about: a new compiler, given the same snapshot, gives an equal value.
 */
import { FAMILIES, type Family, type PolicyMode } from '../core/vocabulary.ts';
import type {
  ClusterPolicy,
  ClusterSnapshot,
  LabelledNode,
  Namespace,
  NodeRecord,
  Pod,
  Policy,
  Problem,
} from '../policy/model.ts';
import type { AddressDirectory, OwnerChange } from './address-directory.ts';
import type { EndpointPorts } from './program-compiler.ts';
import type { AddressPortSet, NodeIntent, Program, LocalEndpoint } from './intent.ts';
import type { Sliced } from '../core/sliced.ts';

import { fairShare } from '../core/fair-share.ts';
import { familyOf } from '../net/ip.ts';
import { objectKey } from '../policy/model.ts';
import { matches } from '../policy/selector.ts';

import { AddressIndex } from './address-directory.ts';
import { BlockDirectory } from './block-directory.ts';
import { BYTES_OF_POLICY, ProgramCompiler } from './program-compiler.ts';
import { ContestedAddresses, type KnownPrograms, contestedLocalEndpoints, endpointsOf } from './contested-addresses.ts';
import { NAMESPACE_LIMITS, type NamespaceLimits } from './limits.ts';
import { JournaledMap } from '../core/versioned-map.ts';
import { NO_PROGRAMS, type NamespaceProgram, type NamespacePrograms, namespacePrograms } from './namespace-programs.ts';
import { PeerSets, addressPortEntries, portNames } from './peer-sets.ts';
import { RuleReader } from './read-rules.ts';
import { SetUses } from './set-uses.ts';
import { isSameValue } from '../core/same-value.ts';
import { runSync } from '../core/sliced.ts';
import type { SharingLimits } from './shared-peers.ts';
import { compareText, isSameList } from '../core/compare.ts';
import { ClusterTiers } from './tiers/cluster-tiers.ts';
import { type TieredEndpoints, tieredEndpoints } from './tiers/tiered-endpoints.ts';

/** A local pod with the addresses it owns. */
interface Local {
  /** `namespace/name`. */
  readonly key: string;
  readonly pod: Pod;
  readonly addresses: Set<string>;
}

/** Ports of local pods by name, as sets. */
type EndpointPortSets = Map<
  string,
  { readonly members: JournaledMap<string, boolean>; readonly value: AddressPortSet }
>;

/** What is known of a namespace with local pods. */
interface NamespaceState {
  readonly programs: NamespacePrograms;
  readonly endpointPortSets: EndpointPortSets;
  /** The most sets it might have when it was compiled. */
  readonly setShare: number;
}

export class NodeCompiler {
  readonly #nodeName: string;
  readonly #sharing: SharingLimits | undefined;
  readonly #limits: NamespaceLimits;
  readonly #addresses: AddressIndex;
  readonly #contested = new ContestedAddresses();
  readonly #peers = new PeerSets();
  readonly #rules = new RuleReader();
  readonly #policies = new Map<string, Map<string, Policy>>();
  /** The same of namespaces that were compiled. */
  readonly #followed = new Map<string, JournaledMap<string, Policy>>();
  #policyCount = 0;
  readonly #modes = new Map<string, PolicyMode>();
  readonly #programCompiler: ProgramCompiler;
  readonly #tiers: ClusterTiers;
  /** By namespace, then by pod. */
  readonly #locals = new Map<string, Map<string, Local>>();
  readonly #namespaces = new Map<string, NamespaceState>();
  readonly #setUses = new SetUses();
  /** Keys of those that cluster-wide policies speak of. */
  #tierSets: readonly string[] = [];
  /** Namespaces whose local pods, or policies that concern them, changed: their programs must be found again. */
  readonly #dirty = new Set<string>();
  /** Namespaces that are being compiled, with the keys of the sets that were made for them. */
  readonly #underWay = new Map<string, Set<string>>();
  /** The most sets that one namespace may have, for all to fit. */
  #setShare: number;
  /** A namespace was compiled, and is not part of the lists yet. */
  #isUngathered = false;
  #ruleChanges = 0;
  /** As of the lists. */
  #gatheredChanges = 0;
  #endpoints: readonly LocalEndpoint[] = [];
  #localAddresses: ReadonlyMap<string, string> = new Map();
  #programs: readonly Program[] = [];
  #audits: readonly Program[] = [];
  /** What namespaces ask for beyond what one may have. */
  #overLimits: readonly Problem[] = [];
  /** Of the policies that apply to local pods. */
  #blocks = new BlockDirectory([]);
  #intent: NodeIntent | undefined;

  /** The usual limits unless given; `firstRevision`: above those of all compilers before it. */
  constructor(
    nodeName: string,
    sharing?: SharingLimits,
    limits: NamespaceLimits = NAMESPACE_LIMITS,
    firstRevision = 1,
  ) {
    this.#nodeName = nodeName;
    this.#sharing = sharing;
    this.#addresses = new AddressIndex(nodeName, firstRevision);
    this.#limits = limits;
    this.#setShare = limits.sets;
    this.#programCompiler = new ProgramCompiler(this.#rules, sharing);
    this.#tiers = new ClusterTiers(nodeName, this.#peers, sharing, limits.tierRules);
  }

  /** A compiler that knows nothing yet; its intents count on from those of this one. */
  successor(): NodeCompiler {
    return new NodeCompiler(this.#nodeName, this.#sharing, this.#limits, this.#addresses.revision);
  }

  /** Counts changes that may concern more than who is in a set. */
  get ruleChanges(): number {
    return this.#ruleChanges;
  }

  /** The programs of the namespace must be found again. */
  #markDirty(namespace: string): void {
    this.#dirty.add(namespace);
    this.#ruleChanges++;
  }

  // Each of these replaces one object (undefined: it is gone) and returns whether the intent may have changed.

  pod(key: string, pod: Pod | undefined): boolean {
    return this.#ownersChanged(this.#addresses.put(key, pod));
  }

  namespace(name: string, namespace: Namespace | undefined): boolean {
    const hadDoubts = this.#hasDoubts;
    const isPeer = this.#peers.namespaceChanged(name, namespace);
    const isSubject = this.#tiers.namespace(name, namespace) && this.#locals.has(name);
    const isTiered = (isSubject || hadDoubts !== this.#hasDoubts) && this.#touchTiers();
    const isMode = this.#modeChanged(name, namespace?.mode);
    return this.#touch(isPeer || isMode || isTiered);
  }

  /** Of the policies of a namespace that ask for none themselves. */
  #modeChanged(namespace: string, mode: PolicyMode | undefined): boolean {
    if (this.#modes.get(namespace) === mode) return false;
    if (mode) this.#modes.set(namespace, mode);
    else this.#modes.delete(namespace);
    if (!this.#locals.has(namespace) || !this.#policies.has(namespace)) return false;
    this.#markDirty(namespace);
    return true;
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
    this.#followed.get(namespace)?.set(name, policy);
    if (this.#locals.has(namespace)) this.#markDirty(namespace);
    return this.#touch(true);
  }

  clusterPolicy(name: string, policy: ClusterPolicy | undefined): boolean {
    this.#tiers.policy(name, policy);
    this.#ruleChanges++;
    return this.#touch(true);
  }

  /** As rules may select it; `node` tells whose its addresses are. */
  labelledNode(name: string, node: LabelledNode | undefined): boolean {
    if (!this.#tiers.node(name, node)) return false;
    this.#ruleChanges++;
    return this.#touch(true);
  }

  /** Something that cluster-wide policies depend on changed. Returns whether there are any. */
  #touchTiers(): boolean {
    if (!this.#tiers.isEmpty) this.#ruleChanges++;
    return !this.#tiers.isEmpty;
  }

  /** Of some pod it is not known which selectors match it, or which ports it names. */
  get #hasDoubts(): boolean {
    return this.#peers.hasDoubts || this.#contested.size > 0;
  }

  node(name: string, node: NodeRecord | undefined): boolean {
    return this.#ownersChanged(this.#addresses.node(name, node?.addresses));
  }

  #ownersChanged(changes: readonly OwnerChange[]): boolean {
    let changed = false;
    const hadDoubts = this.#hasDoubts;
    for (const change of changes) {
      // Flows of the pod before may still be let through: they have to be judged again, whatever the new one may do.
      changed = this.#addresses.noteReuse(change) || changed;
      if (this.#contested.ownerChanged(change.address, change.to)) {
        changed = true;
        this.#ruleChanges++;
      }
      changed = this.#peers.ownerChanged(change) || changed;
      changed = this.#localChanged(change) || changed;
    }
    const isTiered = hadDoubts !== this.#hasDoubts && this.#touchTiers();
    return this.#touch(changed || isTiered);
  }

  #localChanged({ address, from, to }: OwnerChange): boolean {
    const was = endpointsOf(from, this.#nodeName);
    const is = endpointsOf(to, this.#nodeName);
    for (const pod of was) this.#forgetLocal(pod, address);
    for (const pod of is) this.#addLocal(pod, address);
    return was.length + is.length > 0;
  }

  #addLocal(pod: Pod, address: string): void {
    const inNamespace = this.#locals.get(pod.namespace) ?? new Map<string, Local>();
    const key = objectKey(pod);
    inNamespace.set(key, { key, pod, addresses: new Set([...(inNamespace.get(key)?.addresses ?? []), address]) });
    this.#locals.set(pod.namespace, inNamespace);
    this.#markDirty(pod.namespace);
  }

  #forgetLocal(pod: Pod, address: string): void {
    const inNamespace = this.#locals.get(pod.namespace);
    const local = inNamespace?.get(objectKey(pod));
    local?.addresses.delete(address);
    if (local?.addresses.size === 0) inNamespace!.delete(objectKey(pod));
    if (inNamespace?.size === 0) this.#locals.delete(pod.namespace);
    this.#markDirty(pod.namespace);
  }

  #touch(changed: boolean): boolean {
    if (changed) this.#intent = undefined;
    return changed;
  }

  // ------------------------------------------------------------------------------------------------------------ intent

  /** The intent now; the same object while nothing changed, the same but for its directory while no pod or policy of this node did. */
  intent(): NodeIntent {
    runSync(this.work());
    return this.current();
  }

  /** The same of what is compiled so far. A namespace that is not is as it was, but for addresses it lost. */
  current(): NodeIntent {
    const directory = this.directory();
    if (!this.#intent) {
      this.#intent = this.#assemble(directory);
      this.#addresses.advance();
    } else if (this.#intent.directory !== directory) this.#intent = { ...this.#intent, directory };
    return this.#intent;
  }

  /** Who has which address now. */
  directory(): AddressDirectory {
    return this.#addresses.directory(this.#blocks);
  }

  /**
   * What `intent` still has to do, in small steps, for callers that must not stand still; changes may come in between. Namespaces that
   * may have more than `most` bytes of rules to compile are left out.
   */
  *work(most = Number.POSITIVE_INFINITY): Sliced<void> {
    // Twice: what one namespace asks for may change how many sets others get.
    const compiled = (yield* this.#compileDirty(most)) + (yield* this.#compileDirty(most));
    if (compiled === 0 && this.#gatheredChanges === this.#ruleChanges && !this.#isUngathered) return;
    yield* this.#tiers.prepare(this.#localPods(), this.#hasDoubts);
    this.#gather();
    this.#intent = undefined;
  }

  *#localPods(): Iterable<Pod> {
    for (const inNamespace of this.#locals.values()) for (const { pod } of inNamespace.values()) yield pod;
  }

  /** Result: how many namespaces. */
  *#compileDirty(most: number): Sliced<number> {
    const quick = [...this.#dirty].filter((namespace) => this.#bytesOf(namespace) <= most).sort();
    for (const namespace of quick) yield* this.#compileNamespace(namespace);
    return quick.length;
  }

  /** There is a namespace that `work` has left out and `slowWork` has not begun. */
  get hasSlowWork(): boolean {
    return [...this.#dirty].some((namespace) => !this.#underWay.has(namespace));
  }

  /** Compiles one namespace that `work` has left out; other work may go on meanwhile, and shows it once it is done. */
  *slowWork(): Sliced<void> {
    const idle = [...this.#dirty].filter((each) => !this.#underWay.has(each));
    const waiting = idle.length > 0 ? idle : [...this.#dirty];
    // One that has more sets than it may have now; else the one that waits longest.
    const namespace = waiting.find((each) => this.#hasTooManySets(each)) ?? waiting[0];
    if (namespace === undefined) return;
    yield* this.#compileNamespace(namespace);
    this.#isUngathered = true;
  }

  #hasTooManySets(namespace: string): boolean {
    const state = this.#namespaces.get(namespace);
    return state !== undefined && Math.min(state.programs.wantedSets, state.setShare) > this.#setShare;
  }

  /** Namespaces that get more or fewer sets than when they were compiled are compiled again. */
  #shareSets(): void {
    const states = [...this.#namespaces];
    const wanted = states.map(([, { programs }]) => programs.wantedSets);
    this.#setShare = Math.floor(fairShare(wanted, this.#limits.sets, this.#limits.nodeSets));
    for (const [namespace, { programs, setShare }] of states)
      if (Math.min(programs.wantedSets, setShare) !== Math.min(programs.wantedSets, this.#setShare))
        this.#markDirty(namespace);
  }

  /** At most: as if each local pod with labels of its own had all policies. */
  #bytesOf(namespace: string): number {
    const locals = [...(this.#locals.get(namespace)?.values() ?? [])];
    const policies = [...(this.#policies.get(namespace)?.values() ?? [])];
    return (
      new Set(locals.map(({ pod }) => pod.labels)).size *
      policies.reduce((sum, policy) => sum + BYTES_OF_POLICY + (policy.ruleBytes ?? 0), 0)
    );
  }

  *#compileNamespace(namespace: string): Sliced<void> {
    this.#dirty.delete(namespace);
    // What was begun before this is out of date.
    const held = new Set<string>();
    this.#underWay.set(namespace, held);
    try {
      yield* this.#compileAfresh(namespace, held);
    } finally {
      this.#setUses.made(held);
      if (this.#underWay.get(namespace) === held) this.#underWay.delete(namespace);
    }
  }

  *#compileAfresh(namespace: string, held: Set<string>): Sliced<void> {
    const locals = this.#locals.get(namespace);
    const policies = this.#policies.get(namespace);
    if (!locals || !policies) {
      this.#followed.delete(namespace);
      this.#become(namespace, undefined);
      this.#shareSets();
      return;
    }
    const followed = this.#followed.get(namespace) ?? new JournaledMap(policies);
    this.#followed.set(namespace, followed);
    try {
      const setShare = this.#setShare;
      const before = this.#namespaces.get(namespace);
      const sorted = [...locals.keys()].sort().map((key) => locals.get(key)!);
      const programs = yield* namespacePrograms(
        this.#programCompiler,
        this.#peers,
        this.#limits,
        setShare,
        followed.snapshot(),
        this.#modes.get(namespace),
        sorted,
        before?.programs ?? NO_PROGRAMS,
        held,
      );
      if (this.#underWay.get(namespace) !== held) return;
      this.#become(namespace, {
        programs,
        endpointPortSets: endpointPortSets(programs, this.#withCommonPorts(sorted), before?.endpointPortSets),
        setShare,
      });
      this.#shareSets();
    } catch (error) {
      this.#markDirty(namespace);
      throw error;
    }
  }

  #become(namespace: string, state: NamespaceState | undefined): void {
    const before = setKeysOf(this.#namespaces.get(namespace));
    const after = setKeysOf(state);
    for (const keys of after) if (!before.has(keys)) this.#setUses.add(keys);
    for (const keys of before) if (!after.has(keys)) this.#setUses.remove(keys);
    if (state) this.#namespaces.set(namespace, state);
    else this.#namespaces.delete(namespace);
  }

  /** Of a contested address, the ports that all its claimants name alike. */
  #withCommonPorts(locals: readonly Local[]): readonly Local[] {
    if (this.#contested.size === 0) return locals;
    return locals.flatMap(({ key, pod, addresses }) =>
      [...addresses].map((address) => {
        const namedPorts = this.#addresses.owner(address)?.namedPorts ?? [];
        return { key, pod: { ...pod, namedPorts }, addresses: new Set([address]) };
      }),
    );
  }

  #isStale(namespace: string): boolean {
    return this.#dirty.has(namespace) || this.#underWay.has(namespace);
  }

  /** Pods of other namespaces may have addresses now that pods of one had when it was compiled. */
  #stillOwned(endpoints: readonly LocalEndpoint[]): readonly LocalEndpoint[] {
    return endpoints.map((endpoint) => {
      const addresses = endpoint.addresses.filter((address) => {
        const owner = this.#addresses.owner(address);
        return owner !== undefined && objectKey(owner) === endpoint.pod;
      });
      return addresses.length === endpoint.addresses.length ? endpoint : { ...endpoint, addresses };
    });
  }

  /** What all namespaces have, as lists sorted by key, and the sets they speak of. */
  #gather(): void {
    this.#isUngathered = false;
    this.#gatheredChanges = this.#ruleChanges;
    const names = [...this.#namespaces.keys()].sort();
    this.#overLimits = names.flatMap((name) => this.#namespaces.get(name)!.programs.problems);
    const states = [...this.#namespaces.values()];
    const untiered = this.#endpointsNow();
    const own = [
      ...states.flatMap((state) => [...state.programs.programs.values()].map(({ value }) => value)),
      ...untiered.closed,
    ];
    const tiered = this.#withTiers(untiered.endpoints, own);
    const { endpoints } = tiered;
    if (!isSameList(endpoints, this.#endpoints)) this.#endpoints = endpoints;
    const localAddresses = this.#addressesNow();
    if (!sameEntries(localAddresses, this.#localAddresses)) this.#localAddresses = localAddresses;
    const programs = tiered.programs.map((one) => {
      const isMade = untiered.closed.includes(one) || tiered.closed.includes(one);
      return (isMade && this.#programs.find((known) => isSameValue(known, one))) || one;
    });
    programs.sort((a, b) => compareText(a.key, b.key));
    if (!isSameList(programs, this.#programs)) this.#programs = programs;
    const audits = states.flatMap((state) => [...state.programs.audits.values()].map(({ value }) => value));
    audits.sort((a, b) => compareText(a.key, b.key));
    if (!isSameList(audits, this.#audits)) this.#audits = audits;
    this.#setUses.made(tiered.made);
    this.#setUses.add(tiered.setKeys);
    this.#setUses.remove(this.#tierSets);
    this.#tierSets = tiered.setKeys;
    const held = [...this.#underWay.values()];
    this.#peers.drop(this.#setUses.takeUnused((key) => held.some((keys) => keys.has(key))));
    const policies = new Set(states.flatMap(({ programs }) => [...programs.policies]));
    this.#rules.keepOnly(policies);
    if (!isSameList([...policies], this.#blocks.policies)) this.#blocks = new BlockDirectory([...policies]);
    this.#peers.include(
      new Map(states.flatMap((state) => [...state.endpointPortSets].map(([key, { value }]) => [key, value]))),
      tiered.nodeSets,
    );
  }

  #withTiers(endpoints: readonly LocalEndpoint[], programs: readonly Program[]): TieredEndpoints {
    const locals = [...this.#locals.values()].flatMap((inNamespace) => [...inNamespace.values()]);
    const contested = this.#contested.endpoints(this.#nodeName);
    return tieredEndpoints(this.#tiers, {
      endpoints,
      programs,
      locals,
      contested,
      before: this.#endpoints,
      hasDoubts: this.#hasDoubts,
    });
  }

  /** Sorted by pod; `closed`: programs of theirs that are of no namespace. */
  #endpointsNow(): ReturnType<typeof contestedLocalEndpoints> {
    const own = [...this.#namespaces].flatMap(([namespace, { programs }]) =>
      this.#isStale(namespace) || this.#contested.size > 0 ? this.#stillOwned(programs.endpoints) : programs.endpoints,
    );
    const byPod = (a: LocalEndpoint, b: LocalEndpoint): number => compareText(a.pod, b.pod);
    if (this.#contested.size === 0) return { endpoints: own.sort(byPod), closed: [] };
    const known: KnownPrograms = {
      of: (pod) => {
        const endpoints = this.#namespaces.get(pod.namespace)?.programs.endpoints ?? [];
        return endpoints.find((endpoint) => endpoint.pod === objectKey(pod))?.programs ?? {};
      },
      byKey: (key) =>
        [...this.#namespaces.values()].flatMap(({ programs }) => programs.programs.get(key)?.value ?? []).at(0),
    };
    const { endpoints, closed } = contestedLocalEndpoints(this.#contested.endpoints(this.#nodeName), known);
    // Of one pod's interface it is the last that counts.
    const all = [...own.filter(({ addresses }) => addresses.length > 0), ...endpoints].sort(byPod);
    const before = this.#endpoints;
    return { endpoints: all.map((each, at) => (isSameValue(before[at], each) ? before[at]! : each)), closed };
  }

  /** Of pods whose programs are known, and those that were known before: an address here counts as programmed with this intent. */
  #addressesNow(): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const [namespace, locals] of this.#locals) {
      const isKnown = !this.#isStale(namespace);
      for (const [pod, { addresses }] of locals) {
        for (const address of addresses) {
          if (this.#contested.has(address)) continue;
          if (isKnown || this.#localAddresses.get(address) === pod) found.set(address, pod);
        }
      }
    }
    for (const { address, pod, claimants } of this.#contested.endpoints(this.#nodeName)) {
      const areKnown = claimants.every(({ namespace }) => !this.#isStale(namespace));
      if (areKnown || this.#localAddresses.has(address)) found.set(address, pod);
    }
    return found;
  }

  #assemble(directory: AddressDirectory): NodeIntent {
    return {
      revision: this.#addresses.revision,
      nodeName: this.#nodeName,
      endpoints: this.#endpoints,
      programs: this.#programs,
      audits: this.#audits,
      localAddresses: this.#localAddresses,
      ...this.#peers.values(),
      directory,
      policyCount: this.#policyCount,
      waiting: [...new Set([...this.#dirty, ...this.#underWay.keys()])].sort(),
      problems: this.#problems(),
    };
  }

  #problems(): readonly Problem[] {
    const problems: Problem[] = [
      ...this.#rules.problems(),
      ...this.#overLimits,
      ...this.#contested.problems(),
      ...this.#tiers.problems(),
    ];
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

export function loadSnapshot(compiler: NodeCompiler, snapshot: ClusterSnapshot): void {
  for (const [name, node] of snapshot.nodes) compiler.node(name, node);
  for (const [name, namespace] of snapshot.namespaces) compiler.namespace(name, namespace);
  for (const [key, pod] of snapshot.pods) compiler.pod(key, pod);
  for (const [key, policy] of snapshot.policies) compiler.policy(key, policy);
  for (const [name, policy] of snapshot.clusterPolicies ?? []) compiler.clusterPolicy(name, policy);
  for (const [name, node] of snapshot.labelledNodes ?? []) compiler.labelledNode(name, node);
}

function allPrograms({ programs, audits }: NamespacePrograms): readonly NamespaceProgram[] {
  return [...programs.values(), ...audits.values()];
}

/** The keys of the sets that each of its programs speaks of; the same list as long as the program stays. */
function setKeysOf(state: NamespaceState | undefined): ReadonlySet<readonly string[]> {
  return new Set(state && allPrograms(state.programs).flatMap(({ compiled }) => (compiled ? [compiled.setKeys] : [])));
}

/** The local pods' own number for each name that ingress rules ask for (S-40). */
function endpointPortSets(
  programs: NamespacePrograms,
  locals: readonly Local[],
  before: EndpointPortSets | undefined,
): EndpointPortSets {
  const sets: EndpointPortSets = new Map();
  for (const { compiled } of allPrograms(programs)) {
    for (const endpoint of compiled?.endpointPorts ?? []) {
      for (const family of FAMILIES) {
        const key = endpoint.keys[family];
        if (!sets.has(key)) sets.set(key, endpointPortSet(key, endpoint, family, locals, before?.get(key)));
      }
    }
  }
  return sets;
}

function endpointPortSet(
  key: string,
  endpoint: EndpointPorts,
  family: Family,
  locals: readonly Local[],
  known = { members: new JournaledMap<string, boolean>(), value: undefined as AddressPortSet | undefined },
): { readonly members: JournaledMap<string, boolean>; readonly value: AddressPortSet } {
  const wanted = endpointPortEntries(endpoint, family, locals);
  const live = known.members;
  for (const entry of [...live.snapshot().keys()]) if (!wanted.has(entry)) live.set(entry, undefined);
  for (const entry of wanted) live.set(entry, true);
  const members = live.snapshot();
  const { value } = known;
  return { members: live, value: value?.members === members ? value : { key, family, holds: 'addresses', members } };
}

function endpointPortEntries({ policy, names }: EndpointPorts, family: Family, locals: readonly Local[]): Set<string> {
  const entries = new Set<string>();
  const known = portNames(names);
  for (const { pod, addresses } of locals) {
    if (!matches(policy.podSelector, pod.labels)) continue;
    for (const address of addresses) {
      if (familyOf(address) !== family) continue;
      for (const entry of addressPortEntries(address, pod, known)) entries.add(entry);
    }
  }
  return entries;
}

function sameEntries(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
