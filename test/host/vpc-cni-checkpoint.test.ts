import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterFollower } from '../../src/agent/follow-cluster.ts';
import { CheckpointWatch } from '../../src/host/checkpoint-watch.ts';
import { after, systemClock } from '../../src/core/clock.ts';
import { readCheckpoint } from '../../src/host/vpc-cni-checkpoint.ts';
import { checkpointRead, createCheckpointLog } from '../../src/telemetry/interface-conditions.ts';
import type { ClusterSnapshot, Pod } from '../../src/policy/model.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { pod, policy, snapshot } from '../support/builders.ts';

const SECOND = 1_700_000_000_000;

function entry(name: string, ipv4: string, atMs = SECOND, fields: object = {}): object {
  return {
    networkName: 'aws-cni',
    containerID: `id-of-${name}`,
    ifName: 'eth0',
    ipv4,
    allocationTimestamp: atMs * 1e6,
    metadata: { k8sPodNamespace: 'x', k8sPodName: name },
    ...fields,
  };
}

function file(...allocations: readonly object[]): string {
  return JSON.stringify({ version: 'vpc-cni-ipam/1', allocations });
}

describe("kernel: the VPC CNI's checkpoint", () => {
  it('tells the newest address of each pod', () => {
    const found = readCheckpoint(
      file(
        entry('a', '10.0.0.1'),
        entry('a', '10.0.0.9', SECOND - 1),
        entry('b', '', SECOND, { ipv6: '2001:DB8:0::7' }),
      ),
    );
    assert.deepEqual(Object.fromEntries([...found].map(([key, { addresses }]) => [key, addresses])), {
      'x/a': ['10.0.0.1'],
      'x/b': ['2001:db8::7'],
    });
  });

  it('refuses what is none, and leaves out entries it cannot read', () => {
    for (const text of ['', 'null', '[]', '{"version":"vpc-cni-ipam/2","allocations":[]}']) {
      assert.throws(() => readCheckpoint(text), text);
    }
    const odd = [
      null,
      7,
      {},
      entry('a', 'nonsense'),
      entry('b', '10.0.0.2', SECOND, { metadata: {} }),
      entry('c', '10.0.0.3'),
    ];
    assert.deepEqual([...readCheckpoint(file(...(odd as object[]))).keys()], ['x/c']);
  });

  it('a pod is isolated by it before its status shows an address; its status wins, and one before its time is not its own', async () => {
    const late = (name: string, fields: Partial<Pod> = {}): Pod =>
      pod(`x/${name}`, { phase: 'Pending', createdAtMs: SECOND, labels: { app: 'a' }, ...fields });
    const pods = [
      late('early'),
      late('stale', { createdAtMs: SECOND + 5_000 }),
      late('shown', { addresses: ['10.0.0.30'] }),
      late('host', { hostNetwork: true }),
      late('far', { nodeName: 'node-2' }),
      // S-73: it was shown before the address was given to the other one.
      pod('x/last-owner', { addresses: ['10.0.0.1'], addressesSince: SECOND - 1000 }),
    ];
    const policies = [policy('x/p', { podSelector: {}, policyTypes: ['Ingress'] })];
    const cluster: ClusterSnapshot = snapshot({ pods, policies });
    const allocations = readCheckpoint(file(...pods.map(({ name }, index) => entry(name, `10.0.0.${index + 1}`))));
    const early = { current: () => allocations, onChange: () => {} };
    const clock = { now: () => 0, after: (_: number, callback: () => void) => after(0, callback) };
    const follower = new ClusterFollower({ snapshot: () => cluster }, 'node-1', clock, () => {}, early);
    for (const [key, record] of cluster.pods)
      follower.change({ kind: 'pods', key, type: 'added', after: record, arrivedAtMs: 0 });
    for (const [key, record] of cluster.policies)
      follower.change({ kind: 'networkpolicies', key, type: 'added', after: record, arrivedAtMs: 0 });
    const addresses = new Map((await follower.intent('rules')).localAddresses);
    const expected = new Map([
      ['10.0.0.1', 'x/early'],
      ['10.0.0.30', 'x/shown'],
    ]);
    assert.deepEqual(addresses, expected);
  });

  it('is read anew when it is replaced, and tells whose address changed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'checkpoint-'));
    const path = join(folder, 'ipam.json');
    const lines: string[] = [];
    const log = {
      info: (text: string) => lines.push(text),
      warn: (text: string) => lines.push(text),
    } as unknown as Logger;
    const watch = new CheckpointWatch({ file: path, onRead: createCheckpointLog(log), clock: systemClock });
    const condition = () => checkpointRead(watch.state());
    const told: string[] = [];
    watch.onChange((pods) => told.push(...pods));
    const put = async (text: string): Promise<void> => {
      await writeFile(`${path}.new`, text);
      await rename(`${path}.new`, path);
    };
    const until = async (condition: () => boolean): Promise<void> => {
      for (let waits = 0; !condition(); waits++) {
        assert.ok(waits < 500, `${told.join()} ${lines.join('\n')}`);
        await sleep(20);
      }
    };
    try {
      await until(() => lines.some((line) => line.includes('ENOENT')));
      await put(file(entry('a', '10.0.0.1')));
      await until(() => told.includes('x/a'));
      await put(file(entry('a', '10.0.0.1'), entry('b', '10.0.0.2')));
      await until(() => told.includes('x/b'));
      assert.equal(watch.current().get('x/b')?.addresses[0], '10.0.0.2');
      await put('{"version":');
      await until(() => condition().reason.includes('known late'));
      assert.equal(watch.current().size, 2, 'what was read last holds');
      assert.ok(condition().ok);
    } finally {
      watch.stop();
      await rm(folder, { recursive: true });
    }
  });
});
