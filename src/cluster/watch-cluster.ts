/** Door of this folder: the Kubernetes API -> ClusterSnapshot, kept up to date. */
import type { ClusterSnapshot, Namespace, NodeRecord, Pod, Problem } from '../policy/model.ts';
import { isEligible, mayGetAddress } from '../policy/address-owners.ts';
import { AddressHistory } from './address-history.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { RESOURCES } from './kinds.ts';
import { type ClusterLog, type ReflectorObserver, SILENT_LOG } from './observe.ts';
import { type ObjectRecord, type Project, projectNamespace, projectNode, projectPod } from './project.ts';
import { type KeptPolicy, projectKeptPolicy } from './kept-policy.ts';
import { LabelBudget } from './label-budget.ts';
import { NamespaceEndings } from './namespace-endings.ts';
import { PolicyBudget } from './policy-budget.ts';
import { type EmptyList, Reflector } from './reflector.ts';
import { ObjectStore, type StoreChange, type StoreOptions } from './store.ts';
import type { Transport } from './transport.ts';

import type { ObjectKind } from '../core/vocabulary.ts';
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
}

export interface KindStatus {
  readonly kind: ObjectKind;
  /** Listed at least once since start. */
  readonly listed: boolean;
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
  /** Last failure in words, cleared by the next success. */
  readonly problem?: string;
}

/** The door of this folder: the cluster as the agent sees it. */
export interface ClusterWatch {
  /** Starts watching; returns at once. Stops for good when `signal` aborts. Calling it twice is an error. */
  start(signal: AbortSignal): void;
  /** True once every kind was listed at least once; never false again (an outage keeps the last known state). */
  readonly inSync: boolean;
  /** Read-only views of the live stores: consistent until the caller next yields to the event loop. O(1). */
  snapshot(): ClusterSnapshot;
  /** `listener` is called synchronously for each effective change (after projection; no-op updates are dropped). */
  onChange(listener: (change: ClusterChange) => void): void;
  /** Called once, when inSync becomes true; at once if it already is. */
  onSync(listener: () => void): void;
  status(): readonly KindStatus[];
}

export interface ClusterWatchOptions {
  readonly connection: Transport;
  /** The only node that is watched. */
  readonly nodeName: string;
  readonly clock?: Clock;
  /** In [0, 1); default Math.random. */
  readonly random?: () => number;
  readonly observer?: Partial<ReflectorObserver>;
  readonly log?: ClusterLog;
}

/** Watches pods, namespaces, network policies and the own node of one cluster. Nothing is opened before `start`. */
export function createClusterWatch(options: ClusterWatchOptions): ClusterWatch {
  return new ApiClusterWatch(options);
}

interface Watched<T extends ObjectRecord> {
  readonly kind: ObjectKind;
  readonly store: ObjectStore<T>;
  readonly reflector: Reflector;
}

/** What all kinds have in common. */
interface AnyWatched {
  readonly kind: ObjectKind;
  readonly store: { readonly records: ReadonlyMap<string, ObjectRecord>; readonly problems: readonly Problem[] };
  readonly reflector: Reflector;
}

