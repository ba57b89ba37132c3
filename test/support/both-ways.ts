/**
 * A program for tests: writes the same transactions by nft and by netlink in the network namespace that it is started in, and compares what
 * the kernel holds and what nft prints. Prints JSON.
 */
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { versionedMap } from '../../src/core/versioned-map.ts';
import { NetlinkWriter } from '../../src/dataplane/nftables/kernel/netlink-writer.ts';
import { chainOf, type NftSet } from '../../src/dataplane/nftables/table/table.ts';
import { type Command, TableWriter } from '../../src/dataplane/nftables/table/write-table.ts';
import { openNetlinkSocket } from '../../src/host/netlink-socket.ts';
import { NO_INTERFACES, type PodInterfaces } from '../../src/host/pod-interfaces.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { auditedCluster, clusterPair, crowdedPair, NODE, severallyAudited, tieredPair } from '../property/clusters.ts';
import { LAYOUT } from './fake-cluster.ts';
import { dumpKernel } from './kernel-dump.ts';
import { createFakeNft } from './nft-fake.ts';
import { createNftNode } from './nft-node.ts';
import { SAMPLE_RULES, SAMPLE_SETS } from './nft-rule-samples.ts';

const socket = openNetlinkSocket()!;
const writer = new NetlinkWriter();
const [seed = 1, count = 10] = process.argv.slice(2).map(Number);
const told = { cases: 0, transactions: 0, rules: 0, byNft: [] as string[], differences: [] as string[] };

function nft(input: string | readonly string[]): string {
  if (typeof input !== 'string') return execFileSync('nft', [...input], { encoding: 'utf8', maxBuffer: 1e9 });
  return execFileSync('nft', ['-f', '-'], { encoding: 'utf8', input });
}

/** The version that messages are taken from. */
const isExact = nft(['--version']).startsWith('nftables v1.0.6 ');

type Transaction = readonly Command[];

async function compare(what: string, transactions: readonly Transaction[]): Promise<void> {
  told.cases++;
  nft('flush ruleset');
  for (const commands of transactions) nft(`${commands.map(({ text }) => text).join('\n')}\n`);
  const byNft = await held();
  nft('flush ruleset');
  for (const commands of transactions) {
    told.transactions++;
    told.rules += commands.filter(({ change }) => change?.kind === 'rule').length;
    if (await writer.write('portcullis', commands)) continue;
    told.byNft.push(
      `${what}: ${commands
        .map(({ text }) => text)
        .join('; ')
        .slice(0, 2_000)}`,
    );
    nft(`${commands.map(({ text }) => text).join('\n')}\n`);
  }
  const byNetlink = await held();
  for (const [at, line] of byNft.entries())
    if (line !== byNetlink[at]) told.differences.push(`${what}: by nft ${line}, by netlink ${byNetlink[at] ?? ''}`);
  if (byNft.length !== byNetlink.length) told.differences.push(`${what}: ${byNft.length}, ${byNetlink.length} lines`);
}

async function held(): Promise<readonly string[]> {
  return [...(await dumpKernel(socket, isExact)), ...nft(['-p', '-s', 'list', 'ruleset']).split('\n').map(inOrder)];
}

/** Hash sets list their elements in an order of their own. */
function inOrder(line: string): string {
  const [, before, elements] = /^(.*elements = \{ )(.*) \}$/.exec(line) ?? [];
  return elements === undefined ? line : `${before}${elements.split(', ').sort().join(', ')} }`;
}

async function samples(): Promise<void> {
  const tables = new TableWriter('portcullis');
  const chain = chainOf('samples', SAMPLE_RULES);
  const hook = chainOf('forward', [], { hook: 'type filter hook forward priority mangle; policy accept;' });
  const made = [
    tables.addTable('inet'),
    ...SAMPLE_SETS.map((set) => tables.addSet(set)),
    ...[chain, chainOf('sample-end', []), hook].map((each) => tables.addChain(each)),
  ];
  const elements = SAMPLE_SETS.flatMap((set) => tables.addElements(set, [...set.elements]));
  const rules = tables.addRules(chain);
  await compare('samples', [[...made, ...elements, ...rules]]);
  await compare('samples, of which parts are deleted', [
    [...made, ...elements, ...rules],
    SAMPLE_SETS.flatMap((set) => tables.deleteElements(set, [...set.elements.keys()].slice(-2))),
    [tables.flushChain(chain.name)],
    [tables.deleteChain(chain.name), tables.deleteChain(hook.name)],
    SAMPLE_SETS.map((set) => tables.deleteSet(set)),
  ]);
  const ranges = Array.from({ length: 1_500 }, (_, at) => [`fd00::${at.toString(16)}:0/112,6:80`, true] as const);
  const type = 'ipv6_addr . inet_proto . inet_service';
  const many: NftSet = { name: 'many', type, isInterval: true, elements: versionedMap(ranges) };
  await compare('many ranges', [[tables.addTable('inet'), tables.addSet(many), ...tables.addElements(many, ranges)]]);
  await compare('a table that goes', [made, [tables.deleteTable('inet')]]);
}

const BRIDGED: PodInterfaces = {
  ...NO_INTERFACES,
  bridges: [{ name: 'cni0', isOnlyPods: true }],
  broadcasts: ['10.0.0.255'],
};

function portsOf({ pods }: ClusterSnapshot): PodInterfaces {
  const via = ['second', 'bridge', 'route'] as const;
  const here = [...pods].filter(([, { nodeName }]) => nodeName === NODE);
  return { ...BRIDGED, pods: here.map(([pod], at) => ({ name: `veth${at}`, via: via[at % 3]!, pod })) };
}

/** What a node writes while a cluster becomes another one, and back, with tidying. */
async function history(what: string, snapshots: readonly ClusterSnapshot[], at: number): Promise<void> {
  const fake = createFakeNft();
  const transactions: Transaction[] = [];
  const kernel = {
    ...fake,
    write: (commands: Transaction) => {
      transactions.push(commands);
      return fake.write(commands);
    },
  };
  const layouts = [LAYOUT, { ...LAYOUT, newPods: { interfacePrefixes: ['eni', 'veth'] } }];
  const interfaces = at % 3 === 2 ? portsOf(snapshots[0]!) : NO_INTERFACES;
  const node = createNftNode(NODE, { kernel, layout: layouts[at % 2]!, interfaces });
  for (const snapshot of [...snapshots, snapshots[0]!])
    await node.sync(snapshot, false, at % 5 === 4 ? 'audit' : 'enforce');
  await compare(`${what} ${at}`, transactions);
}

try {
  await samples();
  const pairs = fc.oneof(
    clusterPair,
    tieredPair,
    crowdedPair,
    auditedCluster.map((one) => [one] as const),
    severallyAudited.map((one) => [one] as const),
  );
  for (const [at, each] of fc.sample(pairs, { numRuns: count, seed }).entries()) await history('cluster', each, at);
  console.log(JSON.stringify({ ...told, byNft: told.byNft.slice(0, 5), differences: told.differences.slice(0, 5) }));
} finally {
  nft('flush ruleset');
  writer.stop();
  socket.close();
}
