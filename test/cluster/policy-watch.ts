/** A watch's policies in memory. */
import { readEvent } from '../../src/cluster/read-answer.ts';
import { type StoredPolicy, projectStoredPolicy } from '../../src/cluster/stored-policy.ts';
import { PolicyBudget, type PolicyLimits } from '../../src/cluster/policy-budget.ts';
import { ObjectStore, type StoreChange } from '../../src/cluster/store.ts';

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
