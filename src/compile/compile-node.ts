/**
 * The door of this stage: a cluster, change by change, -> NodeIntent. The one stage with memory: what a change does not
 * touch is the same object as before, and later stages skip it. Its answer depends on the present state only, never on
 * how it came about: a new compiler, given the same snapshot, gives an equal value.
 */
import type { PolicyMode } from '../core/vocabulary.ts';
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
import type { AddressSet, NodeIntent, Program, LocalEndpoint } from './intent.ts';
import type { NeededProgram } from './program-compiler.ts';
import type { NamespaceProgram } from './program-pool.ts';
import type { Local } from './selected.ts';
import type { Sliced } from '../core/sliced.ts';
import type { Change } from '../core/versioned-map.ts';

import { fairShare } from '../core/fair-share.ts';
import { objectKey } from '../policy/model.ts';

import { AddressIndex } from './address-directory.ts';
import { BlockDirectory } from './block-directory.ts';
import { BYTES_OF_POLICY, ProgramCompiler } from './program-compiler.ts';
import { ContestedAddresses, type KnownPrograms, contestedLocalEndpoints, endpointsOf } from './contested-addresses.ts';
import { NAMESPACE_LIMITS, type NamespaceLimits } from './limits.ts';
import { JournaledMap } from '../core/versioned-map.ts';
import { LocalPorts } from './local-ports.ts';
import { type NamespaceChanges, NamespacePrograms, type Prepared } from './namespace-programs.ts';
import { PeerSets } from './peer-sets.ts';
import { RuleReader } from './read-rules.ts';
import { SetUses } from './set-uses.ts';
import { SnapshotMap } from '../core/snapshot-map.ts';
import { SortedList } from '../core/sorted-list.ts';
import { isSameValue } from '../core/same-value.ts';
import { runSync } from '../core/sliced.ts';
import type { SharingLimits } from './shared-peers.ts';
import { compareText, isSameList } from '../core/compare.ts';
import { ClusterTiers } from './tiers/cluster-tiers.ts';
import { type TieredEndpoints, tieredEndpoints } from './tiers/tiered-endpoints.ts';

/** A namespace with pods of this node. */
interface LocalNamespace {
  readonly locals: Map<string, Local>;
  readonly programs: NamespacePrograms;
  readonly ports: LocalPorts;
  /** Addresses that its pods lost since it was compiled, and which pod each was of. */
  readonly lost: Map<string, string>;
  /** What there was to compile, in bytes of rules, as of this stamp of its programs. */
  left: { readonly stamp: number; readonly bytes: number } | undefined;
}

