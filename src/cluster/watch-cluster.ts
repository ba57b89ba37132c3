/** Door of this folder: the Kubernetes API -> ClusterSnapshot, kept up to date. */
import type { ObjectKind } from '../core/vocabulary.ts';
import type { ClusterPolicy, ClusterSnapshot, LabelledNode, Problem } from '../policy/model.ts';

import { type Clock, systemClock } from '../core/clock.ts';
import { API_KINDS, type ApiKind, type ApiKinds, type EmptyList, type KindRecords } from './kinds.ts';
import { NamespaceTermination } from './namespace-termination.ts';
import { type ClusterLog, type ReflectorObserver, SILENT_LOG } from './observe.ts';
import { JoinedProblems } from './problem-book.ts';
import type { ObjectRecord } from './project.ts';
import { Reflector } from './reflector.ts';
import type { Presence } from './retry-policy.ts';
import { ObjectStore } from './store.ts';
import type { Transport } from './transport.ts';

/** One object that changed. `before` and `after` are the slim records (Pod, Namespace, Policy, NodeRecord). */
export interface ClusterChange {
  readonly kind: ObjectKind;
  /** `namespace/name` or `name`. */
  readonly key: string;
  readonly type: 'added' | 'changed' | 'deleted';
  /** Absent if added. */
  readonly before?: ObjectRecord;
  /** Absent if deleted. */
  readonly after?: ObjectRecord;
  /** performance.now() at which the line arrived. */
  readonly arrivedAtMs: number;
  /** The API's own time stamp of the change, wall clock in ms, in whole seconds; absent if a list told, or the object does not. */
  readonly writtenAtMs?: number;
}

export interface KindStatus {
  readonly kind: ObjectKind;
  /** `listed`: at least once, and the server has it; `absent`: the server does not have this optional kind; else `unknown`. */
  readonly presence: Presence;
  /** A watch is open, and nothing says that it is dead. */
  readonly connected: boolean;
  readonly objects: number;
  /** How long no watch is open, so that changes do not arrive; 0 while one is. A dead connection is found within 20 s. */
  readonly staleMs: number;
  /** The last list named nothing although objects are known: they are kept, and it is asked again. */
  readonly doubtsEmpty: boolean;
  /** Wall clock of the last byte from the server, ms since the epoch; 0 if none. */
  readonly lastHeardMs: number;
  readonly restarts: number;
  /** The last resource version told; absent before the first, and while everything is listed anew. */
  readonly version?: string;
  /** Last failure in words, cleared by the next success. */
  readonly problem?: string;
}

/** The door of this folder: the cluster as the agent sees it. */
export interface ClusterWatch {
  /** Starts watching; returns at once. Stops for good when `signal` aborts. Calling it twice is an error. */
  start(signal: AbortSignal): void;
  /** True once of every kind it is known what the server has; never false again (an outage keeps the last known state). */
  readonly inSync: boolean;
  /** Read-only views of the live stores: consistent until the caller next yields to the event loop. O(1). */
  snapshot(): ClusterSnapshot;
  /** `listener` is called synchronously for each effective change (after projection; no-op updates are dropped). */
  onChange(listener: (change: ClusterChange) => void): void;
  /** Called once, when inSync becomes true; at once if it already is. */
  onSync(listener: () => void): void;
  status(): readonly KindStatus[];
  /** Of `status`, the versions alone: cheap enough for each sync. */
  versions(): Versions;
}

/** By kind: the last resource version told. */
export type Versions = Readonly<Partial<Record<ObjectKind, string>>>;

interface ClusterWatchOptions {
  readonly connection: Transport;
  /** The only node that is watched. */
  readonly nodeName: string;
  readonly clock?: Clock;
  /** In [0, 1); default Math.random. */
  readonly random?: () => number;
  readonly observer?: Partial<ReflectorObserver>;
  readonly log?: ClusterLog;
  /** Default: all there are. */
  readonly kinds?: ApiKinds;
}

/** Watches what `kinds.ts` lists, of nodes the own one. Nothing is opened before `start`. */
export function createClusterWatch(options: ClusterWatchOptions): ClusterWatch {
  return new ApiClusterWatch(options);
}

interface Watched<T extends ObjectRecord> {
  readonly kind: ObjectKind;
  readonly store: ObjectStore<T>;
  readonly reflector: Reflector;
}

type AllWatched = { readonly [K in ObjectKind]: Watched<KindRecords[K]> };

/** The kind that is watched on demand, while it is. */
interface OnDemand {
  readonly watched: Watched<LabelledNode>;
  readonly stop: AbortController;
}

