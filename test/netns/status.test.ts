/** `portcullis status` against real agents, through the API server's pod proxy. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { Agent, request } from 'node:https';
import { fileURLToPath } from 'node:url';
import type { ClusterVerdict } from '../../src/cli/judge-nodes.ts';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const NODES = ['node-1', 'node-2', 'node-3', 'node-4'];
const LABELS = { 'app.kubernetes.io/name': 'portcullis' };

interface Run {
  readonly code: number | null;
  readonly out: string;
}

describe('portcullis status, over nodes that lag behind', function () {
  this.timeout(120_000);
  let t: AgentLab;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ nodes: NODES });
    for (const node of NODES)
      t.createPod(`kube-system/portcullis-${node}`, { node, labels: LABELS, hostNetwork: true });
    for (const node of NODES) t.createPod(`x/${node}`, { node });
    await t.lab.settle();
    await Promise.all(NODES.map((node) => t.start(node)));
    t.policy('x/p', { ingress: [] });
    await until(async () => (await status()).code === 0, 'all nodes have it', 20_000);
  });

  after(() => t?.close());

  /** Not in this process: the lab's API server is in it. */
  function status(...flags: string[]): Promise<Run> {
    const child = spawn(process.execPath, [
      MAIN,
      'status',
      `--kubeconfig=${t.lab.kubeconfig}`,
      '--timeout=2',
      ...flags,
    ]);
    let out = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        out += text;
      });
    return new Promise((resolve) => child.on('close', (code) => resolve({ code, out })));
  }

  /** Waits until only `node` is behind, for that reason. */
  async function lags(node: string, why: RegExp): Promise<void> {
    let last: Run | undefined;
    await until(
      async () => {
        last = await status();
        return last.code === 1 && /^3 of 4 nodes$/m.test(last.out) && why.test(last.out);
      },
      () => `${node} lags: ${last?.out}`,
      40_000,
    );
    const told = last!.out.split('\n').filter((line) => line.startsWith('  '));
    assert.deepEqual(
      told.map((line) => line.trim().split('  ')[0]),
      [node],
    );
  }

  async function allRight(): Promise<void> {
    let last: Run | undefined;
    await until(
      async () => {
        last = await status();
        return last.code === 0;
      },
      () => `all nodes: ${last?.out}`,
      40_000,
    );
    assert.match(last!.out, /^4 of 4 nodes.*slowest \d+ ms after the first of them heard of it \(node-\d\)$/m);
  }

  it('all nodes have the policy, as /status of each and its metrics say', async () => {
    await allRight();
    const { out } = await status('-o', 'json', '--policy=x/p');
    const verdict = JSON.parse(out) as ClusterVerdict;
    assert.deepEqual(
      verdict.nodes.map(({ node, ok, policy }) => [node, ok, policy?.state, policy?.generation]),
      NODES.map((node) => [node, true, 'in-force', 1]),
    );
    assert.ok(verdict.slowest!.ms < 2_000, String(verdict.slowest!.ms));
    const agent = t.agents.get('node-1')!;
    const stored = t.lab.store.get('networkpolicies', { namespace: 'x', name: 'p' })!;
    assert.ok(
      (await agent.metric('portcullis_resource_version', { kind: 'networkpolicies' })) >=
        Number(stored.metadata.resourceVersion),
    );
    assert.equal(await agent.metric('portcullis_policy_states', { state: 'in-force' }), 1);
    assert.ok(
      (await agent.metric('portcullis_change_commit_duration_seconds_count', { kind: 'networkpolicies' })) >= 1,
    );
    assert.ok((await agent.metric('portcullis_change_age_at_commit_seconds_count', { kind: 'networkpolicies' })) >= 1);
  });

  it('a new generation is followed on all nodes', async () => {
    t.policy('x/p', { ingress: [], policyTypes: ['Ingress', 'Egress'] });
    let last: Run | undefined;
    await until(
      async () => {
        last = await status('--policy=x/p', '-o', 'json');
        return last.code === 0;
      },
      () => `generation 2: ${last?.out}`,
      20_000,
    );
    assert.ok((JSON.parse(last!.out) as ClusterVerdict).nodes.every(({ policy }) => policy?.generation === 2));
  });

  it('fault: one node is in dry-run', async () => {
    t.annotateNode('node-3', { 'portcullis.dev/mode': 'dry-run' });
    await lags('node-3', /mode dry-run, by the node's annotation: nothing is enforced/);
    t.annotateNode('node-3', { 'portcullis.dev/mode': null });
    await allRight();
  });

  it('fault: the agent of one node is paused', async () => {
    const { pid } = t.agents.get('node-2')!;
    process.kill(pid, 'SIGSTOP');
    try {
      await lags('node-2', /the agent does not answer within 2 s/);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await allRight();
  });

  it('fault: one node is cut off from the API server, and hears nothing of a change', async () => {
    await t.lab.publication.pause('node-4');
    try {
      await lags('node-4', /cut off from the API server for [\d.]+ s/);
      t.policy('x/p', { ingress: [] });
      await until(async () => /^3 of 4 nodes/m.test((await status('--policy=x/p')).out), 'the others follow', 20_000);
    } finally {
      await t.lab.publication.resume('node-4');
    }
    await allRight();
  });

  it('fault: an agent has ended', async () => {
    await t.agents.get('node-1')!.end('SIGKILL');
    await lags('node-1', /the API server does not reach its agent/);
    await t.start('node-1');
    await allRight();
  });

  it('shows nobody the plan but the node', async () => {
    await t.agents.get('node-1')!.ready();
    const path = (port: number, page: string): string =>
      `/api/v1/namespaces/kube-system/pods/portcullis-node-1:${port}/proxy${page}`;
    const ask = async (where: string): Promise<number> => {
      const { token, url } = t.lab.server;
      const agent = new Agent({ ca: t.lab.server.caPem });
      const headers = { authorization: `Bearer ${token}` };
      return new Promise((resolve, reject) => {
        request(`${url}${where}`, { agent, headers }, (response) => resolve(response.resume().statusCode ?? 0))
          .on('error', reject)
          .end();
      });
    };
    assert.equal(await ask(path(9848, '/metrics')), 200);
    assert.equal(await ask(path(9848, '/plan')), 404);
    assert.equal(await ask(path(9847, '/plan')), 503, "the loopback address is the node's own");
  });
});
