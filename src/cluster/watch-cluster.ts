import type { ClusterSnapshot } from '../policy/model.ts';

export type ObjectKind = 'pods' | 'namespaces' | 'networkpolicies' | 'nodes';

/** One object that changed. `before` and `after` are the slim records (Pod, Namespace, Policy, NodeRecord). */
export interface ClusterChange {
  readonly kind: ObjectKind;
  /** `namespace/name` or `name`. */
  readonly key: string;
  readonly type: 'added' | 'changed' | 'deleted';
  /** performance.now() at which the line arrived. */
  readonly arrivedAtMs: number;
}

export interface KindStatus {
  readonly kind: ObjectKind;
  /** Listed at least once since start. */
  readonly listed: boolean;
  /** A watch is open and has spoken (event, bookmark) within its deadline. */
  readonly connected: boolean;
  readonly objects: number;
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
  /** Called once, when inSync becomes true. */
  onSync(listener: () => void): void;
  status(): readonly KindStatus[];
}