class ApiClusterWatch implements ClusterWatch {
  readonly #options: ClusterWatchOptions;
  readonly #observer: ReflectorObserver;
  readonly #log: ClusterLog;
  readonly #changeListeners: ((change: ClusterChange) => void)[] = [];
  #syncListeners: (() => void)[] = [];
  readonly #pods: Watched<Pod>;
  readonly #namespaces: Watched<Namespace>;
  readonly #policies: Watched<KeptPolicy>;
  readonly #nodes: Watched<NodeRecord>;
  readonly #all: readonly AnyWatched[];
  readonly #endings = new NamespaceEndings({
    namespaces: () => this.#namespaces.store.records,
    pods: () => this.#pods.store.records,
    policies: () => this.#policies.store,
    isListed: () => this.#namespaces.reflector.listed,
  });
  #started = false;
  #inSync = false;
  #hadNode = false;
  #problems: { readonly parts: readonly (readonly Problem[])[]; readonly all: readonly Problem[] } = {
    parts: [],
    all: [],
  };

  constructor(options: ClusterWatchOptions) {
    this.#options = options;
    this.#log = options.log ?? SILENT_LOG;
    this.#observer = guarded(options.observer ?? {}, this.#log);
    this.#pods = this.#watched('pods', projectPod, (pod) => pod.uid, {
      // A pod of this node that has no address yet may be told one by the CNI, before the API shows it.
      matters: (pod) => isEligible(pod) || (pod.nodeName === options.nodeName && mayGetAddress(pod)),
      shelf: new LabelBudget(),
      history: new AddressHistory(),
    });
    this.#namespaces = this.#watched('namespaces', projectNamespace, (namespace) => namespace.uid);
    this.#policies = this.#watched('networkpolicies', projectKeptPolicy, (policy) => policy.uid, {
      shelf: new PolicyBudget(),
      afterlife: this.#endings,
    });
    // The slim node has no uid: a new node of the same name is a change of the same one.
    this.#nodes = this.#watched('nodes', projectNode, () => '', { onlyName: options.nodeName });
    this.#all = [this.#pods, this.#namespaces, this.#policies, this.#nodes];
  }

  get inSync(): boolean {
    return this.#inSync;
  }

  start(signal: AbortSignal): void {
    if (this.#started) throw new Error('cluster watch: started twice');
    this.#started = true;
    for (const { kind, reflector } of this.#all)
      reflector.run(signal).catch((error: unknown) => {
        // Only a bug gets here. Dying loudly beats a watch that is silently dead: the rules stay in the kernel.
        queueMicrotask(() => {
          throw new Error(`cluster watch: ${kind}: reflector ended: ${String(error)}`, { cause: error });
        });
      });
  }

  snapshot(): ClusterSnapshot {
    return {
      pods: this.#pods.store.records,
      namespaces: this.#namespaces.store.records,
      policies: this.#policies.store.records,
      nodes: this.#nodes.store.records,
      problems: this.#allProblems(),
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
      listed: reflector.listed,
      connected: reflector.connected,
      objects: store.records.size,
      staleMs: reflector.staleMs,
      doubtsEmpty: reflector.doubtsEmpty,
      lastHeardMs: reflector.lastHeardMs,
      restarts: reflector.restarts,
      ...(reflector.problem === undefined ? {} : { problem: reflector.problem }),
    }));
  }

  #watched<T extends ObjectRecord>(
    kind: ObjectKind,
    project: Project<T>,
    uidOf: (record: T) => string,
    {
      onlyName,
      ...also
    }: { readonly onlyName?: string } & Pick<StoreOptions<T>, 'matters' | 'shelf' | 'afterlife' | 'history'> = {},
  ): Watched<T> {
    const resource = RESOURCES[kind];
    const onChange = (change: StoreChange): void => this.#changed({ kind, ...change });
    const only = onlyName === undefined ? {} : { onlyKey: onlyName };
    const store = new ObjectStore<T>({ project, namespaced: resource.namespaced, uidOf, onChange, ...only, ...also });
    const reflector = new Reflector({
      resource,
      ...(onlyName === undefined ? {} : { fieldSelector: `metadata.name=${onlyName}` }),
      ...(resource.savings === undefined ? {} : { savings: resource.savings }),
      transport: this.#options.connection,
      sink: store,
      clock: this.#options.clock ?? systemClock,
      random: this.#options.random ?? Math.random,
      observer: this.#observer,
      log: this.#log,
      objects: () => store.records.size,
      ...(kind === 'nodes' ? {} : { judgeEmpty: (known) => this.#judgeEmpty(kind, known) }),
      onListed: () => this.#checkSync(),
      onWentBack: () => {
        // One store holds them all: each asks for its own version, and lists when that is gone as well.
        for (const other of this.#all) if (other.reflector !== reflector) other.reflector.doubt();
      },
      onUnreachable: () => {
        // One connection's failure is everybody's: a node knocks once a second, not once a second for each kind.
        for (const other of this.#all) if (other.reflector !== reflector) other.reflector.waitAnew();
      },
      onReached: () => {
        for (const other of this.#all) other.reflector.retryNow();
      },
    });
    return { kind, store, reflector };
  }

  /**
   * A cluster without namespaces does not exist, and one that has lost our node is not ours or has lost everything: what it does not
   * list is not taken for deleted.
   */
  #judgeEmpty(kind: ObjectKind, known: number): EmptyList {
    const hasLostNode = this.#hadNode && this.#nodes.store.records.size === 0;
    if (kind === 'namespaces' || this.#namespaces.reflector.doubtsEmpty || hasLostNode) return 'not-believed';
    return kind === 'pods' && known === 1 ? 'fact' : 'ask-again';
  }

  #changed(change: ClusterChange): void {
    // First of all, so that listeners hear of a policy that comes back together with its cause.
    if (change.kind === 'namespaces') this.#endings.namespaceChanged(change);
    if (change.kind === 'pods') this.#endings.podChanged(change);
    if (change.kind === 'nodes') this.#hadNode = true;
    for (const listener of this.#changeListeners) this.#call(change.kind, () => listener(change));
  }

  #checkSync(): void {
    if (this.#inSync || !this.#all.every(({ reflector }) => reflector.listed)) return;
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
      this.#observer.onListenerFailed(kind);
      this.#log.warn({ kind, err: error }, 'a listener of the cluster watch failed');
    }
  }

  #allProblems(): readonly Problem[] {
    const parts = this.#all.map(({ store }) => store.problems);
    if (parts.some((part, index) => part !== this.#problems.parts[index]))
      this.#problems = { parts, all: parts.flat() };
    return this.#problems.all;
  }
}

/** The observer with every method present; a metric that throws must not end a watch. */
function guarded(observer: Partial<ReflectorObserver>, log: ClusterLog): ReflectorObserver {
  const guard =
    <A extends readonly unknown[]>(action: ((...args: A) => void) | undefined) =>
    (...args: A): void => {
      try {
        action?.apply(observer, args as unknown as A & unknown[]);
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
