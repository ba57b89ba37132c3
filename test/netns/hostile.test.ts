/** Objects of any content on real kernels: the tools take every line, read back what was meant, and nobody else's rules move. */
import assert from 'node:assert/strict';
import { chooseSeed } from '../property/runs.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { renderNode } from '../support/stages.ts';
import { SnapshotSync } from '../support/snapshot-sync.ts';
import { type RunCommand, runCommand } from '../../src/host/command.ts';
import type { Kernel } from '../../src/dataplane/iptables/kernel/kernel.ts';
import { toolName } from '../../src/dataplane/iptables/kernel/linux-kernel.ts';
import { createOneVariantKernel } from '../support/one-variant-kernel.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { type HostileObjects, hostileObjects } from '../fuzz/hostile.ts';
import { snapshotOfObjects } from '../fuzz/snapshot.ts';
import { BACKENDS, skipUnlessRoot } from '../support/agent-lab.ts';
import { LAYOUT } from '../support/fake-cluster.ts';

const NODE = 'node-1';
/** The first ones are the same each time. */
const FIXED_SEED = 1;
const CLUSTERS = 8;

/** Everybody in `x` is isolated by policies whose names are what the tools would trip over. */
const INJECTION: HostileObjects = {
  pods: ['10.0.0.1', 'fd00::1'].map((ip, index) => ({
    metadata: { namespace: 'x', name: `a${index}`, labels: { app: '"; flush' } },
    spec: { nodeName: NODE },
    status: { podIPs: [{ ip }] },
  })),
  namespaces: [{ metadata: { name: 'x' } }],
  policies: ['a"b', "a'b", 'a\\', '-j', '--', '$(reboot)', 'ä'.repeat(250), '\u202etxt', 'p'.repeat(253), '#', '!'].map(
    (name) => ({
      metadata: { namespace: 'x', name },
      spec: {
        podSelector: { matchLabels: { app: '"; flush' } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ ports: [{ port: 'we b' }] }],
      },
    }),
  ),
  nodes: [],
};

for (const backend of BACKENDS) {
  describe(`hostile objects, real kernel: ${backend}`, function () {
    this.timeout(30_000);
    const namespace = `pclhost-${process.pid}-${backend === 'iptables-nft' ? 'n' : 'l'}`;
    let directory: string;
    let kernel: Kernel;
    let run: RunCommand;

    before(async function () {
      skipUnlessRoot.call(this);
      directory = await mkdtemp(join(tmpdir(), 'portcullis-hostile-'));
      const env = { XTABLES_LOCKFILE: join(directory, 'xtables.lock') };
      run = (request) => runCommand({ ...request, argv: ['ip', 'netns', 'exec', namespace, ...request.argv], env });
      await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
      kernel = createOneVariantKernel({ backend, families: [4, 6], run, lockWaitSeconds: 5 });
      const foreign = '*mangle\n-A FORWARD -s 198.51.100.0/24 -j ACCEPT\nCOMMIT\n*filter\n-A FORWARD -j DROP\nCOMMIT\n';
      await run({ argv: [toolName(backend, 4, 'restore'), '--noflush'], stdin: foreign, timeoutMs: 10_000 });
    });

    after(async () => {
      if (directory === undefined) return;
      await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 });
      await rm(directory, { recursive: true });
    });

    /** What is not ours, in every table. */
    async function foreign(): Promise<string> {
      const { stdout } = await run({ argv: [toolName(backend, 4, 'save')], timeoutMs: 10_000 });
      return stdout
        .split('\n')
        .filter((line) => !line.startsWith('#') && !line.includes('PCL-'))
        .map((line) => line.replace(/ \[\d+:\d+\]$/, ''))
        .join('\n');
    }

    async function enforce(snapshot: ClusterSnapshot): Promise<void> {
      const agent = (): SnapshotSync => new SnapshotSync({ nodeName: NODE, kernel, now: () => 0, firstEpoch: 1 });
      const { failures, intent } = await agent().sync(snapshot, 'enforce', LAYOUT, true);
      assert.deepEqual(failures, []);
      const again = await agent().sync(snapshot, 'enforce', LAYOUT, true);
      assert.deepEqual(again.plan?.steps, [], 'a second agent reads back what the first one meant');
      const { families } = await kernel.readBack();
      const { families: rules } = renderNode(intent!, { ...LAYOUT, mode: 'enforce' });
      for (const family of [4, 6] as const) {
        const wanted = [...rules[family].dispatch.ingress.values()];
        for (const chain of wanted) assert.equal(families[family]!.chains.get(chain)?.includes('-j DROP'), true, chain);
      }
    }

    it('names and labels that would end a word or a line do not', async () => {
      const before = await foreign();
      await enforce(snapshotOfObjects(INJECTION));
      const { families } = await kernel.readBack();
      const comments = [...families[4]!.chains.values()].flat().filter((rule) => rule.includes('--comment'));
      assert.equal(comments.length, 2 * INJECTION.policies.length);
      assert.equal(await foreign(), before);
    });

    it('clusters of such objects, one after the other', async () => {
      const before = await foreign();
      const seed = chooseSeed();
      const clusters = [FIXED_SEED, seed].flatMap((each) =>
        fc.sample(hostileObjects, { numRuns: CLUSTERS, seed: each }),
      );
      for (const [index, objects] of clusters.entries()) {
        try {
          await enforce(snapshotOfObjects(objects));
        } catch (error) {
          throw new Error(`cluster ${index}, random seed ${seed}: ${JSON.stringify(objects)}`, { cause: error });
        }
      }
      assert.equal(await foreign(), before);
    });
  });
}
