/** Counters by a netlink dump are those that the tools print, of all kinds of rules, also while somebody writes. Needs root, nft, iptables-nft. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Family } from '../../src/core/vocabulary.ts';
import { runSync } from '../../src/core/sliced.ts';
import { savedCounters } from '../../src/dataplane/iptables/counters/read-counters.ts';
import { ruleText } from '../../src/dataplane/iptables/rules/write-text.ts';
import { createNftKernel } from '../../src/dataplane/nftables/kernel/nft-kernel.ts';
import { NftSession } from '../../src/dataplane/nftables/kernel/nft-session.ts';
import { readCounters } from '../../src/dataplane/nftables/table/read-counters.ts';
import type { DumpedRules } from '../../src/dataplane/rule-dump.ts';
import { type CommandResult, type RunCommand, runCommand } from '../../src/host/command.ts';
import { ffiFile } from '../../src/host/ffi-file.ts';
import { startLineProgram } from '../../src/host/line-program.ts';
import { crowdedCluster, NODE } from '../property/clusters.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { createNftNode } from '../support/nft-node.ts';
import { everyRule, SAMPLE_SETS } from '../support/rule-samples.ts';

const PROBE = join(import.meta.dirname, '../support/rule-dump-probe.ts');
const SET_TYPES = { addresses: 'hash:ip', prefixes: 'hash:net', endpoints: 'hash:ip,port', blocks: 'hash:net,port' };
/** Rules of the chain that is written anew all the time: more than one datagram holds. */
const FLIPPED = 400;

type Counts = Readonly<Record<string, readonly (readonly [packets: number, bytes: number] | undefined)[]>>;
function countsOf(rules: DumpedRules): Counts {
  return Object.fromEntries(
    [...rules].map(([chain, { packets, bytes }]) => [
      chain,
      packets.map((count, at) => (count < 0 ? undefined : ([count, bytes[at]!] as const))),
    ]),
  );
}