class ApiClusterWatch implements ClusterWatch {
  readonly #options: ClusterWatchOptions;
  readonly #observer: ReflectorObserver;
  readonly #log: ClusterLog;
  readonly #changeListeners: ((change: ClusterChange) => void)[] = [];
  #syncListeners: (() => void)[] = [];
  readonly #kinds: ApiKinds;
  readonly #watched: Omit<AllWatched, 'clusternodes'>;
  readonly #always: readonly Watched<ObjectRecord>[];
  #nodes: OnDemand | undefined;
  /** Of the stores there are. */
  #snapshot: ClusterSnapshot | undefined;
  #signal: AbortSignal | undefined;
  readonly #termination = new NamespaceTermination({
    namespaces: () => this.#watched.namespaces.store.records,
    pods: () => this.#watched.pods.store.records,
    policies: () => this.#watched.networkpolicies.store,
    isListed: () => this.#watched.namespaces.reflector.listed,
  });
  #started = false;
  #inSync = false;
  #hadNode = false;
  readonly #problems = new JoinedProblems();

  constructor(options: ClusterWatchOptions) {
    this.#options = options;
    this.#log = options.log ?? SILENT_LOG;
    this.#observer = guarded(options.observer ?? {}, this.#log);
    this.#kinds = options.kinds ?? API_KINDS;
    this.#watched = this.#watchAll(this.#kinds);
    this.#always = Object.values(this.#watched) as unknown as readonly Watched<ObjectRecord>[];
  }

  get inSync(): boolean {
    return this.#inSync;
  }

  start(signal: AbortSignal): void {
    if (this.#started) throw new Error('cluster watch: started twice');
    this.#started = true;
    this.#signal = signal;
    for (const watched of this.#always) this.#run(watched, signal);
  }

  #run({ kind, reflector }: Pick<Watched<ObjectRecord>, 'kind' | 'reflector'>, signal: AbortSignal): void {
    reflector.run(signal).catch((error: unknown) => {
      // Only a bug gets here. Dying loudly beats a watch that is silently dead: the rules stay in the kernel.
      queueMicrotask(() => {
        throw new Error(`cluster watch: ${kind}: reflector ended: ${String(error)}`, { cause: error });
      });
    });
  }

  get #all(): readonly Watched<ObjectRecord>[] {
    return this.#nodes ? [...this.#always, this.#nodes.watched as unknown as Watched<ObjectRecord>] : this.#always;
  }

  /** N-44: nodes are watched while a rule asks for them. */
  #followDemand(): void {
    const isWanted = [...this.#watched.clusternetworkpolicies.store.records.values()].some(asksForNodes);
    if (isWanted === (this.#nodes !== undefined) || !this.#signal) return;
    this.#snapshot = undefined;
    if (isWanted) {
      const stop = new AbortController();
      const watched = this.#watch(this.#kinds.clusternodes);
      this.#nodes = { watched, stop };
      this.#run(watched, AbortSignal.any([this.#signal, stop.signal]));
      return;
    }
    const { watched, stop } = this.#nodes!;
    this.#nodes = undefined;
    stop.abort();
    watched.store.end([...watched.store.records.keys()], (this.#options.clock ?? systemClock).now());
  }

  snapshot(): ClusterSnapshot {
    this.#snapshot ??= this.#takeSnapshot();
    return this.#snapshot;
  }

  #takeSnapshot(): ClusterSnapshot {
    const { pods, namespaces, networkpolicies, nodes, clusternetworkpolicies } = this.#watched;
    const problems = (): readonly Problem[] => this.#problems.of(this.#all.map(({ store }) => store.problems));
    return {
      pods: pods.store.records,
      namespaces: namespaces.store.records,
      policies: networkpolicies.store.records,
      nodes: nodes.store.records,
      clusterPolicies: clusternetworkpolicies.store.records,
      ...(this.#nodes ? { labelledNodes: this.#nodes.watched.store.records } : {}),
      get problems() {
        return problems();
      },
    };
  }

  onChange(listener: (change: ClusterChange) => void): void {
    this.#changeListeners.push(listener);
  }

  onSync(listener: () => void): void {
    if (this.#inSync) this.#call('pods', listener);
    else this.#syncListeners.push(listener);
  }

  status(): readonly KindStatus[] {
    return this.#all.map(({ kind, store, reflector }) => ({
      kind,
      presence: reflector.presence,
      connected: reflector.connected,
      objects: store.records.size,
      staleMs: reflector.staleMs,
      doubtsEmpty: reflector.doubtsEmpty,
      lastHeardMs: reflector.lastHeardMs,
      restarts: reflector.restarts,
      ...(reflector.version === undefined ? {} : { version: reflector.version }),
      ...(reflector.problem === undefined ? {} : { problem: reflector.problem }),
    }));
  }

  versions(): Versions {
    const versions: Partial<Record<ObjectKind, string>> = {};
    for (const { kind, reflector } of this.#all)
      if (reflector.version !== undefined) versions[kind] = reflector.version;
    return versions;
  }

  #watchAll(kinds: ApiKinds): Omit<AllWatched, 'clusternodes'> {
    const always = Object.values(kinds).filter(({ onDemand }) => !onDemand);
    const all = always.map((kind) => [kind.kind, this.#watch(kind as unknown as ApiKind)]);
    return Object.fromEntries(all) as AllWatched;
  }

  #watch<T extends ObjectRecord>(kind: ApiKind<T>): Watched<T> {
    const context = { nodeName: this.#options.nodeName, termination: this.#termination };
    const only = kind.only?.(context);
    const store = new ObjectStore<T>({
      project: kind.project,
      namespaced: kind.namespaced,
      uidOf: kind.uidOf,
      onChange: (change) => this.#changed({ kind: kind.kind, ...change }),
      ...(only === undefined ? {} : { onlyKey: only }),
      ...kind.store?.(context),
    });
    const tellOthers = (tell: (other: Reflector) => void): void => {
      for (const { reflector: other } of this.#all) if (other !== reflector) tell(other);
    };
    const reflector: Reflector = new Reflector({
      resource: kind,
      ...(only === undefined ? {} : { fieldSelector: `metadata.name=${only}` }),
      ...(kind.savings === undefined ? {} : { savings: kind.savings }),
      transport: this.#options.connection,
      sink: store,
      clock: this.#options.clock ?? systemClock,
      random: this.#options.random ?? Math.random,
      observer: this.#observer,
      log: this.#log,
      objects: () => store.records.size,
      judgeEmpty: (known) => this.#judgeEmpty(kind, known),
      onListed: () => this.#checkSync(),
      // One store holds them all: each asks for its own version, and lists when that is gone as well.
      onWentBack: () => tellOthers((other) => other.doubt()),
      // One connection's failure is everybody's: a node knocks once a second, not once a second for each kind.
      onUnreachable: () => tellOthers((other) => other.waitAnew()),
      onReached: () => tellOthers((other) => other.retryNow()),
    });
    return { kind: kind.kind, store, reflector };
  }

  /** A cluster that has lost our node is not ours or has lost everything: what it does not list is not taken for deleted. */
  #judgeEmpty({ judgeEmpty }: Pick<ApiKind, 'judgeEmpty'>, known: number): EmptyList {
    if (!judgeEmpty) return 'fact';
    const { namespaces, nodes } = this.#watched;
    const hasLostNode = this.#hadNode && nodes.store.records.size === 0;
    return namespaces.reflector.doubtsEmpty || hasLostNode ? 'not-believed' : judgeEmpty(known);
  }

  #changed(change: ClusterChange): void {
    // First of all, so that listeners hear of a policy that comes back together with its cause.
    if (change.kind === 'namespaces') this.#termination.namespaceChanged(change);
    if (change.kind === 'pods') this.#termination.podChanged(change);
    if (change.kind === 'nodes') this.#hadNode = true;
    for (const listener of this.#changeListeners) {
      try {
        listener(change);
      } catch (error) {
        this.#failed(change.kind, error);
      }
    }
    if (change.kind === 'clusternetworkpolicies') this.#followDemand();
  }

  #checkSync(): void {
    if (this.#inSync || !this.#all.every(({ reflector }) => reflector.presence !== 'unknown')) return;
    this.#inSync = true;
    const listeners = this.#syncListeners;
    this.#syncListeners = [];
    for (const listener of listeners) this.#call('pods', listener);
  }

  /** A listener's failure is its own: the watch goes on. */
  #call(kind: ObjectKind, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#failed(kind, error);
    }
  }

  #failed(kind: ObjectKind, error: unknown): void {
    this.#observer.onListenerFailed(kind);
    this.#log.warn({ kind, err: error }, 'a listener of the cluster watch failed');
  }
}

function asksForNodes({ egress }: ClusterPolicy): boolean {
  return egress.some(({ peers }) => peers !== 'any' && peers.some(({ kind }) => kind === 'nodes'));
}

/** The observer with every method present; a metric that throws must not end a watch. */
function guarded(observer: Partial<ReflectorObserver>, log: ClusterLog): ReflectorObserver {
  const guard =
    <A extends readonly unknown[]>(action: ((...args: A) => void) | undefined) =>
    (...args: A): void => {
      if (!action) return;
      try {
        action.apply(observer, args as unknown as A & unknown[]);
      } catch (error) {
        log.warn({ err: error }, 'an observer of the cluster watch failed');
      }
    };
  return {
    onEvent: guard(observer.onEvent),
    onRestart: guard(observer.onRestart),
    onListed: guard(observer.onListed),
    onHeard: guard(observer.onHeard),
    onMalformed: guard(observer.onMalformed),
    onMissedFoundByRelist: guard(observer.onMissedFoundByRelist),
    onListenerFailed: guard(observer.onListenerFailed),
  };
}
