/** S-78: what a namespace's deletion means for its policies, whatever order its streams are heard in. */
import assert from 'node:assert/strict';
import type { StoredPolicy } from '../../src/cluster/stored-policy.ts';
import { projectStoredPolicy } from '../../src/cluster/stored-policy.ts';
import { NamespaceTermination } from '../../src/cluster/namespace-termination.ts';
import { projectNamespace, projectPod } from '../../src/cluster/project.ts';
import { PolicyBudget } from '../../src/cluster/policy-budget.ts';
import { ObjectStore } from '../../src/cluster/store.ts';
import type { Namespace, Pod } from '../../src/policy/model.ts';
import { apiPod, apiPolicy, rulesOf } from '../support/api-objects.ts';

type Version = number | 'unknown' | undefined;

function at(object: object, version: Version): object {
  const { metadata, ...rest } = object as { metadata: object };
  return { ...rest, metadata: { ...metadata, ...(version === undefined ? {} : { resourceVersion: `${version}` }) } };
}

const namespace = (name: string, version: Version, terminating = false, uid = 'n1'): object => ({
  metadata: {
    name,
    uid,
    ...(version === undefined ? {} : { resourceVersion: `${version}` }),
    ...(terminating ? { deletionTimestamp: '2026-11-28T00:00:00Z' } : {}),
  },
});

/** The three stores of a watch, as it wires them. */
class Watch {
  readonly termination: NamespaceTermination;
  readonly namespaces: ObjectStore<Namespace>;
  readonly pods: ObjectStore<Pod>;
  readonly policies: ObjectStore<StoredPolicy>;
  now = 0;
  listed = true;

  constructor() {
    this.termination = new NamespaceTermination({
      namespaces: () => this.namespaces.records,
      pods: () => this.pods.records,
      policies: () => this.policies,
      isListed: () => this.listed,
    });
    this.namespaces = new ObjectStore<Namespace>({
      project: projectNamespace,
      namespaced: false,
      uidOf: ({ uid }) => uid,
      onChange: (change) => this.termination.namespaceChanged(change),
    });
    this.pods = new ObjectStore<Pod>({
      project: projectPod,
      namespaced: true,
      uidOf: ({ uid }) => uid,
      onChange: (change) => this.termination.podChanged(change),
    });
    this.policies = new ObjectStore<StoredPolicy>({
      project: projectStoredPolicy,
      namespaced: true,
      uidOf: ({ uid }) => uid,
      onChange: () => {},
      budget: new PolicyBudget(),
      retention: this.termination,
    });
    this.namespaces.upsert(namespace('x', 1), 0);
    this.policies.upsert(at(apiPolicy('p', { spec: { ingress: rulesOf(100) } }), 2), 0);
    this.pods.upsert(at(apiPod('a'), 3), 0);
  }

  get inForce(): boolean {
    return this.policies.records.has('x/p');
  }

  terminates(version: Version): void {
    this.namespaces.upsert(namespace('x', version, true), this.now);
  }

  namespaceGoes(version: Version): void {
    this.namespaces.remove(namespace('x', version, true), this.now);
  }

  policyGoes(version: Version): void {
    this.policies.remove(at(apiPolicy('p'), version), this.now);
  }

  podGoes(): void {
    this.pods.remove(apiPod('a'), this.now);
  }
}

/** All ways to merge sequences that keep the order within each. */
function merges<T>(...sequences: readonly (readonly T[])[]): readonly (readonly T[])[] {
  const open = sequences.filter(({ length }) => length > 0);
  if (open.length === 0) return [[]];
  return open.flatMap((sequence) =>
    merges(...open.map((each) => (each === sequence ? each.slice(1) : each))).map((rest) => [sequence[0]!, ...rest]),
  );
}

