/** `portcullis explain --verify` against real agents: rules as they should be, tampered with, and saved in a bundle. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Wiring } from '../../lab/network/types.ts';
import { type CommandRun, runCommand } from '../support/command-line.ts';
import { AgentLab, enforcedBy, ENGINES, skipUnlessRoot, until } from '../support/agent-lab.ts';

const NODES = ['node-1', 'node-2'];
const MAIN = join(import.meta.dirname, '../../src/main.ts');
const LABELS = { 'app.kubernetes.io/name': 'portcullis' };
const WIRING = {
  'iptables-nft': 'routed',
  'iptables-legacy': 'bridge',
  nftables: 'routed',
} as const satisfies Record<string, Wiring>;
const DISAGREES = {
  letThrough: /programmed on node-1 for IPv4: let through\n {4}DISAGREES/,
  dropped: /programmed on node-1 for IPv4: dropped\n {4}DISAGREES/,
} as const;

/** A rule of somebody else, whose flow it changes, and what is said of that. */
const TAMPERINGS = {
  iptables: [
    [['-I', 'PCL-FWD', '1', '-j', 'RETURN'], 'x/c', DISAGREES.letThrough],
    [
      ['-I', 'FORWARD', '1', '-j', 'ACCEPT'],
      'x/c',
      /programmed on node-1 for IPv4: let through\n {4}DISAGREES.*\n {4}FORWARD -j ACCEPT/,
    ],
    [['-I', 'PCL-FWD', '1', '-p', 'tcp', '-j', 'DROP'], 'x/b', DISAGREES.dropped],
  ],
  nftables: [
    [['insert', 'rule', 'inet', 'portcullis', 'forward', 'accept'], 'x/c', DISAGREES.letThrough],
    [['insert', 'rule', 'inet', 'portcullis', 'forward-first', 'tcp', 'dport', '80', 'drop'], 'x/b', DISAGREES.dropped],
  ],
} as const;

