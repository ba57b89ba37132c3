/** `portcullis verify` in a lab with real agents: pods, packets, and what is left afterwards. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXPIRES_ANNOTATION, RUN_LABEL, RUN_LABEL_VALUE } from '../../src/cli/verify/probe-pods.ts';
import { AgentLab, enforcedBy, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { type CommandRun, runCommand } from '../support/command-line.ts';

const NODES = ['node-1', 'node-2'];
const LABELS = { 'app.kubernetes.io/name': 'portcullis' };

for (const engine of ['iptables-nft', 'nftables'] as const) {
  describe(`portcullis verify, ${engine}`, function () {
    this.timeout(120_000);
    let t: AgentLab;
    let tokenFile: string;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ nodes: NODES, ...enforcedBy(engine) });
      tokenFile = join(t.lab.dir, 'http-token');
      writeFileSync(tokenFile, 'secret');
      for (const node of NODES)
        t.createPod(`kube-system/portcullis-${node}`, { node, labels: LABELS, hostNetwork: true });
      t.createPod('x/a', { node: 'node-1', labels: { app: 'a' } });
      t.createPod('x/b', { node: 'node-2', labels: { app: 'b' } });
      t.policy('x/allow-b', {
        podSelector: { matchLabels: { app: 'a' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'b' } } }], ports: [{ port: 80 }] }],
      });
      await t.lab.settle();
      await Promise.all(NODES.map((node) => t.start(node, { flags: [`--http-token-file=${tokenFile}`] })));
    });

    after(() => t?.close());

    function verify(argv: readonly string[], signal?: AbortSignal): Promise<CommandRun> {
      const all = ['verify', `--kubeconfig=${t.lab.kubeconfig}`, `--token-file=${tokenFile}`, ...argv] as const;
      return runCommand([...all] as [string, ...string[]], {}, signal);
    }

    function expectations(text: string): string {
      const file = join(t.lab.dir, 'expectations.yaml');
      writeFileSync(
        file,
        `apiVersion: portcullis.dev/v1alpha1\nkind: ReachExpectations\nnamespace: x\nexpect:\n${text}`,
      );
      return file;
    }

    /** Namespaces and pods of runs. */
    function leftovers(): readonly string[] {
      const labelSelector = `${RUN_LABEL}=${RUN_LABEL_VALUE}`;
      const found = [
        ...t.lab.store.list('namespaces', { labelSelector }),
        ...t.lab.store.list('pods', { labelSelector }),
      ];
      return found.map(({ metadata }) => metadata.name);
    }

    /** A table cannot be listed while it changes. */
    async function isBare(node: string): Promise<boolean> {
      return (await t.leftovers(node).catch(() => ['?'])).length === 0;
    }

    it('is green where every node enforces, names the policies that dropped, and leaves nothing behind', async () => {
      const { code, out, err } = await verify([]);
      assert.equal(err, '');
      assert.equal(code, 0, out);
      assert.match(out, /^80 probes, IPv4 and IPv6, from and to pods on node-1, node-2, in \d+ s\n/);
      assert.match(out, /\n {2}node-1: ingress: portcullis-verify-\w+\/deny-ingress \(\d+\)\n/);
      assert.match(out, /\n {2}node-2: egress: portcullis-verify-\w+\/deny-egress \(\d+\)\n/);
      assert.match(out, /policies are enforced on all of them\n$/);
      assert.deepEqual(leftovers(), []);
    });

    it('fault: is red where a node is in dry-run; a sample without it is green', async () => {
      t.annotateNode('node-2', { 'portcullis.dev/mode': 'dry-run' });
      await until(() => isBare('node-2'), 'no rules on node-2', 10_000);
      const { code, out } = await verify(['--settle=2']);
      assert.equal(code, 1, out);
      assert.match(out, /\ningress: default deny +ok +8 of 8\n/);
      assert.match(
        out,
        /\n {2}node-2: ingress: default deny: pod on node-[12] -> pod on node-2 TCP \d+ over IPv[46] reaches, and should not \(and 7 more\)\n/,
      );
      assert.match(out, /\n {2}node-2 is in mode dry-run: nothing is dropped there\n/);
      assert.match(out, /policies are NOT enforced on node-2\n$/);
      const sample = await verify(['--nodes=1', '-o', 'junit']);
      assert.equal(sample.code, 0, sample.out);
      assert.match(sample.out, /<testsuites name="portcullis verify" tests="20" failures="0"/);
      t.annotateNode('node-2', { 'portcullis.dev/mode': null });
      assert.deepEqual(leftovers(), []);
    });

    it('fault: interrupted, it leaves nothing behind; what a killed run left is taken away by the next one', async () => {
      const old = new Date(Date.now() - 1_000).toISOString();
      const metadata = {
        name: 'portcullis-verify-old',
        labels: { [RUN_LABEL]: RUN_LABEL_VALUE },
        annotations: { [EXPIRES_ANNOTATION]: old },
      };
      t.lab.store.create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata });
      const running = {
        ...metadata,
        name: 'portcullis-verify-other',
        annotations: { [EXPIRES_ANNOTATION]: new Date(Date.now() + 60_000).toISOString() },
      };
      t.lab.store.create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: running });
      const stop = new AbortController();
      const run = verify([], stop.signal);
      await until(() => leftovers().some((name) => name.startsWith('client-')), 'clients', 20_000);
      await sleep(100);
      stop.abort();
      const { code, err } = await run;
      assert.equal(code, 4, err);
      assert.match(
        err,
        /^! taken away, as runs that were killed left it behind: namespace portcullis-verify-old\n.*interrupted\n$/,
      );
      assert.deepEqual(leftovers(), ['portcullis-verify-other']);
      t.lab.store.delete('namespaces', { name: 'portcullis-verify-other' });
    });

    it('expectations by packets, from pods that stand in for the sources', async () => {
      const file = expectations(
        '  - {from: b, to: a, port: 80, reach: true}\n  - {from: a, to: b, port: 80, reach: true}\n  - {from: a, to: node/node-2, port: 1, reach: false, name: no node}\n  - {from: external, to: a, port: 80, reach: false}\n',
      );
      const { code, out, err } = await verify(['-f', file, '--probe', '--settle=2']);
      assert.equal(err, '');
      assert.match(out, /^ok {2}b reaches a at 80\nok {2}a reaches b at 80\nFAILED {2}no node\n/);
      assert.match(
        out,
        /x\/a -> node\/node-2 TCP 1 over IPv4 is refused: nobody listens there, or something rejects it/,
      );
      assert.match(out, /skipped {2}external does not reach a at 80\n {2}not probed: external \(.*\) is no pod/);
      assert.match(out, /2 of 4 expectations hold by packets, 1 not probed\n$/);
      assert.equal(code, 1);
      assert.deepEqual(leftovers(), []);
    });

    it('fault: packets that do something else than policies say are exit code 3, also where they do as expected', async () => {
      t.annotateNode('node-1', { 'portcullis.dev/mode': 'dry-run' });
      await until(() => isBare('node-1'), 'no rules on node-1', 10_000);
      t.createPod('x/c', { node: 'node-2', labels: { app: 'c' } });
      await t.lab.settle();
      const file = expectations('  - {from: c, to: a, port: 80, reach: true}\n');
      const { code, out } = await verify(['-f', file, '--probe', '--settle=2']);
      assert.equal(code, 3, out);
      assert.match(
        out,
        /ok {2}c reaches a at 80\n {2}DISAGREES: x\/c -> x\/a TCP 80 over IPv4 reaches, and policies deny it/,
      );
      t.annotateNode('node-1', { 'portcullis.dev/mode': null });
      assert.deepEqual(leftovers(), []);
    });
  });
}