describe('a namespace that is deleted', () => {
  it('fault: its policies stay in force for its living pods, in whatever order the three streams are heard', () => {
    const streams = [['terminating', 'gone'], ['policy'], ['pod']] as const;
    const orders = merges<(typeof streams)[number][number]>(...streams);
    assert.equal(orders.length, 12);
    for (const versions of [true, false])
      for (const order of orders) {
        const watch = new Watch();
        const heard = new Set<string>();
        for (const event of order) {
          watch.now += 1000;
          heard.add(event);
          if (event === 'terminating') watch.terminates(versions ? 10 : undefined);
          else if (event === 'policy') watch.policyGoes(versions ? 11 : undefined);
          else if (event === 'pod') watch.podGoes();
          else watch.namespaceGoes(versions ? 20 : undefined);
          // That the namespace ends is known, or the policy is still there.
          const isKnown = heard.has('terminating') || !heard.has('policy');
          if (isKnown && !heard.has('pod')) assert.ok(watch.inForce, `${order.join(', ')}: after ${event}`);
        }
        assert.equal(watch.inForce, false, `${order.join(', ')}: at the end`);
      }
  });

  it('fault: a policy that was deleted before goes, even where it is heard of later', () => {
    const late = new Watch();
    late.terminates(10);
    late.policyGoes(9);
    assert.equal(late.inForce, false);
    const early = new Watch();
    early.policyGoes(9);
    early.terminates(10);
    assert.equal(early.inForce, false);
    // Versions that are no numbers have no order; then time must do.
    const unknown = new Watch();
    unknown.policyGoes('unknown');
    unknown.now = 61_000;
    unknown.terminates('unknown');
    assert.equal(unknown.inForce, false);
  });

  it('a policy that is deleted in a namespace that stays ends as usual', () => {
    const watch = new Watch();
    watch.policyGoes(10);
    assert.equal(watch.inForce, false);
    watch.namespaces.upsert({ ...namespace('x', 11), status: { phase: 'Active' } }, 1);
    watch.pods.upsert(apiPod('b'), 2);
    assert.equal(watch.inForce, false);
  });

  it('the phase says it as well as the deletion time', () => {
    const watch = new Watch();
    watch.namespaces.upsert({ ...namespace('x', 10), status: { phase: 'Terminating' } }, 1);
    watch.policyGoes(11);
    assert.ok(watch.inForce);
  });

  it('fault: lists after an outage tell the same, in any order', () => {
    const lists = {
      namespaces: (watch: Watch): void => {
        watch.namespaces.beginList();
        watch.namespaces.upsert(namespace('x', 15, true), 1);
        watch.namespaces.endList(1, true);
      },
      policies: (watch: Watch): void => {
        watch.policies.beginList();
        watch.policies.endList(1, true);
      },
      pods: (watch: Watch): void => {
        watch.pods.beginList();
        watch.pods.upsert(apiPod('a'), 1);
        watch.pods.endList(1, true);
      },
    };
    for (const order of merges([lists.namespaces], [lists.policies], [lists.pods])) {
      const watch = new Watch();
      for (const list of order) list(watch);
      assert.ok(watch.inForce, order.map(({ name }) => name).join(', '));
      lists.policies(watch);
      assert.ok(watch.inForce, 'after another list');
      watch.namespaceGoes(30);
      watch.podGoes();
      assert.equal(watch.inForce, false);
    }
  });

  it('fault: a namespace whose end was missed keeps its policies until its pods are gone', () => {
    const watch = new Watch();
    for (const store of [watch.policies, watch.namespaces]) {
      store.beginList();
      store.endList(1, true);
    }
    assert.ok(watch.inForce);
    watch.pods.upsert({ ...apiPod('a'), status: { phase: 'Succeeded' } }, 2);
    assert.equal(watch.inForce, false, 'finished pods are not alive');
  });

  it('a new namespace of the same name begins without the policies of the one before', () => {
    const watch = new Watch();
    watch.terminates(10);
    watch.policyGoes(11);
    watch.namespaces.upsert(namespace('x', 20, false, 'n2'), 1);
    assert.equal(watch.inForce, false);
    // A policy of the new one that is heard of before its namespace is itself, not the one before.
    const other = new Watch();
    other.terminates(10);
    other.policyGoes(11);
    other.policies.upsert(at(apiPolicy('p', { uid: 'new' }), 21), 1);
    other.namespaceGoes(19);
    other.namespaces.upsert(namespace('x', 20, false, 'n2'), 1);
    assert.equal(other.policies.records.get('x/p')?.uid, 'new');
    other.policies.remove(at(apiPolicy('p', { uid: 'new' }), 22), 2);
    assert.equal(other.inForce, false);
  });

  it('before namespaces were listed nothing is concluded from one that is not known', () => {
    const watch = new Watch();
    watch.namespaces.remove(namespace('x', 5), 0);
    watch.policies.upsert(apiPolicy('q'), 0);
    watch.listed = false;
    watch.policies.remove(apiPolicy('q'), 0);
    assert.equal(watch.policies.records.has('x/q'), false);
  });

  it('what is remembered of deleted policies is bounded', () => {
    const watch = new Watch();
    for (let n = 0; n < 12; n++) {
      const policy = apiPolicy(`big${n}`, { spec: { ingress: rulesOf(900_000, n) } });
      watch.policies.upsert(policy, 0);
      watch.policies.remove(at(policy, 4), 0);
    }
    watch.terminates(undefined);
    const kept = [...watch.policies.records.keys()].filter((key) => key.startsWith('x/big'));
    assert.deepEqual(kept, ['x/big8', 'x/big9', 'x/big10', 'x/big11']);
  });
});