export class NodeCompiler {
  readonly #nodeName: string;
  readonly #sharing: SharingLimits | undefined;
  readonly #limits: NamespaceLimits;
  readonly #addresses: AddressIndex;
  readonly #contested = new ContestedAddresses();
  readonly #peers = new PeerSets();
  readonly #rules = new RuleReader();
  /** By namespace, then by name. */
  readonly #policies = new Map<string, Map<string, Policy>>();
  #policyCount = 0;
  readonly #modes = new Map<string, PolicyMode>();
  readonly #programCompiler: ProgramCompiler;
  readonly #tiers: ClusterTiers;
  /** Those with pods of this node, and those that had some until they are compiled again. */
  readonly #namespaces = new Map<string, LocalNamespace>();
  readonly #setUses = new SetUses();
  /** Keys of those that cluster-wide policies speak of. */
  #tierSets: readonly string[] = [];
  /** Of nodes, by key. */
  #nodeSets: ReadonlyMap<string, AddressSet> = new Map();
  /** Namespaces whose local pods, or policies that concern them, changed: their programs must be found again. */
  readonly #dirty = new Set<string>();
  /** Namespaces that are being compiled, with the keys of the sets that were made for them. */
  readonly #underWay = new Map<string, Set<string>>();
  /** The most sets that one namespace may have, for all to fit. */
  #setShare: number;
  /** Namespaces that were compiled, and are not part of the lists yet. */
  readonly #ungathered = new Set<string>();
  #ruleChanges = 0;
  /** As of the lists. */
  #gatheredChanges = 0;
  /** What namespaces have, whoever else claims their pods' addresses, and without the tiers of cluster-wide policies. */
  readonly #ownEndpoints = new SortedList<LocalEndpoint>(({ pod }) => pod);
  readonly #ownPrograms = new SortedList<Program>(({ key }) => key);
  readonly #ownAudits = new SortedList<Program>(({ key }) => key);
  /** The lists of the last intent are these. */
  #isOwnAlone = false;
  #endpoints: readonly LocalEndpoint[] = [];
  #programs: readonly Program[] = [];
  readonly #localAddresses = new JournaledMap<string, string>();
  /** Of which it may be another pod's than when they were looked at last. */
  readonly #touchedAddresses = new Set<string>();
  #wasContested = false;
  /** What namespaces ask for beyond what one may have. */
  #overLimits: readonly Problem[] = [];
  /** Sets that all namespaces ask for. */
  #wantedSets = 0;
  /** Policies that apply to local pods, by how many programs they are in. */
  readonly #policyUses = new Map<Policy, number>();
  readonly #usedPolicies = new SnapshotMap<Policy>();
  #blocks = new BlockDirectory(this.#usedPolicies.snapshot());
  #blocksThen = this.#usedPolicies.snapshot();
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
    const isSubject = this.#tiers.namespace(name, namespace) && this.#hasLocals(name);
    const isTiered = (isSubject || hadDoubts !== this.#hasDoubts) && this.#touchTiers();
    const isMode = this.#modeChanged(name, namespace?.mode);
    return this.#touch(isPeer || isMode || isTiered);
  }

