import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiServer, startApiServer } from '../../lab/api/api-server.ts';
import { runProgram } from '../../src/cli/program.ts';
import type { ClusterVerdict } from '../../src/cli/judge-nodes.ts';
import type { PolicyPage, StatusPage } from '../../src/telemetry/status-page.ts';
import { namespaceObject, podObject } from '../support/api-objects.ts';
import { policyObject } from '../support/builders.ts';

const LABELS = { 'app.kubernetes.io/name': 'portcullis' };
const ADMIN = { token: 'admin', user: 'admin' };
const READER = { token: 'reader', user: 'reader', deny: [{ resource: 'pods/proxy', verb: '*' }] };
const NOBODY = { token: 'nobody', user: 'nobody', deny: [{ resource: '*', verb: '*' }] };

type Agent = (request: IncomingMessage, response: ServerResponse) => void;

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

describe('portcullis status', () => {
  let folder: string;
  let api: ApiServer;
  let servers: Server[];
  let doors: Map<string, string>;
  /** The policy's newest resourceVersion. */
  let version: string;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-status-'));
    servers = [];
    doors = new Map();
    api = await startApiServer({
      tls: false,
      tokens: [ADMIN, READER, NOBODY],
      podPorts: async ({ metadata }, port) => {
        assert.equal(port, 9848);
        return { path: doors.get(metadata.name) ?? join(folder, 'nobody') };
      },
    });
    for (const { token } of [ADMIN, READER, NOBODY]) writeFileSync(join(folder, token), api.kubeconfigFor(token));
    api.store.create('namespaces', namespaceObject('x'));
    const created = api.store.create('networkpolicies', policyObject('x/p', {}));
    version = created.metadata.resourceVersion!;
  });

  afterEach(async () => {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
    await api.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A node with an agent's pod, and what answers at its port. */
  async function node(name: string, agent?: Agent, phase = 'Running'): Promise<void> {
    const labels = { 'kubernetes.io/hostname': name };
    api.store.create('nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } });
    const spec = { nodeName: name, containers: [{ name: 'agent', image: 'portcullis' }] };
    const key = `kube-system/agent-${name}`;
    api.store.create('pods', podObject(key, { labels: LABELS, spec }));
    api.store.setStatus('pods', { namespace: 'kube-system', name: `agent-${name}` }, { phase, podIP: '192.0.2.1' });
    if (!agent) return;
    const path = join(folder, `${name}.sock`);
    const server = createServer(agent);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    doors.set(`agent-${name}`, path);
  }

  const answering =
    (page: object): Agent =>
    (_, response) =>
      void response.setHeader('content-type', 'application/json').end(JSON.stringify(page));
  const policy = (more: Partial<PolicyPage> = {}): PolicyPage => ({
    namespace: 'x',
    name: 'p',
    generation: 1,
    state: 'in-force',
    why: null,
    written: '2026-01-01T00:00:00.000Z',
    arrived: '2026-01-01T00:00:01.000Z',
    committed: '2026-01-01T00:00:01.020Z',
    ...more,
  });
  const page = (more: Partial<StatusPage> = {}): StatusPage => ({
    version: 1,
    agent: { version: '1', node: 'n' },
    now: '2026-01-01T00:00:05.000Z',
    ready: true,
    unready: [],
    mode: { inForce: 'enforce', source: 'default' },
    revision: { inKernel: 7, since: '2026-01-01T00:00:01.020Z' },
    lastQueued: null,
    lastSynced: null,
    kinds: [{ kind: 'networkpolicies', inKernel: version, heard: version, connected: true, staleMs: 0, problem: null }],
    policies: [policy()],
    ...more,
  });

  async function status(...flags: string[]): Promise<Run> {
    const run = { out: '', err: '' };
    const code = await runProgram(
      [
        'status',
        ...(flags.some((flag) => flag.startsWith('--kubeconfig')) ? [] : [`--kubeconfig=${join(folder, 'admin')}`]),
        ...flags,
      ],
      {
        env: {},
        version: '1',
        signal: new AbortController().signal,
        out: (text) => {
          run.out += text;
        },
        err: (text) => {
          run.err += text;
        },
        load: { agent: () => assert.fail() },
      },
    );
    return { code, ...run };
  }

  it('counts the nodes, and tells which was the last', async () => {
    await node('a', answering(page()));
    await node('b', answering(page({ policies: [policy({ committed: '2026-01-01T00:00:01.140Z' })] })));
    await node('c', answering(page({ policies: [policy({ state: 'no-pods', arrived: '2026-01-01T00:00:01.005Z' })] })));
    const { code, out, err } = await status();
    assert.equal(err, '');
    assert.equal(
      out,
      'x/p, generation 1, written 2026-01-01T00:00:00Z\n' +
        '3 of 3 nodes, 1 of them without a pod that it selects, slowest 140 ms after the first of them heard of it (b)\n',
    );
    assert.equal(code, 0);
  });

  it('-o json has a version, the verdict and each node', async () => {
    await node('a', answering(page()));
    const { code, out } = await status('-o', 'json', '--policy=x/p');
    const verdict = JSON.parse(out) as ClusterVerdict;
    assert.equal(code, 0);
    assert.deepEqual(verdict, {
      version: 1,
      ok: true,
      policy: { name: 'x/p', generation: 1 },
      slowest: { node: 'a', ms: 20 },
      nodes: [
        {
          node: 'a',
          pod: 'agent-a',
          ok: true,
          why: null,
          mode: 'enforce',
          revision: 7,
          dataplane: null,
          policy: policy(),
        },
      ],
    });
  });

  it('tells which data planes enforce, and why not all nodes have the same', async () => {
    const why = 'this host has all that its table needs';
    const nftables = { dataplane: { inUse: 'nftables', backend: 'nftables', asked: 'auto', why } };
    const bridged = 'pods are ports of a bridge (cni0)';
    const iptables = { dataplane: { inUse: 'iptables', backend: 'iptables-nft', asked: 'auto', why: bridged } };
    await node('a', answering(page(nftables)));
    await node('b', answering(page(nftables)));
    assert.match((await status()).out, /\ndata plane of 2: nftables, by --dataplane=auto: this host has all/);
    await node('c', answering(page(iptables)));
    await node('d', answering(page()));
    const { out } = await status();
    assert.match(out, /\ndata plane of 2 \(a, b\): nftables, by --dataplane=auto/);
    assert.match(
      out,
      /\ndata plane of 1 \(c\): iptables-nft, by --dataplane=auto: pods are ports of a bridge \(cni0\)\n$/,
    );
  });

  const kinds = (more: object) => [{ ...page().kinds[0]!, ...more }];
  for (const [title, make, why] of [
    [
      'dry-run',
      () => page({ mode: { inForce: 'dry-run', source: 'annotation' } }),
      /mode dry-run, by the node's annotation: nothing is enforced/,
    ],
    [
      'audit',
      () => page({ mode: { inForce: 'audit', source: 'default' }, policies: [policy({ state: 'audited' })] }),
      /mode audit, by --mode: counted/,
    ],
    [
      'cut off',
      () => page({ kinds: kinds({ staleMs: 34_200, problem: 'refused' }) }),
      /cut off from the API server for 34 s: refused/,
    ],
    [
      'behind',
      () => page({ kinds: kinds({ inKernel: '1' }) }),
      /up to resourceVersion 1 in its kernel, the API server has \d+/,
    ],
    [
      'older generation',
      () => page({ policies: [policy({ generation: 0 })] }),
      /heard of generation 0 of x\/p, the API server has 1/,
    ],
    ['unheard', () => page({ policies: [] }), /has not heard of x\/p/],
    [
      'held back',
      () => page({ policies: [policy(), policy({ name: 'q', state: 'held-back', why: 'hash is full' })] }),
      /x\/q: held-back: hash is full/,
    ],
    [
      'not ready',
      () => page({ ready: false, unready: [{ name: 'families', reason: 'IPv6' }] }),
      /not ready: families: IPv6/,
    ],
    [
      'not begun',
      () =>
        page({ mode: { inForce: 'unknown', source: 'default' }, unready: [{ name: 'kernel-tools', reason: 'none' }] }),
      /not ready: kernel-tools: none/,
    ],
    ['another format', () => ({ ...page(), version: 9 }), /answers in format 9, this program reads 1/],
    ['another program', () => ({ hello: 1 }), /what answers at its port is no agent/],
  ] as const) {
    it(`names the node that lags behind, and why: ${title}`, async () => {
      await node('a', answering(page()));
      await node('bb', answering(make()));
      const { code, out } = await status();
      assert.equal(code, 1);
      const lines = out.trimEnd().split('\n');
      assert.equal(lines.at(-2), '1 of 2 nodes');
      assert.match(lines.at(-1)!, /^ {2}bb {2}/);
      assert.match(lines.at(-1)!, why);
    });
  }

  it('a policy that is only audited is in force nowhere, and is no fault of the node', async () => {
    await node('a', answering(page({ policies: [policy({ state: 'audited' })] })));
    const { code, out } = await status('--policy=x/p');
    assert.equal(code, 1);
    assert.match(out, /a {2}only audited: counted, and nothing is dropped/);
    assert.equal((await status()).code, 0);
  });

  it('asked about one policy, what is wrong with others does not count', async () => {
    await node(
      'a',
      answering(page({ ready: false, unready: [{ name: 'x', reason: 'y' }], kinds: kinds({ inKernel: '1' }) })),
    );
    assert.equal((await status('--policy', 'x/p')).code, 0);
    assert.equal((await status()).code, 1);
  });

  it('fault: an agent is paused, has ended, is old, is not running, or is not there', async () => {
    await node('paused', () => {});
    await node('ended');
    await node('old', (_, response) => void response.writeHead(404).end('no such page; there are /healthz\n'));
    await node('pending', undefined, 'Pending');
    api.store.create('nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'without' } });
    const fargate = { 'eks.amazonaws.com/compute-type': 'fargate' };
    api.store.create('nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'fargate', labels: fargate } });
    const { code, out } = await status('--timeout=1');
    assert.equal(code, 1);
    assert.match(out, /^0 of 5 nodes$/m);
    assert.match(out, /paused +the agent does not answer within 1 s; see kubectl -n kube-system logs agent-paused/);
    assert.match(out, /ended +the API server does not reach its agent: .*; is --metrics-address open to it\?/);
    assert.match(out, /old +its agent has no \/status: an older version\? \(no such page/);
    assert.match(out, /pending +its agent is not running: pod agent-pending is Pending/);
    assert.match(out, /without +no agent runs there/);
    assert.doesNotMatch(out, /fargate/);
  });

  it('hands a token to agents that ask for one, and says so where it is missing', async () => {
    await node('a', (request, response) => {
      assert.equal(request.headers.authorization, undefined, "the API server's own credentials");
      if (request.headers['x-portcullis-token'] === 'secret') return answering(page())(request, response);
      response
        .writeHead(401)
        .end('needs the token of --http-token-file: Authorization: Bearer ..., or x-portcullis-token: ...\n');
    });
    const without = await status();
    assert.equal(without.code, 1);
    assert.match(without.out, /asks for the token of --http-token-file: give a file with it as --token-file/);
    writeFileSync(join(folder, 'token'), 'secret\n');
    assert.equal((await status(`--token-file=${join(folder, 'token')}`)).code, 0);
    const missing = await status('--token-file=/nonexistent');
    assert.deepEqual([missing.code, missing.out], [2, '']);
    assert.match(missing.err, /^portcullis status: --token-file: .*nonexistent/);
  });

  it("without rights it says which, exit code 1 where they are the proxy's, 2 where nothing can be told", async () => {
    await node('a', answering(page()));
    const reader = await status(`--kubeconfig=${join(folder, 'reader')}`);
    assert.equal(reader.code, 1);
    assert.match(reader.out, /you may not ask it: .*pods\/proxy.*verb get on pods\/proxy in namespace kube-system/);
    const nobody = await status(`--kubeconfig=${join(folder, 'nobody')}`);
    assert.deepEqual([nobody.code, nobody.out], [2, '']);
    assert.match(nobody.err, /cannot list networkpolicies: HTTP 403: /);
  });

  it('exit code 2 where it cannot be told', async () => {
    await node('a', answering(page()));
    const named = await status('--policy=x/missing');
    assert.deepEqual(
      [named.code, named.err],
      [2, 'portcullis status: the API server has no NetworkPolicy x/missing\n'],
    );
    const elsewhere = await status('-n', 'default');
    assert.equal(elsewhere.code, 2);
    assert.match(elsewhere.err, /no agent: namespace default has no pod with app.kubernetes.io\/name=portcullis/);
    const file = await status('--kubeconfig=/nonexistent');
    assert.equal(file.code, 2);
    assert.match(file.err, /^portcullis status: .*\/nonexistent/);
    assert.equal((await status('--policy=p')).code, 2);
    await api.close();
    const gone = await status();
    assert.equal(gone.code, 2);
    assert.match(gone.err, /cannot list networkpolicies: .*refused/);
  });

  it('while an agent is replaced, the pod that answers counts', async () => {
    await node('a', undefined, 'Pending');
    const spec = { nodeName: 'a', containers: [{ name: 'agent', image: 'portcullis' }] };
    api.store.create('pods', podObject('kube-system/agent-b', { labels: LABELS, spec }));
    api.store.setStatus(
      'pods',
      { namespace: 'kube-system', name: 'agent-b' },
      { phase: 'Running', podIP: '192.0.2.1' },
    );
    const path = join(folder, 'b.sock');
    const server = createServer(answering(page()));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    doors.set('agent-b', path);
    assert.match((await status()).out, /^1 of 1 nodes, /m);
  });
});