describe('counters by a netlink dump on Linux', function () {
  this.timeout(60_000);
  const namespace = `pclrd-${process.pid}`;
  const inside = ['ip', 'netns', 'exec', namespace] as const;
  const run: RunCommand = (request) => runCommand({ ...request, argv: [...inside, ...request.argv] });
  const give = (stdin: string, ...argv: [string, ...string[]]): Promise<CommandResult> =>
    run({ argv, stdin, timeoutMs: 20_000, env: { XTABLES_LOCKFILE: '/dev/null' } });
  const dump = async (
    family: string,
    table: string,
    chains: readonly string[],
    rounds = 1,
  ): Promise<readonly (DumpedRules | undefined)[]> => {
    const { stdout } = await give('', process.execPath, PROBE, family, table, String(rounds), ...chains);
    const found = JSON.parse(stdout) as readonly ([string, never][] | null)[];
    return found.map((rules) => (rules ? new Map(rules) : undefined));
  };

  before(async function () {
    // The library that opens sockets is an optional package.
    if (process.getuid?.() !== 0 || ffiFile() === undefined) this.skip();
    await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
  });
  after(async () => {
    await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 }).catch(() => {});
  });

  /** Every kind of rule that there is, each with counts of its own, and two chains that begin alike. */
  async function writeSamples(family: Family): Promise<Counts> {
    const sets = Object.entries(SET_TYPES).map(([set, type]) => {
      const name = SAMPLE_SETS[family][set as keyof typeof SET_TYPES];
      return `create ${name} ${type} family ${family === 4 ? 'inet' : 'inet6'}\n`;
    });
    await give(sets.join(''), 'ipset', 'restore');
    const samples = everyRule(family).map((rule) => ruleText(rule, { family, epoch: 3, marks: { mask: 0xff000000 } }));
    const rules = ['PCL-every', 'PCL-every-2'].flatMap((chain) =>
      samples.map((rule, at) => `[${at}:${at * 10_000_000_000}] -A ${chain} ${rule}`.trimEnd()),
    );
    const chains = ['PCL-every', 'PCL-every-2', 'PCL-target', 'PCL-flip'].map((chain) => `:${chain} - [0:0]`);
    const lines = ['*mangle', ...chains, ...rules, 'COMMIT', ''];
    await give(lines.join('\n'), family === 4 ? 'iptables-nft-restore' : 'ip6tables-nft-restore', '--noflush', '-c');
    const { stdout } = await give('', family === 4 ? 'iptables-nft-save' : 'ip6tables-nft-save', '-c', '-t', 'mangle');
    const printed = [...runSync(savedCounters(stdout, () => false))!].filter(([, { packets }]) => packets.length > 0);
    return Object.fromEntries(
      printed.map(([chain, { packets, bytes }]) => [chain, packets.map((count, at) => [count, bytes[at]!] as const)]),
    );
  }

  /** `count` commits, each of a chain whose rules all have counted as many packets as commits went before. */
  async function flip(family: Family, count: number): Promise<void> {
    const tool = family === 4 ? 'iptables-nft-restore' : 'ip6tables-nft-restore';
    for (let commit = 1; commit <= count; commit++) {
      const rules = Array.from({ length: FLIPPED }, () => `[${commit}:${commit}] -A PCL-flip -j RETURN`);
      await give(['*mangle', ':PCL-flip - [0:0]', ...rules, 'COMMIT', ''].join('\n'), tool, '--noflush', '-c');
    }
  }

  for (const family of [4, 6] as const)
    it(`are those of iptables-nft-save, whoever commits meanwhile, IPv${family}`, async () => {
      const printed = await writeSamples(family);
      assert.ok(printed['PCL-every']!.length > 40);
      const [name, chains] = [family === 4 ? 'ip' : 'ip6', Object.keys(printed)];
      const [first] = await dump(name, 'mangle', [...chains, 'PCL-nowhere']);
      assert.deepEqual(countsOf(first!), printed);
      const [rounds] = await Promise.all([dump(name, 'mangle', [...chains, 'PCL-flip'], 400), flip(family, 60)]);
      let answered = 0;
      for (const found of rounds) {
        if (!found) continue;
        const { 'PCL-flip': flipped = [], ...others } = countsOf(found);
        assert.deepEqual(others, printed);
        // Of what is being replaced it may be the old rules or the new ones, or as many of them as were there still.
        assert.ok(flipped.length <= FLIPPED);
        if (flipped.length > 0) answered++;
      }
      assert.ok(answered > 100, `only ${answered} readings while somebody wrote`);
    });

  it('are those of nft, of all rules of a table', async () => {
    const session = new NftSession(startLineProgram, inside);
    try {
      const kernel = createNftKernel({ table: 'portcullis', run, session });
      const clusters = fc.sample(crowdedCluster, { numRuns: 25, seed: 20_261_129 });
      let counting = 0;
      for (const [index, { whole: snapshot }] of clusters.entries()) {
        const node = createNftNode(NODE, { kernel: kernel as never, layout: LAYOUT });
        assert.deepEqual((await node.sync(snapshot, true, index % 2 ? 'audit' : 'enforce')).failures, []);
        const list = async (): Promise<string> =>
          (await give('', 'nft', '-p', 'list', 'table', 'inet', 'portcullis')).stdout;
        let packets = 0;
        const counted = (await list()).replaceAll(/\bcounter packets 0 bytes 0\b/g, () => {
          packets++;
          return `counter packets ${packets} bytes ${packets * 10_000_000_000}`;
        });
        await give(`delete table inet portcullis\n${counted}`, 'nft', '-f', '-');
        const expected = [...readCounters(await list())].filter(([, rules]) => rules.length > 0);
        const [found] = await dump(
          'inet',
          'portcullis',
          expected.map(([chain]) => chain),
        );
        const printed = expected.map(([chain, rules]) => [
          chain,
          rules.map((each) => each && [each.packets, each.bytes]),
        ]);
        assert.deepEqual(countsOf(found!), Object.fromEntries(printed));
        counting += packets;
      }
      assert.ok(counting > 100, `not much was tried: ${counting}`);
    } finally {
      session.stop();
    }
  });
});
