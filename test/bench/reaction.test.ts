/** What suite *event* writes to the API changes just what it probes; its table says what was promised. */
import assert from 'node:assert/strict';
import {
  change,
  type Probe,
  churnWrite,
  groupCount,
  KINDS,
  policyWrite,
  PROBES,
  reactionObjects,
  SERVER,
} from '../../bench/reaction/cluster.ts';
import type { Cell, Samples, Side } from '../../bench/reaction/measure.ts';
import { limitOf, reactionTables } from '../../bench/reaction/tables.ts';
import { type ManifestObject, snapshotFromObjects } from '../../src/cluster/read-manifests.ts';
import type { ApiWrite } from '../../bench/api-process.ts';
import type { RawObject } from '../../bench/cluster-model.ts';
import { PROTOCOL_NUMBER } from '../../src/core/vocabulary.ts';
import { evaluate } from '../../src/policy/evaluate.ts';

const SIZE = { localPods: 10, policies: 100 };

function samples(packets: number): Samples {
  return { allowed: [packets], denied: [packets], arrival: [1], command: [2], process: [], committed: [] };
}

function side(version: string, packets: number): Side {
  const all = Object.fromEntries(KINDS.map((kind) => [kind, samples(packets)])) as Record<
    (typeof KINDS)[number],
    Samples
  >;
  const none = { allowed: [], denied: [], arrival: [], command: [], process: [], committed: [] };
  const empty = Object.fromEntries(KINDS.map((kind) => [kind, none])) as unknown as typeof all;
  const cpu = { event: { agent: [2], watcher: [1] }, edit: { agent: [10], watcher: [1] } };
  return { version, samples: { idle: all, churn: empty }, cpu };
}

describe('bench/reaction', () => {
  it('a table row: times, bare, the ratio to it, and the ratio to the other version', () => {
    const cell: Cell = { backend: 'iptables-nft', size: SIZE, sides: [side('before', 12), side('this tree', 6)] };
    const [table, cpu] = reactionTables([cell]);
    assert.equal(table!.rows.length, 2 * KINDS.length);
    assert.deepEqual(table!.rows[1], [
      'policy edited, idle',
      'this tree',
      '6.00',
      '6.00',
      '-',
      '3.00',
      '2.00x',
      '<= 1.50x',
      '0.50x',
    ]);
    assert.deepEqual(cpu!.rows[0]!.slice(1), ['before', '2.00 s', '1.00 s', '1.00 s', '0.10 s', '1.00x', '1.00x']);
  });

  it('limits: idle by kind and size, under load the same for all', () => {
    assert.deepEqual(
      [10, 250].map((pods) => KINDS.map((kind) => limitOf('iptables-nft', kind, 'idle', pods))),
      [
        [1.5, 1.5, 1.5, 2],
        [2, 2, 1.5, 2],
      ],
    );
    assert.deepEqual(new Set(KINDS.map((kind) => limitOf('iptables-legacy', kind, 'churn', 250))), new Set([4]));
    assert.deepEqual(new Set(KINDS.map((kind) => limitOf('nftables', kind, 'idle', 250))), new Set([1.5]));
    assert.deepEqual(new Set(KINDS.map((kind) => limitOf('nftables', kind, 'churn', 10))), new Set([3]));
  });

  it('pods of the churn come, change a label and go; the same number is the same event', () => {
    assert.deepEqual(
      [0, 1, 2, 3].map((n) => churnWrite(n).type),
      ['put', 'put', 'remove', 'put'],
    );
    assert.equal(churnWrite(0).object.metadata.name, churnWrite(2).object.metadata.name);
    assert.notDeepEqual(churnWrite(0).object, churnWrite(1).object);
    assert.deepEqual(churnWrite(4), churnWrite(4));
    assert.notDeepEqual(policyWrite(0, SIZE).object, policyWrite(groupCount(SIZE), SIZE).object);
  });

  it('each kind lets its own probe through and stops it, and no other kind of change does', () => {
    const objects = new Map(
      Object.values(reactionObjects(SIZE))
        .flat()
        .map((object) => [keyOf(object as RawObject), object as RawObject]),
    );
    const open = (): readonly string[] => KINDS.filter((kind) => isAllowed([...objects.values()], PROBES[kind]));
    const apply = ({ type, object }: ApiWrite): void => {
      if (type === 'put') objects.set(keyOf(object), object);
      else objects.delete(keyOf(object));
    };
    assert.deepEqual(open(), []);
    for (const kind of KINDS) {
      apply(change(kind, true));
      assert.deepEqual(open(), [kind]);
      apply(change(kind, false));
      assert.deepEqual(open(), []);
    }
    for (let n = 0; n < 20; n++) {
      apply(churnWrite(n));
      apply(policyWrite(n, SIZE));
      assert.deepEqual(open(), [], `event ${n}`);
    }
  });
});

function keyOf({ kind, metadata: { namespace, name } }: RawObject): string {
  return JSON.stringify([kind, namespace, name]);
}

function isAllowed(objects: readonly RawObject[], { source, port }: Probe): boolean {
  const files = objects.map((object): ManifestObject => ({ object, file: '', line: 1 }));
  const snapshot = snapshotFromObjects(files, { defaultNamespace: 'default' });
  return evaluate(snapshot, { source, destination: SERVER, protocol: PROTOCOL_NUMBER.UDP, port }).allowed;
}
