/** `portcullis explain --verify`, with agents that answer as the test tells them, and on what was saved of a node. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiServer, startApiServer } from '../../lab/api/api-server.ts';
import type { TracedFlowPage, TracePage } from '../../src/telemetry/trace-page.ts';
import { readTracedFlows } from '../../src/telemetry/trace-page.ts';
import { namespaceObject, podObject } from '../support/api-objects.ts';
import { policyObject } from '../support/builders.ts';
import { type CommandRun, runCommand } from '../support/command-line.ts';

const LABELS = { 'app.kubernetes.io/name': 'portcullis' };

/** What a node's rules do with a flow. */
type Rules = (flow: { source: string; destination: string; port: number }) => Partial<TracedFlowPage>;

describe('portcullis explain --verify', () => {
  let folder: string;
  let api: ApiServer;
  let servers: Server[];
  let doors: Map<string, string>;
  let asked: string[];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-verify-'));
    servers = [];
    doors = new Map();
    asked = [];
    api = await startApiServer({
      tls: false,
      podPorts: async ({ metadata }) => ({ path: doors.get(metadata.name) ?? join(folder, 'nobody') }),
    });
    writeFileSync(join(folder, 'config'), api.kubeconfig);
    for (const name of ['x', 'y']) api.store.create('namespaces', namespaceObject(name));
    api.store.create('networkpolicies', policyObject('x/deny', {}));
    for (const [name, node, ip] of [
      ['a', 'node-1', '10.0.0.1'],
      ['b', 'node-2', '10.0.0.2'],
    ] as const) {
      const spec = { nodeName: node, containers: [{ name: 'c', image: 'c' }] };
      api.store.create('pods', podObject(`x/${name}`, { spec }));
      api.store.setStatus('pods', { namespace: 'x', name }, { phase: 'Running', podIP: ip, podIPs: [{ ip }] });
    }
  });

  afterEach(async () => {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
    await api.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A node with an agent whose rules are these; `more` of its page may change with each question. */
  async function agent(node: string, rules: Rules, more: () => Partial<TracePage> & { status?: number } = () => ({})) {
    const spec = { nodeName: node, containers: [{ name: 'agent', image: 'portcullis' }] };
    api.store.create('pods', podObject(`kube-system/agent-${node}`, { labels: LABELS, spec }));
    const ref = { namespace: 'kube-system', name: `agent-${node}` };
    api.store.setStatus('pods', ref, { phase: 'Running', podIP: '192.0.2.1' });
    const path = join(folder, `${node}.sock`);
    const server = createServer((request, response) => {
      asked.push(node);
      const flows = readTracedFlows(new URL(request.url!, 'http://x').searchParams);
      assert.ok(typeof flows !== 'string', flows as string);
      const told = flows.map((flow) => ({
        ...flow,
        why: null,
        path: [`PCL-FWD of ${node}`],
        others: [],
        decided: [],
        verdict: 'passes',
        ...rules(flow),
      }));
      const { status = 200, ...page } = more();
      response.statusCode = status;
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({
          version: 1,
          node,
          mode: { inForce: 'enforce', source: 'default' },
          settled: true,
          flows: told,
          ...page,
        }),
      );
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    doors.set(`agent-${node}`, path);
  }

  const explain = (...argv: string[]): Promise<CommandRun> => explainTo('x/b', ...argv);
  const explainTo = (to: string, ...argv: string[]): Promise<CommandRun> =>
    runCommand([
      'explain',
      `--kubeconfig=${join(folder, 'config')}`,
      'x/a',
      to,
      '--port=80',
      '--verify',
      '--timeout=2',
      ...argv,
    ]);
  const drops: Rules = () => ({
    verdict: 'dropped',
    decided: [{ direction: 'ingress', action: 'deny', policies: ['x/deny'], rules: [] }],
  });
  const passes: Rules = () => ({});

  it('both nodes do as they should: a denied flow is exit code 1', async () => {
    await agent('node-1', passes);
    await agent('node-2', drops);
    const { code, out, err } = await explain();
    assert.equal(err, '');
    assert.equal(
      out.slice(out.indexOf('  programmed')),
      `  programmed on node-1: let through
    PCL-FWD of node-1
  programmed on node-2: dropped; ingress denied by x/deny
    PCL-FWD of node-2
`,
    );
    assert.equal(code, 1);
    assert.deepEqual(asked.sort(), ['node-1', 'node-2']);
  });

  it('asks nobody about a pod and its own address, which stays in the pod (N-71)', async () => {
    await agent('node-1', () => ({ verdict: 'dropped' }));
    const { code, out } = await explainTo('x/a');
    assert.deepEqual([code, asked], [0, []], out);
  });

  it('rules that let through what is denied, or drop what is allowed: exit code 3, both shown', async () => {
    await agent('node-1', passes);
    await agent('node-2', passes);
    const { code, out } = await explain();
    assert.match(out, /^x\/a -> x\/b TCP 80: denied$/m);
    assert.match(out, /programmed on node-2: let through\n {4}DISAGREES: by policies and mode it is to be dropped\n/);
    assert.equal(code, 3);
    const data = JSON.parse((await explain('-o', 'json')).out) as {
      flows: { programmed: { outcome: string; node: string }[] }[];
    };
    assert.deepEqual(
      data.flows[0]!.programmed.map(({ node, outcome }) => [node, outcome]),
      [
        ['node-1', 'agrees'],
        ['node-2', 'disagrees'],
      ],
    );
    api.store.delete('networkpolicies', { namespace: 'x', name: 'deny' });
    await agent('node-3', drops);
    doors.set('agent-node-2', doors.get('agent-node-3')!);
    const other = await explain();
    assert.match(
      other.out,
      /programmed on node-2: dropped; .*\n {4}DISAGREES: by policies and mode it is to be let through/,
    );
    assert.equal(other.code, 3);
  });

  it('a node that drops nothing by its mode does as it should, and says so', async () => {
    await agent('node-1', passes);
    await agent('node-2', passes, () => ({ mode: { inForce: 'audit', source: 'annotation' } }));
    const { code, out } = await explain();
    assert.match(out, /programmed on node-2: let through, in mode audit: nothing is dropped there/);
    assert.equal(code, 1);
  });

  it('a change that is on its way is waited for', async () => {
    let questions = 0;
    await agent('node-1', passes);
    await agent(
      'node-2',
      () => (questions > 0 ? drops({ source: '', destination: '', port: 0 }) : {}),
      () => ({ settled: ++questions > 1 }),
    );
    const { code, out } = await explain();
    assert.match(out, /programmed on node-2: dropped/);
    assert.equal(code, 1);
    assert.deepEqual([asked.filter((node) => node === 'node-1').length, questions], [1, 2]);
  });

  it('an agent that was asked a moment ago is asked again', async () => {
    let questions = 0;
    await agent('node-1', passes);
    await agent('node-2', drops, () => ({ status: ++questions === 1 ? 429 : 200 }));
    assert.equal((await explain()).code, 1);
    assert.equal(questions, 2);
  });

  it('fault: a node that cannot be asked is named, and is exit code 4', async () => {
    await agent('node-1', passes);
    const none = await explain();
    assert.match(none.out, /programmed on node-2: unknown: no agent runs on node-2/);
    assert.equal(none.code, 4);
    await agent('node-2', () => ({ verdict: 'unknown', why: 'a rule that is none of ours: PCL-FWD -m x' }));
    const unread = await explain();
    assert.match(unread.out, /programmed on node-2: unknown: a rule that is none of ours: PCL-FWD -m x/);
    assert.equal(unread.code, 4);
    servers[1]!.close();
    servers[1]!.closeAllConnections();
    const gone = await explain();
    assert.match(gone.out, /programmed on node-2: unknown: the API server does not reach its agent/);
    assert.equal(gone.code, 4);
  });

  it('fault: an agent of another version, or none at all', async () => {
    await agent('node-1', passes);
    await agent('node-2', passes, () => ({ version: 7 }) as unknown as Partial<TracePage>);
    assert.match((await explain()).out, /answers in format 7, this program reads 1/);
    api.store.delete('pods', { namespace: 'kube-system', name: 'agent-node-1' }, { gracePeriodSeconds: 0 });
    api.store.delete('pods', { namespace: 'kube-system', name: 'agent-node-2' }, { gracePeriodSeconds: 0 });
    const { code, err } = await explain();
    assert.match(err, /no agent: namespace kube-system has no pod with/);
    assert.equal(code, 2);
  });

  it('flows between many pods are asked for in few questions', async () => {
    await agent('node-1', passes);
    await agent('node-2', drops);
    const ports = Array.from({ length: 30 }, (_, index) => `--port=${1000 + index}`);
    const { out } = await explain(...ports);
    assert.match(out, /^31 flows: 0 allowed, 31 denied/);
    assert.equal(asked.length, 2);
  });

  it('--against goes with --verify, and is told where it is of no use', async () => {
    const alone = await runCommand(['explain', 'a', 'b', '--port=80', '--against=x']);
    assert.match(alone.err, /--against: goes with --verify/);
    const { err, code } = await explain(`--against=${join(folder, 'none')}`);
    assert.match(err, /--against: .*none: ENOENT/);
    assert.equal(code, 2);
  });
});
