/** Flows traced through our table as it was read back: tampered with, and without anybody who knows what was written. */
import assert from 'node:assert/strict';
import type { TracedVerdict } from '../../../src/dataplane/dataplane.ts';
import { createNftablesDataplane } from '../../../src/dataplane/nftables/nftables-dataplane.ts';
import { EpochKeeper } from '../../../src/dataplane/nftables/sync/epoch-keeper.ts';
import type { NftSet } from '../../../src/dataplane/nftables/table/table.ts';
import { traceFlows } from '../../../src/dataplane/nftables/trace/trace-flows.ts';
import { NEW_PODS_DENIED } from '../../../src/dataplane/chain-names.ts';
import { traceReads } from '../../../src/dataplane/nftables/kernel/trace-reads.ts';
import { NO_INTERFACES, type PodInterfaces } from '../../../src/host/pod-interfaces.ts';
import { createNftNode } from '../../support/nft-node.ts';
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

  it('a packet by ports of a bridge is followed through both tables, as nft lists them', async () => {
    const kernel = createFakeNft();
    const layout = { ...LAYOUT, newPods: { interfacePrefixes: ['veth'] } };
    const interfaces: PodInterfaces = {
      pods: [...CLUSTER.pods.keys()].slice(0, 2).map((key, at) => ({ name: `veth${at}`, via: 'bridge', pod: key })),
      bridges: [{ name: 'cni0', isOnlyPods: true }],
      broadcasts: [],
    };
    const node = createNftNode('node-1', { kernel, layout, interfaces });
    await node.bring(CLUSTER);
    const { localAddresses } = compileNode(CLUSTER, 'node-1');
    const [[destination] = [''], [source] = ['']] = [...localAddresses];
    const asked: string[] = [];
    const reads = traceReads(async ({ argv }) => {
      asked.push(argv.slice(3).join(' '));
      const last = argv.at(-1)!;
      const words = last.startsWith('list ') ? last : argv.slice(5).join(' ');
      return { stdout: listing(kernel.text(), words), stderr: '', durationMs: 0 };
    }, 'portcullis');
    const place = { nodeAddresses: [], localAddresses, interfaces };
    const traced = async (): Promise<TracedVerdict> =>
      (await traceFlows(reads, () => undefined, [{ source, destination, protocol: 'TCP', port: 80 }], place))[0]!;
    const found = await traced();
    assert.notEqual(found.kind, 'unknown', found.why);
    assert.ok(
      asked.some((words) => /list set bridge portcullis listed4|list map bridge/.test(words)),
      asked.join('\n'),
    );
    kernel.edit(`delete element bridge portcullis programmed4 { ${source} }`);
    const { kind, path } = await traced();
    assert.equal(kind, 'dropped');
    assert.ok(
      path.some((line) => line.startsWith('bridge prerouting ')) && path.at(-1)!.startsWith(NEW_PODS_DENIED),
      path.join('\n'),
    );
  });
});

/** What nft prints of a table (`table inet portcullis`), or of sets (`list set inet portcullis a; list ...`). */
function listing(text: string, asked: string): string {
  const tables = text.split(/^(?=table )/m);
  const tableOf = (family: string): string => tables.find((each) => each.startsWith(`table ${family} `)) ?? '';
  if (!asked.startsWith('list ')) return tableOf(asked.split(' ')[1]!);
  return asked
    .split('; ')
    .map((command) => {
      const [, , family = '', , name = ''] = command.split(' ');
      const [block = ''] = new RegExp(`^\\t(set|map) ${name} \\{\\n[^]*?^\\t\\}\\n`, 'm').exec(tableOf(family)) ?? [];
      return `table ${family} portcullis {\n${block}}\n`;
    })
    .join('');
}