for (const engine of ENGINES)
  describe(`portcullis explain --verify, ${engine}, ${WIRING[engine]}`, function () {
    this.timeout(60_000);
    let t: AgentLab;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ nodes: NODES, ...enforcedBy(engine), wiring: WIRING[engine] });
      for (const node of NODES)
        t.createPod(`kube-system/portcullis-${node}`, { node, labels: LABELS, hostNetwork: true });
      for (const [name, node] of [
        ['a', 'node-1'],
        ['b', 'node-2'],
        ['c', 'node-2'],
      ] as const)
        t.createPod(`x/${name}`, { node, labels: { app: name } });
      t.policy('x/deny', { ingress: [] });
      t.policy('x/allow-b', {
        podSelector: { matchLabels: { app: 'a' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'b' } } }], ports: [{ port: 80 }] }],
      });
      await t.lab.settle();
      await Promise.all(NODES.map((node) => t.start(node)));
    });

    after(() => t?.close());

    const run = (...argv: [string, ...string[]]): Promise<CommandRun> => runCommand(argv);
    const explain = (...argv: string[]): Promise<CommandRun> =>
      run('explain', `--kubeconfig=${t.lab.kubeconfig}`, '--verify', '--port=80', ...argv);

    it('right for what is allowed and what is denied, in both families, with whose rules they are', async () => {
      const allowed = await explain('x/b', 'x/a');
      assert.equal(allowed.code, 0, allowed.out);
      assert.match(
        allowed.out,
        /programmed on node-1 for IPv6: let through; ingress allowed by x\/allow-b spec\.ingress\[0\]/,
      );
      assert.match(allowed.out, /programmed on node-2 for IPv4: let through/);
      const denied = await explain('x/c', 'x/a');
      assert.equal(denied.code, 1, denied.out);
      assert.match(denied.out, /programmed on node-1 for IPv4: dropped; ingress denied by x\/allow-b, x\/deny/);
      const local = await explain('x/b', 'x/c');
      assert.equal(local.code, 1, local.out);
      assert.match(local.out, /programmed on node-2 for IPv4: dropped; ingress denied by x\/deny/);
    });

    it('fault: rules that somebody tampered with are exit code 3, until the agent has repaired them', async () => {
      for (const [rule, from, said] of TAMPERINGS[engine === 'nftables' ? engine : 'iptables']) {
        let last: CommandRun | undefined;
        // The agent repairs it at once, and again a second later.
        await until(
          async () => {
            const asked = explain(from, 'x/a');
            let isAsked = false;
            void asked.then(() => (isAsked = true));
            while (!isAsked) {
              await (engine === 'nftables' ? t.nft(...rule) : t.iptables(4, ...rule));
              await sleep(60);
            }
            last = await asked;
            return last.code === 3 && said.test(last.out);
          },
          () => `${rule.join(' ')}: ${last?.out}`,
          20_000,
        );
      }
      await until(async () => (await explain('x/c', 'x/a')).code === 1, 'repaired', 10_000);
    });

    it('render writes what the agent wrote: against a bundle of the node there is nothing to do', async () => {
      const file = join(t.lab.dir, 'node-1.json');
      const settings = [
        '--node-name=node-1',
        `--kubeconfig=${t.lab.kubeconfig}`,
        engine === 'nftables' ? '--dataplane=nftables' : `--backend=${engine}`,
      ];
      const argv = [`--kubeconfig=${t.lab.kubeconfig}`, '--node=node-1', `--against=${file}`] as const;
      const nothing = '# node node-1, enforce, what would change: policies select 1 of its 1 pods\nnothing to do\n';
      let last: CommandRun | undefined;
      // What was repaired is followed by an epoch.
      await until(
        async () => {
          await t.on('node-1', [process.execPath, MAIN, 'bundle', '-f', file, ...settings]);
          last = await run('render', ...argv);
          return last.code === 0;
        },
        () => String(last?.out),
        20_000,
      );
      assert.deepEqual([last?.out, last?.err], [nothing, '']);
      const audit = await run('render', ...argv, '--mode=audit');
      assert.equal(audit.code, 1, audit.out);
    });

    if (engine === 'iptables-legacy') return;

    it('a node in audit lets through what is denied, and says so', async () => {
      t.annotateNode('node-1', { 'portcullis.dev/mode': 'audit' });
      let last: CommandRun | undefined;
      await until(
        async () => {
          last = await explain('x/c', 'x/a');
          return /let through; ingress would be denied by x\/allow-b, x\/deny, in mode audit/.test(last.out);
        },
        () => String(last?.out),
        10_000,
      );
      assert.equal(last?.code, 1);
      t.annotateNode('node-1', { 'portcullis.dev/mode': null });
      await until(async () => /node-1 for IPv4: dropped/.test((await explain('x/c', 'x/a')).out), 'enforced', 10_000);
    });

    it('what was saved of a node answers in the place of its agent', async () => {
      const texts = [];
      const saves =
        engine === 'nftables'
          ? ['nft -p list table inet portcullis']
          : ['iptables-nft-save', 'ip6tables-nft-save', 'ipset save'];
      for (const save of saves) texts.push(await t.on('node-1', save.split(' ') as [string, ...string[]]));
      const file = join(t.lab.dir, 'node-1.saved');
      writeFileSync(file, texts.join(''));
      const objects = join(t.lab.dir, 'objects.json');
      const all = (['namespaces', 'pods', 'networkpolicies', 'nodes'] as const).flatMap((kind) => [
        ...t.lab.store.list(kind),
      ]);
      writeFileSync(objects, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: all }));
      const saved = (from: string): Promise<CommandRun> =>
        run('explain', '-f', objects, '--verify', '--against', file, from, 'x/a', '--port=80');
      const fromOutside = await saved('external');
      assert.equal(fromOutside.code, 1, fromOutside.out);
      assert.match(fromOutside.out, /programmed on node-1 for IPv6: dropped; ingress denied by x\/allow-b, x\/deny/);
      const ofTwo = await saved('x/b');
      assert.match(ofTwo.err, /--against: of which node\? A bundle says so; the flow is judged on node-2 and node-1/);
    });

    it('fault: an agent that has ended leaves its node unknown, exit code 4', async () => {
      await t.agents.get('node-2')!.end('SIGKILL');
      const { code, out } = await explain('x/b', 'x/a');
      assert.equal(code, 4, out);
      assert.match(out, /programmed on node-2 for IPv4: unknown: the API server does not reach its agent/);
      assert.match(out, /programmed on node-1 for IPv4: let through/);
    });
  });
