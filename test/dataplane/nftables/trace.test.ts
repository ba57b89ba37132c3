/** Flows traced through our table as it was read back: tampered with, and without anybody who knows what was written. */
import assert from 'node:assert/strict';
import type { TracedVerdict } from '../../../src/dataplane/dataplane.ts';
import { createNftablesDataplane } from '../../../src/dataplane/nftables/nftables-dataplane.ts';
import { EpochKeeper } from '../../../src/dataplane/nftables/sync/epoch-keeper.ts';
import type { NftSet } from '../../../src/dataplane/nftables/table/table.ts';
import { traceFlows } from '../../../src/dataplane/nftables/trace/trace-flows.ts';
import { NO_INTERFACES } from '../../../src/host/pod-interfaces.ts';
import { namespace, pod, policy, snapshot } from '../../support/builders.ts';
import { LAYOUT } from '../../support/fake-cluster.ts';
import { createFakeNft } from '../../support/nft-fake.ts';
import { compileNode } from '../../support/stages.ts';

const CLUSTER = snapshot({
  namespaces: [namespace('x')],
  pods: [
    pod('x/server', { nodeName: 'node-1', addresses: ['10.0.1.1'], labels: { app: 'server' } }),
    pod('x/friend', { nodeName: 'node-1', addresses: ['10.0.1.2'], labels: { app: 'friend' } }),
    pod('x/stranger', { nodeName: 'node-1', addresses: ['10.0.1.3'] }),
  ],
  policies: [
    policy('x/deny', { podSelector: { matchLabels: { app: 'server' } }, ingress: [] }),
    policy('x/web', {
      podSelector: { matchLabels: { app: 'server' } },
      ingress: [
        { from: [{ podSelector: { matchLabels: { app: 'friend' } } }] },
        { from: [{ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.7/32'] } }], ports: [{ port: 80 }] },
      ],
    }),
  ],
});
const FROM = { friend: '10.0.1.2', stranger: '10.0.1.3', block: '192.0.2.1', except: '192.0.2.7' } as const;

async function scene() {
  const kernel = createFakeNft();
  const epochs = new EpochKeeper({ marks: LAYOUT.marks!, firstEpoch: 1, now: () => 0 });
  const dataplane = createNftablesDataplane({ kernel, table: 'portcullis', layout: LAYOUT, now: () => 0, epochs });
  const intent = compileNode(CLUSTER, 'node-1');
  await dataplane.sync(intent, { mode: 'enforce', resync: true, interfaces: NO_INTERFACES });
  const place = { nodeAddresses: ['10.0.0.1'], localAddresses: intent.localAddresses, interfaces: NO_INTERFACES };
  const flow = (from: string) => ({ source: from, destination: '10.0.1.1', protocol: 'TCP', port: 80 }) as const;
  const reads = {
    table: () => kernel.read(),
    elements: async (sets: readonly NftSet[]) => new Map(sets.map((set) => [set.name, set])),
  };
  return {
    kernel,
    trace: async (from: keyof typeof FROM) => (await dataplane.trace([flow(FROM[from])], place))[0]!,
    traceSaved: async (from: keyof typeof FROM) =>
      (await traceFlows(reads, () => undefined, [flow(FROM[from])], place))[0]!,
  };
}

const inShort = ({ kind, decided }: TracedVerdict): string =>
  [
    kind,
    ...decided.map(({ action, direction, policies, rules }) => {
      const names = policies.map(({ namespace: of, name }) => `${of}/${name}`).join(',');
      return `${direction} ${action} ${names} ${rules.map(({ index }) => index).join()}`.trim();
    }),
  ].join('; ');

describe('flows traced through a table of nftables', () => {
  const EXPECTED = {
    friend: 'passes; ingress allow x/web 0',
    block: 'passes; ingress allow x/web 1',
    stranger: 'dropped; ingress deny x/deny,x/web',
    except: 'dropped; ingress deny x/deny,x/web',
  } as const;

  for (const [from, expected] of Object.entries(EXPECTED))
    it(`${from}: for whom a rule stands is told by what was written, and by comments alone`, async () => {
      const { trace, traceSaved } = await scene();
      assert.equal(inShort(await trace(from as keyof typeof FROM)), expected);
      assert.equal(inShort(await traceSaved(from as keyof typeof FROM)), expected);
    });

  it('reads what the kernel holds now: an element more, and an accept of somebody else', async () => {
    const { kernel, trace } = await scene();
    const { path } = await trace('friend');
    const set = /ip saddr @(\S+)/.exec(path.join('\n'))![1]!;
    kernel.edit(`add element inet portcullis ${set} { 10.0.1.3 }`);
    assert.equal(inShort(await trace('stranger')), 'passes; ingress allow x/web 0');
    kernel.edit(`delete element inet portcullis ${set} { 10.0.1.2 }`);
    assert.equal((await trace('friend')).kind, 'dropped');
  });

  it('no table: everything passes, and it is said', async () => {
    const { kernel, trace } = await scene();
    kernel.edit('delete table inet portcullis');
    const { kind, why } = await trace('stranger');
    assert.deepEqual([kind, why], ['passes', 'our table is not there']);
  });
});
