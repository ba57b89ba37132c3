import assert from 'node:assert/strict';
import { AddressHistory } from '../../src/cluster/address-history.ts';
import { projectPod } from '../../src/cluster/project.ts';
import { ObjectStore, type StoreChange } from '../../src/cluster/store.ts';
import { addressOwners, claimantsOf } from '../../src/policy/address-owners.ts';
import type { Pod } from '../../src/policy/model.ts';

const A = '10.244.1.5';
const B = '10.244.1.6';
const SIX = 'fd00::5';

interface Shown {
  readonly ips?: readonly string[];
  /** Seconds of the hour at which conditions changed. */
  readonly at?: readonly number[];
  readonly uid?: string;
  readonly terminating?: boolean;
  readonly phase?: string;
}

function apiPod(name: string, { ips = [A], at = [], uid = name, terminating = false, phase = 'Running' }: Shown = {}) {
  const conditions = at.map((second) => ({ type: `C${second}`, lastTransitionTime: time(second) }));
  const deletionTimestamp = terminating ? { deletionTimestamp: time(59) } : {};
  return {
    metadata: { namespace: 'x', name, uid, creationTimestamp: time(0), ...deletionTimestamp },
    spec: { nodeName: 'node-1' },
    status: { phase, podIPs: ips.map((ip) => ({ ip })), conditions },
  };
}

function time(second: number): string {
  return `2026-11-01T10:00:${String(second).padStart(2, '0')}Z`;
}

class Heard {
  readonly changes: StoreChange[] = [];
  readonly store = new ObjectStore<Pod>({
    project: projectPod,
    namespaced: true,
    uidOf: ({ uid }) => uid,
    onChange: (change) => this.changes.push(change),
    history: new AddressHistory(),
  });

  list(...pods: readonly object[]): this {
    this.store.beginList();
    for (const pod of pods) this.store.upsert(pod, 0);
    this.store.endList(0, true);
    return this;
  }

  event(pod: object): this {
    this.store.upsert(pod, 0);
    return this;
  }

  owners(address = A): string {
    return claimantsOf(addressOwners(this.store.records.values()).get(address))
      .map(({ name }) => name)
      .join(' and ');
  }
}

describe('fault: two pods show one address', () => {
  it('the one whose status was seen to show it last owns it, though it is older and its conditions are (S-73)', () => {
    const heard = new Heard().list(apiPod('ledger', { ips: [B], at: [1] }), apiPod('kiosk', { at: [20] }));
    assert.equal(heard.owners(), 'kiosk');
    assert.equal(heard.event(apiPod('ledger', { at: [1] })).owners(), 'ledger');
    // The other one's readiness is no news of its address.
    assert.equal(heard.event(apiPod('kiosk', { at: [50] })).owners(), 'ledger');
    // It shows it anew.
    assert.equal(
      heard
        .event(apiPod('kiosk', { ips: [] }))
        .event(apiPod('kiosk', { at: [50] }))
        .owners(),
      'kiosk',
    );
  });

  it('a list tells by the newest of the conditions, in any order (S-73)', () => {
    const pods = [apiPod('late', { at: [30, 2] }), apiPod('early', { at: [4, 29] })] as const;
    assert.equal(new Heard().list(...pods).owners(), 'late');
    assert.equal(new Heard().list(...pods.toReversed()).owners(), 'late');
  });

  it('where it cannot be told, it is both (S-73)', () => {
    const heard = new Heard().list(apiPod('a', { at: [7] }), apiPod('b', { at: [7] }));
    assert.equal(heard.owners(), 'a and b');
    assert.equal(new Heard().list(apiPod('a'), apiPod('b')).owners(), 'a and b');
    assert.equal(heard.event(apiPod('a', { at: [7], terminating: true })).owners(), 'b');
    heard.store.remove(apiPod('a'), 0);
    assert.equal(heard.owners(), 'b');
  });

  it('what a later list shows first is later than all that was known before, whatever its clock says (S-73)', () => {
    const heard = new Heard().list(apiPod('old', { at: [40] }), apiPod('other', { ips: [B], at: [50] }));
    heard.list(apiPod('old', { at: [55] }), apiPod('other', { at: [3] }));
    assert.equal(heard.owners(), 'other');
  });

  it('a list that broke off is no knowledge of what came first (S-73)', () => {
    const heard = new Heard();
    heard.store.beginList();
    heard.store.upsert(apiPod('late', { at: [30] }), 0);
    heard.store.dropList();
    assert.equal(heard.list(apiPod('early', { at: [10] }), apiPod('late', { at: [30] })).owners(), 'late');
  });

  it('an address that joins another does not make that one new (S-73)', () => {
    const heard = new Heard()
      .event(apiPod('a'))
      .event(apiPod('b'))
      .event(apiPod('a', { ips: [A, SIX] }));
    assert.deepEqual([heard.owners(), heard.owners(SIX)], ['b', 'a']);
    assert.equal(heard.event(apiPod('b', { ips: [A, SIX] })).owners(SIX), 'b');
  });

  it('a terminating pod yields to one that was there before; a finished one holds nothing (S-71, S-73)', () => {
    const heard = new Heard().event(apiPod('db')).event(apiPod('web'));
    assert.equal(heard.owners(), 'web');
    assert.equal(heard.event(apiPod('web', { terminating: true })).owners(), 'db');
    assert.equal(heard.event(apiPod('db', { phase: 'Succeeded' })).owners(), 'web');
  });

  it('a new pod of an old name shows its address from now on; a late DELETE of the old one takes nothing (S-73)', () => {
    const heard = new Heard()
      .event(apiPod('web'))
      .event(apiPod('db'))
      .event(apiPod('web', { uid: 'web-2' }));
    assert.equal(heard.owners(), 'web');
    heard.store.remove(apiPod('web'), 0);
    assert.equal(heard.owners(), 'web');
    heard.store.remove(apiPod('db'), 0);
    assert.equal(heard.owners(), 'web');
  });

  it('conditions alone change nothing', () => {
    const heard = new Heard().list(apiPod('a', { at: [1] }), apiPod('b', { ips: [], at: [1] }));
    const before = heard.changes.length;
    heard.event(apiPod('a', { at: [9] })).event(apiPod('b', { ips: [], at: [9] }));
    heard.list(apiPod('a', { at: [19] }), apiPod('b', { ips: [], at: [19] }));
    assert.equal(heard.changes.length, before);
  });

  it('what cannot be read as conditions is none', () => {
    for (const conditions of [null, 'x', [null, 7, { lastTransitionTime: 9 }, { lastTransitionTime: 'never' }]]) {
      const object = apiPod('a');
      const heard = new Heard().list({ ...object, status: { ...object.status, conditions } });
      assert.equal(heard.owners(), 'a');
      assert.deepEqual(heard.store.problems, []);
    }
  });
});
