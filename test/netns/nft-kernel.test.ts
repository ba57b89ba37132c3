/** The table of nftables on a real kernel: what is written is read back as it was, whatever the cluster. Needs root and nft. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import fc from 'fast-check';
import { type RunCommand, runCommand } from '../../src/host/command.ts';
import { ffiFile } from '../../src/host/ffi-file.ts';
import { startLineProgram } from '../../src/host/line-program.ts';
import { createNftKernel } from '../../src/dataplane/nftables/kernel/nft-kernel.ts';
import type { NftFailed, NftKernel } from '../../src/dataplane/nftables/kernel/kernel.ts';
import { NftSession } from '../../src/dataplane/nftables/kernel/nft-session.ts';
import { cluster, crowdedCluster, NODE } from '../property/clusters.ts';
import { createNftNode } from '../support/nft-node.ts';
import { LAYOUT } from '../support/fake-cluster.ts';

describe('a table of nftables on Linux', function () {
  this.timeout(60_000);
  const namespace = `pclnk-${process.pid}`;
  const inside = ['ip', 'netns', 'exec', namespace] as const;
  const run: RunCommand = (request) => runCommand({ ...request, argv: [...inside, ...request.argv] });
  const nft = async (...words: readonly string[]): Promise<string> =>
    (await run({ argv: ['nft', ...words], timeoutMs: 10_000 })).stdout;
  let pid: number | undefined;
  let session: NftSession;
  let kernel: NftKernel;

  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
    session = new NftSession(startLineProgram, inside);
    kernel = createNftKernel({ table: 'portcullis', run, session });
  });
  beforeEach(() => nft('flush', 'ruleset'));
  after(async () => {
    session?.stop();
    if (session) await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 });
  });

  const node = (layout = LAYOUT) => createNftNode(NODE, { kernel: kernel as never, layout });

  it('reads back as it was written, for any cluster: a pass over it plans nothing', async () => {
    const closed = { ...LAYOUT, newPods: { interfacePrefixes: ['eni', 'veth'] } };
    let elements = 0;
    const kinds = new Set<string>();
    const crowded = crowdedCluster.map(({ whole }) => whole);
    for (const [index, snapshot] of fc
      .sample(fc.oneof(cluster, crowded), { numRuns: 30, seed: 20_261_122 })
      .entries()) {
      const first = node(index % 2 ? LAYOUT : closed);
      const mode = index % 5 === 4 ? 'audit' : 'enforce';
      const { failures, size } = await first.sync(snapshot, true, mode);
      assert.deepEqual(failures, []);
      elements += size!().setEntries;
      for (const name of first.synchronizer.held!.rendered.sets.keys()) kinds.add(name.replace(/[46].*/, ''));
      const again = await first.sync(snapshot, true, mode);
      assert.deepEqual([again.drift, again.change?.text()], [[], 'nothing to do\n']);
    }
    assert.ok(elements > 500, `not much was tried: ${elements}`);
    const expected = ['block-ports', 'blocks', 'egress', 'egress-replies', 'ingress', 'ingress-replies', 'itself'];
    assert.deepEqual([...kinds].sort(), [...expected, 'pod-ports', 'pods', 'programmed']);
  });

  it('all goes in by netlink as nft prints it; what is refused is told in the words of nft', async function () {
    // An optional package.
    if (ffiFile() === undefined) this.skip();
    const program = join(import.meta.dirname, '../support/netlink-probe.ts');
    const { stdout } = await run({ argv: [process.execPath, program], timeoutMs: 30_000 });
    const { refused, ...told } = JSON.parse(stdout) as { readonly refused: string };
    assert.deepEqual(told, { problem: null, byNetlink: 2, left: 0, after: 1 });
    assert.match(refused, /^pods: Could not process rule: No such file or directory: delete element/);
  });

  it('by netlink as by nft: the kernel holds the same of every kind of rule and set, and of clusters that change', async function () {
    if (ffiFile() === undefined) this.skip();
    const program = join(import.meta.dirname, '../support/both-ways.ts');
    const { stdout } = await run({ argv: [process.execPath, program, '20261129', '30'], timeoutMs: 55_000 });
    const { byNft, differences, cases, transactions, rules } = JSON.parse(stdout);
    assert.deepEqual([byNft, differences], [[], []]);
    const tried = JSON.stringify({ cases, transactions, rules });
    assert.ok(cases === 34 && transactions > 60 && rules > 3_000, `not much was tried: ${tried}`);
  });

  it('a transaction is taken whole or not at all, and a refusal names the object', async () => {
    await kernel.write([{ text: 'add table inet portcullis', object: '' }]);
    const commands = [
      { text: 'add chain inet portcullis a', object: 'a' },
      { text: 'add rule inet portcullis a jump nowhere', object: 'a' },
    ];
    await assert.rejects(kernel.write(commands), (error: NftFailed) => {
      assert.deepEqual([error.reason, error.object], ['refused', 'a']);
      return true;
    });
    assert.equal((await kernel.read())?.chains.size, 0);
    // The same channel goes on.
    await kernel.write(commands.slice(0, 1));
    assert.equal((await kernel.read())?.chains.size, 1);
  });

  it('a large transaction goes in as one', async () => {
    const elements = Array.from({ length: 20_000 }, (_, at) => `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`);
    const batches = Array.from({ length: 20 }, (_, at) => elements.slice(at * 1_000, at * 1_000 + 1_000));
    await kernel.write([
      { text: 'add table inet portcullis', object: '' },
      { text: 'add set inet portcullis s { type ipv4_addr; }', object: 's' },
      ...batches.map((some) => ({ text: `add element inet portcullis s { ${some.join(', ')} }`, object: 's' })),
    ]);
    assert.equal((await kernel.read())?.sets.get('s')?.elements.size, 20_000);
  });

  it('fault: nft ends: the write fails as unclear, and the next one has another nft', async () => {
    await kernel.write([{ text: 'add table inet portcullis', object: '' }]);
    pid = Number(
      (await runCommand({ argv: ['ip', 'netns', 'pids', namespace], timeoutMs: 5_000 })).stdout.split('\n')[0],
    );
    process.kill(pid, 'SIGKILL');
    const add = [{ text: 'add chain inet portcullis a', object: 'a' }];
    await kernel.write(add).catch((error: NftFailed) => assert.equal(error.reason, 'unavailable'));
    await kernel.write(add);
    assert.equal((await kernel.read())?.chains.size, 1);
  });

  it('a table that is not there is told from one that cannot be read', async () => {
    assert.equal(await kernel.read(), undefined);
    const broken = createNftKernel({
      table: 'portcullis',
      session,
      run: (request) => runCommand({ ...request, argv: ['nft-is-not-here', ...request.argv.slice(1)] }),
    });
    await assert.rejects(broken.read(), (error: NftFailed) => error.reason === 'unavailable');
  });
});
