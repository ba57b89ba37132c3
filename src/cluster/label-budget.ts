/**
 * Whose labels are kept of the pods that have many, so that no namespace's users can fill the memory of every agent: of each namespace
 * the oldest pods' up to its limit, which is halved where all namespaces together are over theirs. Pods up to `FREE_LABEL_BYTES` are not
 * looked at. As for policies (policy-budget.ts), the answer depends on the objects alone.
 */
import type { Pod, Problem } from '../policy/model.ts';

import { UNKNOWN_LABELS } from '../policy/model.ts';
import { placeByAge } from './by-age.ts';
import { fairShare } from '../core/fair-share.ts';
import { bytesText, LABEL_LIMITS } from './limits.ts';
import type { Budget } from './store.ts';

/** Of one namespace: the first ones tell the story. */
const MAX_NAMED = 10;
const MAX_NAMESPACES = 50;
const MIN_LIST_GAP_MS = 60_000;

/** Pods with many labels. */
interface Tenant {
  /** Oldest first. */
  readonly order: Pod[];
  /** Of all their labels, kept or not. */
  bytes: number;
  unknown: number;
  /** Labels of some would fit again. */
  missing: boolean;
}

type Changes = Map<string, Pod | undefined>;

export class LabelBudget implements Budget<Pod> {
  readonly #limits: Readonly<Record<keyof typeof LABEL_LIMITS, number>>;
  readonly #tenants = new Map<string, Tenant>();
  readonly #troubled = new Set<string>();
  #share: number;
  #problems: readonly Problem[] = [];
  #listedAtMs = Number.NEGATIVE_INFINITY;

  constructor(limits: Readonly<Record<keyof typeof LABEL_LIMITS, number>> = LABEL_LIMITS) {
    this.#limits = limits;
    this.#share = limits.ofNamespace;
  }

  isOwn(): boolean {
    return false;
  }

  beginList(): void {
    // Nothing is to be counted anew: all pods are kept.
  }

  endList(nowMs: number): Changes {
    this.#listedAtMs = nowMs;
    return new Map();
  }

  settle(key: string, before: Pod | undefined, after: Pod | undefined): Changes | undefined {
    // What nearly every pod's event costs.
    if (before?.labelBytes === undefined && after?.labelBytes === undefined) return undefined;
    const { namespace } = (after ?? before)!;
    const changes: Changes = new Map([[key, after]]);
    const tenant = this.#tenants.get(namespace) ?? { order: [], bytes: 0, unknown: 0, missing: false };
    this.#tenants.set(namespace, tenant);
    if (before?.labelBytes !== undefined) {
      tenant.order.splice(placeByAge(tenant.order, before), 1);
      tenant.bytes -= before.labelBytes;
    }
    if (after?.labelBytes !== undefined) {
      tenant.order.splice(placeByAge(tenant.order, after), 0, after);
      tenant.bytes += after.labelBytes;
    }
    const share = this.#share;
    const demands = [...this.#tenants.values()].map(({ bytes }) => bytes);
    this.#share = fairShare(demands, this.#limits.ofNamespace, this.#limits.inAll);
    for (const each of share === this.#share ? [namespace] : [...this.#tenants.keys()]) this.#fit(each, changes);
    this.#refreshProblems();
    return changes;
  }

  wantsList(nowMs: number): boolean {
    if (this.#troubled.size === 0 || nowMs - this.#listedAtMs < MIN_LIST_GAP_MS) return false;
    return [...this.#troubled].some((namespace) => this.#tenants.get(namespace)!.missing);
  }

  get problems(): readonly Problem[] {
    return this.#problems;
  }

  #fit(namespace: string, changes: Changes): void {
    const tenant = this.#tenants.get(namespace)!;
    if (tenant.unknown > 0 || tenant.bytes > this.#share) this.#forget(tenant, changes);
    if (tenant.unknown > 0) this.#troubled.add(namespace);
    else this.#troubled.delete(namespace);
    if (tenant.order.length === 0) this.#tenants.delete(namespace);
  }

  /** The oldest keep theirs. */
  #forget(tenant: Tenant, changes: Changes): void {
    let used = 0;
    tenant.unknown = 0;
    tenant.missing = false;
    const { order } = tenant;
    for (let place = 0; place < order.length; place++) {
      const pod = order[place]!;
      const fits = used + pod.labelBytes! <= this.#share;
      if (fits) used += pod.labelBytes!;
      if (fits && !isUnknown(pod)) continue;
      tenant.unknown++;
      if (fits) tenant.missing = true;
      else if (!isUnknown(pod)) {
        order[place] = { ...pod, labels: UNKNOWN_LABELS };
        changes.set(`${pod.namespace}/${pod.name}`, order[place]);
      }
    }
  }

  /** The same array until a problem comes or goes. */
  #refreshProblems(): void {
    if (this.#troubled.size === 0 && this.#problems.length === 0) return;
    const namespaces = [...this.#troubled].sort().slice(0, MAX_NAMESPACES);
    const all = namespaces.flatMap((namespace) => {
      const unknown = this.#tenants.get(namespace)!.order.filter(isUnknown);
      const more = {
        object: { kind: 'Namespace', name: namespace },
        field: '',
        message: 'has more pods whose labels are not kept',
      };
      return [
        ...unknown.slice(0, MAX_NAMED).map((pod) => this.#problemOf(pod)),
        ...(unknown.length > MAX_NAMED ? [more] : []),
      ];
    });
    if (JSON.stringify(all) !== JSON.stringify(this.#problems)) this.#problems = all;
  }

  #problemOf({ namespace, name, labelBytes }: Pod): Problem {
    const message =
      `are ${bytesText(labelBytes!)}, which do not fit into the ${bytesText(this.#share)} kept of one namespace's pods with many labels, ` +
      'the oldest first: selectors by label do not find it as a peer, and policies that may select it isolate it and allow nothing; use fewer labels';
    return { object: { kind: 'Pod', namespace, name }, field: 'metadata.labels', message };
  }
}

function isUnknown({ labels }: Pod): boolean {
  return labels === UNKNOWN_LABELS;
}
