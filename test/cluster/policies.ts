/** A watch's policies in memory, and hostile ones to put there. */
import { readEvent } from '../../src/cluster/read-answer.ts';
import { type StoredPolicy, projectStoredPolicy } from '../../src/cluster/stored-policy.ts';
import { PolicyBudget, type PolicyLimits } from '../../src/cluster/policy-budget.ts';
import { ObjectStore, type StoreChange } from '../../src/cluster/store.ts';

export interface PolicyOptions {
  readonly namespace?: string;
  /** Seconds after some moment. */
  readonly created?: number;
  readonly uid?: string;
  readonly spec?: Readonly<Record<string, unknown>>;
}

export function apiPolicy(name: string, options: PolicyOptions = {}): Record<string, unknown> {
  const { namespace = 'x', created = 0, uid = `uid-${name}`, spec = {} } = options;
  const creationTimestamp = new Date(1_790_000_000_000 + created * 1000).toISOString();
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name, uid, resourceVersion: '1', creationTimestamp },
    spec: { podSelector: { matchLabels: { app: name } }, policyTypes: ['Ingress'], ...spec },
  };
}

/** A section of rules of about that many bytes of JSON. */
export function rulesOf(bytes: number, seed = 0): readonly unknown[] {
  const block = (n: number): unknown => ({
    ipBlock: { cidr: `${11 + ((n + seed) % 90)}.${(n >> 8) % 256}.${n % 256}.${(n * 7 + seed) % 256}/32` },
  });
  const each = JSON.stringify(block(77)).length + 1;
  return [{ from: Array.from({ length: Math.max(1, Math.round(bytes / each)) }, (_, n) => block(n)) }];
}

export class PolicyWatch {
  readonly changes: StoreChange[] = [];
  readonly budget: PolicyBudget;
  readonly store: ObjectStore<StoredPolicy>;
  now = 0;

  constructor(limits?: PolicyLimits, onChange: (change: StoreChange) => void = (change) => this.changes.push(change)) {
    this.budget = new PolicyBudget(limits);
    this.store = new ObjectStore<StoredPolicy>({
      project: projectStoredPolicy,
      namespaced: true,
      uidOf: (policy) => policy.uid,
      onChange,
      budget: this.budget,
    });
  }

  /** As the line of an event. */
  put(object: unknown): void {
    this.hear(Buffer.from(JSON.stringify({ type: 'ADDED', object })));
  }

  hear(line: Buffer): void {
    this.store.upsert(readEvent(line)!.object, this.now);
  }

  remove(object: unknown): void {
    this.store.remove(object, this.now);
  }

  list(objects: readonly unknown[]): void {
    this.store.beginList();
    for (const object of objects) this.put(object);
    this.store.endList(this.now, true);
  }

  /** Key -> whether it is kept with its rules; sorted by key. */
  state(): readonly (readonly [string, boolean])[] {
    return [...this.store.records]
      .map(([key, policy]) => [key, policy.text !== undefined] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }
}
