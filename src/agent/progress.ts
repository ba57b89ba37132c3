/** Which changes of the cluster are in the kernel, and since when: all of them as durations, policies one by one. */
import type { ClusterChange } from '../cluster/watch-cluster.ts';
import type { ObjectKind } from '../core/vocabulary.ts';
import type { ClusterPolicy, Policy } from '../policy/model.ts';
import type { Lane } from './pace.ts';

/** How far one policy is. Moments are monotonic, but for `writtenAtMs`. */
export interface PolicyProgress {
  /** `metadata.generation` of the newest we heard of; 0 where it has none. */
  readonly generation: number;
  readonly arrivedAtMs: number;
  /** Wall clock: the API's own time stamp of that change, in whole seconds; absent where a list told. */
  readonly writtenAtMs?: number;
  /** A sync that knew this generation was carried out at this moment, as far as the kernel took it; absent: not yet. */
  readonly committedAtMs?: number;
}

/** A change that a sync brought into the kernel. */
export interface CommittedChange {
  readonly kind: ObjectKind;
  readonly arrivedAtMs: number;
  readonly writtenAtMs?: number;
}

/** What a sync takes in: the changes that were there when it began. */
export interface Mark {
  readonly order: number;
  readonly lane: Lane;
}

interface Queued extends CommittedChange, Mark {}

interface Written {
  readonly nowMs: number;
  /** False: the kernel was right already. When it became so is not known then. */
  readonly hasChanged: boolean;
  /** Namespaces whose rules are still those before. */
  readonly waiting: readonly string[];
}

/** Of more that wait at once, the rest are not measured: that many tell as much. */
const MAX_MEASURED = 10_000;

export class Progress {
  #order = 0;
  #queued: Queued[] = [];
  readonly #policies = new Map<string, PolicyProgress & Mark>();
  /** Keys of policies that are not committed. */
  readonly #open = new Set<string>();

  /** `lane`: of the sync it needs; undefined: the node has nothing to do about it. `isMeasured` is false for what the first list tells. */
  changed(change: ClusterChange, lane: Lane | undefined, isMeasured: boolean): void {
    this.#order++;
    if (change.kind === 'networkpolicies') this.#policyChanged(change.key, change, lane ?? 'members');
    if (change.kind === 'clusternetworkpolicies') this.#policyChanged(`/${change.key}`, change, lane ?? 'members');
    if (lane === undefined || !isMeasured || this.#queued.length >= MAX_MEASURED) return;
    const { kind, arrivedAtMs } = change;
    this.#queued.push({ kind, arrivedAtMs, ...writtenAt(change), order: this.#order, lane });
  }

  #policyChanged(key: string, change: ClusterChange, lane: Lane): void {
    const { arrivedAtMs } = change;
    const after = change.after as Policy | ClusterPolicy | undefined;
    this.#open.delete(key);
    if (!after) return void this.#policies.delete(key);
    this.#open.add(key);
    const generation = after.generation ?? 0;
    this.#policies.set(key, { generation, arrivedAtMs, ...writtenAt(change), order: this.#order, lane });
  }

  /** A sync begins. */
  begin(lane: Lane): Mark {
    return { order: this.#order, lane };
  }

  /** It was carried out. Result: what it brought in, if it is known when. */
  written(mark: Mark, { nowMs, hasChanged, waiting }: Written): readonly CommittedChange[] {
    for (const key of this.#open) {
      const policy = this.#policies.get(key)!;
      if (!covers(mark, policy) || waiting.includes(key.slice(0, key.indexOf('/')))) continue;
      this.#policies.set(key, { ...policy, committedAtMs: nowMs });
      this.#open.delete(key);
    }
    const committed = this.#queued.filter((queued) => covers(mark, queued));
    if (committed.length > 0) this.#queued = this.#queued.filter((queued) => !covers(mark, queued));
    return hasChanged ? committed : [];
  }

  /** Nothing of ours is in the kernel, and what is queued will not be. */
  removed(): void {
    this.#queued = [];
    for (const [key, { committedAtMs: _, ...policy }] of this.#policies) {
      this.#policies.set(key, policy);
      this.#open.add(key);
    }
  }

  /** By `namespace/name`; of cluster-wide policies `/name`. */
  get policies(): ReadonlyMap<string, PolicyProgress> {
    return this.#policies;
  }
}

function covers(mark: Mark, { order, lane }: Mark): boolean {
  return order <= mark.order && (mark.lane === 'rules' || lane === 'members');
}

function writtenAt({ writtenAtMs }: ClusterChange): Pick<CommittedChange, 'writtenAtMs'> {
  return writtenAtMs === undefined ? {} : { writtenAtMs };
}