  /** Of the policies of a namespace that ask for none themselves. */
  #modeChanged(namespace: string, mode: PolicyMode | undefined): boolean {
    if (this.#modes.get(namespace) === mode) return false;
    if (mode) this.#modes.set(namespace, mode);
    else this.#modes.delete(namespace);
    this.#namespaces.get(namespace)?.programs.doubt();
    if (!this.#hasLocals(namespace) || !this.#policies.has(namespace)) return false;
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
    const before = inNamespace.get(name);
    this.#policyCount += (policy ? 1 : 0) - (before ? 1 : 0);
    if (policy) inNamespace.set(name, policy);
    else inNamespace.delete(name);
    if (inNamespace.size === 0) this.#policies.delete(namespace);
    this.#namespaces.get(namespace)?.programs.policyChanged(name, before);
    if (this.#hasLocals(namespace)) this.#markDirty(namespace);
    return this.#touch(true);
  }

  #hasLocals(namespace: string): boolean {
    return (this.#namespaces.get(namespace)?.locals.size ?? 0) > 0;
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
    const key = objectKey(pod);
    const { locals, programs } = this.#localNamespace(pod.namespace);
    const before = locals.get(key);
    programs.localChanged(key, before);
    locals.set(key, { key, pod, addresses: new Set([...(before?.addresses ?? []), address]) });
    this.#touchedAddresses.add(address);
    this.#markDirty(pod.namespace);
  }

  #forgetLocal(pod: Pod, address: string): void {
    const key = objectKey(pod);
    const { locals, programs, lost } = this.#localNamespace(pod.namespace);
    const before = locals.get(key);
    if (before) {
      programs.localChanged(key, before);
      const addresses = new Set(before.addresses);
      addresses.delete(address);
      if (addresses.size > 0) locals.set(key, { ...before, addresses });
      else locals.delete(key);
    }
    lost.set(address, key);
    this.#touchedAddresses.add(address);
    this.#markDirty(pod.namespace);
  }

  #localNamespace(name: string): LocalNamespace {
    const known = this.#namespaces.get(name);
    if (known) return known;
    const common = { compiler: this.#programCompiler, peers: this.#peers, limits: this.#limits };
    const made: LocalNamespace = {
      locals: new Map(),
      programs: new NamespacePrograms(common),
      ports: new LocalPorts(),
      lost: new Map(),
      left: undefined,
    };
    this.#namespaces.set(name, made);
    return made;
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
    const left = new Set<string>();
    const compiled = (yield* this.#compileDirty(most, left)) + (yield* this.#compileDirty(most, left));
    if (compiled === 0 && this.#gatheredChanges === this.#ruleChanges && this.#ungathered.size === 0) return;
    yield* this.#tiers.prepare(this.#localPods(), this.#hasDoubts);
    this.#gather();
    this.#intent = undefined;
  }

  *#localPods(): Iterable<Pod> {
    for (const { locals } of this.#namespaces.values()) for (const { pod } of locals.values()) yield pod;
  }

  /** Result: how many namespaces. `left`: gets those with more to compile. */
  *#compileDirty(most: number, left: Set<string>): Sliced<number> {
    let count = 0;
    for (const namespace of [...this.#dirty].sort()) {
      if (left.has(namespace)) continue;
      if (yield* this.#compileNamespace(namespace, most)) count++;
      else left.add(namespace);
    }
    return count;
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
    yield* this.#compileNamespace(namespace, Number.POSITIVE_INFINITY);
    this.#ungathered.add(namespace);
  }

  #hasTooManySets(namespace: string): boolean {
    const programs = this.#namespaces.get(namespace)?.programs;
    return programs !== undefined && Math.min(programs.wantedSets, programs.setShare) > this.#setShare;
  }

  /** Namespaces that get more or fewer sets than when they were compiled are compiled again. */
  #shareSets(): void {
    // Nobody asks for more than a namespace may have.
    if (this.#wantedSets <= this.#limits.nodeSets && this.#setShare === this.#limits.sets) return;
    const all = [...this.#namespaces].map(([namespace, { programs }]) => ({ namespace, programs }));
    const wanted = all.map(({ programs }) => programs.wantedSets);
    this.#setShare = Math.floor(fairShare(wanted, this.#limits.sets, this.#limits.nodeSets));
    for (const { namespace, programs } of all) {
      const had = Math.min(programs.wantedSets, programs.setShare);
      if (had !== Math.min(programs.wantedSets, this.#setShare)) this.#markDirty(namespace);
    }
  }

  /** At most: as if each local pod with labels of its own had all policies. */
  #bytesOf(locals: Iterable<Local>, policies: Iterable<Policy>): number {
    const labels = new Set<Pod['labels']>();
    for (const { pod } of locals) labels.add(pod.labels);
    let bytes = 0;
    for (const policy of policies) bytes += BYTES_OF_POLICY + (policy.ruleBytes ?? 0);
    return labels.size * bytes;
  }

  /** False if there may be more than `most` bytes of rules to compile: then nothing is another, and what is under way goes on. */
  *#compileNamespace(namespace: string, most: number): Sliced<boolean> {
    const prepared = yield* this.#prepare(namespace, most);
    if (prepared === 'left') return false;
    this.#dirty.delete(namespace);
    // What was begun before this is out of date.
    const held = new Set<string>();
    this.#underWay.set(namespace, held);
    try {
      yield* this.#compileAfresh(namespace, held, prepared);
    } finally {
      this.#setUses.made(held);
      if (this.#underWay.get(namespace) === held) this.#underWay.delete(namespace);
    }
    return true;
  }

  /** What there is to compile, where that is known ahead of it. */
  *#prepare(namespace: string, most: number): Sliced<Prepared | 'left' | undefined> {
    for (;;) {
      const local = this.#localNamespace(namespace);
      const { locals, programs } = local;
      const policies = this.#policies.get(namespace);
      if (!policies || locals.size === 0) return undefined;
      if (programs.isAfresh(this.#modes.get(namespace)))
        return this.#bytesOf(locals.values(), policies.values()) > most ? 'left' : undefined;
      if (most === 0) return 'left';
      const { stamp } = programs;
      if (local.left?.stamp === stamp && local.left.bytes > most) return 'left';
      const prepared = yield* programs.prepare({ policies, locals, mode: this.#modes.get(namespace) });
      // Something else came in between.
      if (stamp !== programs.stamp || this.#namespaces.get(namespace)?.programs !== programs) continue;
      const bytes = prepared.draft.bytes();
      local.left = { stamp, bytes };
      return bytes > most ? 'left' : prepared;
    }
  }

  *#compileAfresh(namespace: string, held: Set<string>, known: Prepared | undefined): Sliced<void> {
    const local = this.#localNamespace(namespace);
    const { locals, programs } = local;
    const policies = this.#policies.get(namespace);
    try {
      if (!policies || locals.size === 0) {
        this.#become(local, () => programs.clear());
        if (locals.size === 0) this.#namespaces.delete(namespace);
      } else {
        const prepared = known ?? (yield* programs.prepare({ policies, locals, mode: this.#modes.get(namespace) }));
        const commit = yield* programs.compile(prepared, { setShare: this.#setShare, held });
        if (this.#underWay.get(namespace) !== held) return;
        this.#become(local, commit);
      }
      this.#shareSets();
    } catch (error) {
      programs.doubt();
      this.#markDirty(namespace);
      throw error;
    }
  }

  #become(local: LocalNamespace, commit: () => NamespaceChanges): void {
    const { programs, ports, lost } = local;
    const { problems, wantedSets } = programs;
    const changes = commit();
    this.#wantedSets += programs.wantedSets - wantedSets;
    lost.clear();
    this.#ownPrograms.apply(valuesOf(changes.programs));
    this.#ownAudits.apply(valuesOf(changes.audits));
    this.#ownEndpoints.apply(new Map(changes.endpoints.map(({ key, after }) => [key, after])));
    const all = [...changes.programs, ...changes.audits];
    for (const { before, after } of all)
      if (after?.compiled && after.compiled !== before?.compiled) this.#setUses.add(after.compiled.setKeys);
    for (const { before, after } of all)
      if (before?.compiled && after?.compiled !== before.compiled) this.#setUses.remove(before.compiled.setKeys);
    for (const { after } of all) if (after) this.#usePolicies(after.needed);
    for (const { before } of all) if (before) this.#releasePolicies(before.needed);
    const isContested = this.#contested.size > 0 || this.#wasContested;
    const portSets = ports.follow(all, isContested ? undefined : changes.locals, () =>
      this.#withCommonPorts(programs.locals()),
    );
    for (const [key, set] of portSets) this.#peers.include(key, set);
    if (!isSameList(problems, programs.problems)) this.#overLimits = this.#overLimitsNow();
  }

  #overLimitsNow(): readonly Problem[] {
    const names = [...this.#namespaces.keys()].sort();
    return names.flatMap((name) => this.#namespaces.get(name)!.programs.problems);
  }

  #usePolicies({ direction, policies, names }: NeededProgram): void {
    for (const [at, policy] of policies.entries()) {
      const uses = this.#policyUses.get(policy) ?? 0;
      this.#policyUses.set(policy, uses + 1);
      if (uses === 0) this.#usedPolicies.set(usedKey(policy, names[at]!.slice(direction.length)), policy);
    }
  }

  #releasePolicies({ direction, policies, names }: NeededProgram): void {
    for (const [at, policy] of policies.entries()) {
      const uses = this.#policyUses.get(policy)! - 1;
      if (uses > 0) this.#policyUses.set(policy, uses);
      else {
        this.#policyUses.delete(policy);
        this.#rules.released(policy);
        const key = usedKey(policy, names[at]!.slice(direction.length));
        if (this.#usedPolicies.get(key) === policy) this.#usedPolicies.set(key, undefined);
      }
    }
  }

  /** Of a contested address, the ports that all its claimants name alike. */
  #withCommonPorts(locals: Iterable<Local>): Iterable<Local> {
    if (this.#contested.size === 0) return locals;
    return [...locals].flatMap(({ key, pod, addresses }) =>
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
  #stillOwned(endpoints: Iterable<LocalEndpoint>): readonly LocalEndpoint[] {
    return [...endpoints].map((endpoint) => {
      const addresses = endpoint.addresses.filter((address) => {
        const owner = this.#addresses.owner(address);
        return owner !== undefined && objectKey(owner) === endpoint.pod;
      });
      return addresses.length === endpoint.addresses.length ? endpoint : { ...endpoint, addresses };
    });
  }

  /** Pods of a namespace that is not compiled yet lost an address to nobody or to others. */
  #isAnyLost(): boolean {
    for (const namespace of [...this.#dirty, ...this.#underWay.keys()])
      for (const [address, pod] of this.#namespaces.get(namespace)?.lost ?? []) {
        const owner = this.#addresses.owner(address);
        if (owner === undefined || objectKey(owner) !== pod) return true;
      }
    return false;
  }

  /** What all namespaces have, as lists sorted by key, and the sets they speak of. */
  #gather(): void {
    this.#ungathered.clear();
    this.#gatheredChanges = this.#ruleChanges;
    const isOwnAlone = this.#contested.size === 0 && this.#tiers.isEmpty && !this.#isAnyLost();
    if (isOwnAlone && this.#isOwnAlone) {
      this.#endpoints = this.#ownEndpoints.list;
      this.#programs = this.#ownPrograms.list;
    } else this.#gatherWithOthers();
    this.#isOwnAlone = isOwnAlone;
    this.#followAddresses();
    const held = [...this.#underWay.values()];
    this.#peers.drop(this.#setUses.takeUnused((key) => held.some((keys) => keys.has(key))));
    this.#rules.forgetUnused((policy) => this.#policyUses.has(policy));
    const used = this.#usedPolicies.snapshot();
    if (used === this.#blocksThen) return;
    this.#blocksThen = used;
    this.#blocks = new BlockDirectory(used);
  }

  /** The same where addresses are contested, or cluster-wide policies have a say. */
  #gatherWithOthers(): void {
    const untiered = this.#endpointsNow();
    const tiered = this.#withTiers(untiered.endpoints, [...this.#ownPrograms.list, ...untiered.closed]);
    const { endpoints } = tiered;
    const programs = tiered.programs.map((one) => {
      const isMade = untiered.closed.includes(one) || tiered.closed.includes(one);
      return (isMade && this.#programs.find((known) => isSameValue(known, one))) || one;
    });
    programs.sort((a, b) => compareText(a.key, b.key));
    this.#endpoints = sameOf(endpoints, this.#endpoints, this.#ownEndpoints.list);
    this.#programs = sameOf(programs, this.#programs, this.#ownPrograms.list);
    this.#setUses.made(tiered.made);
    this.#setUses.add(tiered.setKeys);
    this.#setUses.remove(this.#tierSets);
    this.#tierSets = tiered.setKeys;
    for (const key of this.#nodeSets.keys()) if (!tiered.nodeSets.has(key)) this.#peers.include(key, undefined);
    for (const [key, set] of tiered.nodeSets) this.#peers.include(key, set);
    this.#nodeSets = tiered.nodeSets;
  }

  #withTiers(endpoints: readonly LocalEndpoint[], programs: readonly Program[]): TieredEndpoints {
    const locals = [...this.#namespaces.values()].flatMap((each) => [...each.locals.values()]);
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
      this.#isStale(namespace) || this.#contested.size > 0
        ? this.#stillOwned(programs.endpoints())
        : [...programs.endpoints()],
    );
    const byPod = (a: LocalEndpoint, b: LocalEndpoint): number => compareText(a.pod, b.pod);
    if (this.#contested.size === 0) return { endpoints: own.sort(byPod), closed: [] };
    const known: KnownPrograms = {
      of: (pod) => this.#namespaces.get(pod.namespace)?.programs.endpoint(objectKey(pod))?.programs ?? {},
      byKey: (key) => this.#ownPrograms.list.find((program) => program.key === key),
    };
    const { endpoints, closed } = contestedLocalEndpoints(this.#contested.endpoints(this.#nodeName), known);
    // Of one pod's interface it is the last that counts.
    const all = [...own.filter(({ addresses }) => addresses.length > 0), ...endpoints].sort(byPod);
    const before = this.#endpoints;
    return { endpoints: all.map((each, at) => (isSameValue(before[at], each) ? before[at]! : each)), closed };
  }

  /** Of pods whose programs are known, and those that were known before: an address there counts as programmed with this intent. */
  #followAddresses(): void {
    const isContested = this.#contested.size > 0;
    if (isContested || this.#wasContested) {
      const now = this.#addressesNow();
      for (const address of [...this.#localAddresses.snapshot().keys()])
        if (!now.has(address)) this.#localAddresses.set(address, undefined);
      for (const [address, pod] of now) this.#localAddresses.set(address, pod);
    }
    this.#wasContested = isContested;
    if (isContested) return;
    for (const address of this.#touchedAddresses) {
      const owner = this.#addresses.owner(address);
      const pod = owner?.nodeName === this.#nodeName ? objectKey(owner) : undefined;
      const isKnown = owner === undefined || !this.#isStale(owner.namespace);
      if (pod === undefined || isKnown || this.#localAddresses.get(address) !== pod)
        this.#localAddresses.set(address, isKnown ? pod : undefined);
      if (isKnown || pod === undefined) this.#touchedAddresses.delete(address);
    }
  }

  #addressesNow(): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const [namespace, { locals }] of this.#namespaces) {
      const isKnown = !this.#isStale(namespace);
      for (const [pod, { addresses }] of locals) {
        for (const address of addresses) {
          if (this.#contested.has(address)) continue;
          if (isKnown || this.#localAddresses.get(address) === pod) found.set(address, pod);
          if (!isKnown) this.#touchedAddresses.add(address);
        }
      }
    }
    for (const { address, pod, claimants } of this.#contested.endpoints(this.#nodeName)) {
      const areKnown = claimants.every(({ namespace }) => !this.#isStale(namespace));
      if (areKnown || this.#localAddresses.get(address) !== undefined) found.set(address, pod);
    }
    return found;
  }

  #assemble(directory: AddressDirectory): NodeIntent {
    return {
      revision: this.#addresses.revision,
      nodeName: this.#nodeName,
      endpoints: this.#endpoints,
      programs: this.#programs,
      audits: this.#ownAudits.list,
      localAddresses: this.#localAddresses.snapshot(),
      ...this.#peers.values(),
      directory,
      policyCount: this.#policyCount,
      waiting: [...new Set([...this.#dirty, ...this.#underWay.keys(), ...this.#ungathered])].sort(),
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

function valuesOf(changes: readonly Change<string, NamespaceProgram>[]): ReadonlyMap<string, Program | undefined> {
  return new Map(changes.map(({ key, after }) => [key, after?.value]));
}

/** Of a policy as some pods have it: see NeededProgram. */
function usedKey({ namespace }: Policy, name: string): string {
  return `${namespace}/${name}`;
}

/** The first of the lists that is the same. */
function sameOf<T>(list: readonly T[], ...known: readonly (readonly T[])[]): readonly T[] {
  return known.find((each) => isSameList(each, list)) ?? list;
}
