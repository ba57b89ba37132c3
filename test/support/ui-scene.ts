/** A small cluster as `portcullis ui` sees it: objects of an API server in memory, and agents that tell of them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiServer, startApiServer } from '../../lab/api/api-server.ts';
import { readManifests } from '../../src/cluster/read-manifests.ts';
import type { RecentDenial } from '../../src/telemetry/denial-log.ts';
import type { StatusPage } from '../../src/telemetry/status-page.ts';
import { runProgram } from '../../src/cli/program.ts';
import { namespaceObject, nodeObject, podObject } from './api-objects.ts';

const POLICIES = join(import.meta.dirname, '../../examples/three-tier/01-policies.yaml');
const TOKEN = 'token-of-the-pages';

const PODS: readonly (readonly [
  key: string,
  address: string,
  node: string,
  labels: Record<string, string>,
  port: object,
])[] = [
  ['shop/web-5d8f-k2x9p', '10.244.1.5', 'node-1', { tier: 'web' }, { name: 'http', containerPort: 80 }],
  ['shop/web-5d8f-z7q4m', '10.244.2.5', 'node-2', { tier: 'web' }, { name: 'http', containerPort: 80 }],
  ['shop/api-77c9-p4d2s', '10.244.1.6', 'node-1', { tier: 'api' }, { name: 'api', containerPort: 8080 }],
  ['shop/db-0', '10.244.2.7', 'node-2', { tier: 'db' }, { name: 'sql', containerPort: 5432 }],
  [
    'kube-system/coredns-0',
    '10.244.1.2',
    'node-1',
    { 'k8s-app': 'kube-dns' },
    { name: 'dns', containerPort: 53, protocol: 'UDP' },
  ],
  ['monitoring/scraper-0', '10.244.2.9', 'node-2', { app: 'scraper' }, { name: 'http', containerPort: 9090 }],
];

const denial = (time: string, source: RecentDenial['source'], more: Partial<RecentDenial>): RecentDenial => ({
  time,
  packets: 1,
  seconds: 0,
  verdict: 'denied',
  direction: 'ingress',
  source,
  destination: { address: '10.244.2.7', pod: 'shop/db-0' },
  protocol: 'TCP',
  port: 5432,
  node: 'node-2',
  policies: [
    { policy: 'shop/a-default-deny', why: 'no rules: allows nothing' },
    { policy: 'shop/e-db', why: 'ingress[0]: pod label tier=web is not api' },
  ],
  ...more,
});

export const DENIALS: readonly RecentDenial[] = [
  denial('2026-05-04T10:12:41.120Z', { address: '10.244.1.5', pod: 'shop/web-5d8f-k2x9p' }, { packets: 3, seconds: 7 }),
  denial(
    '2026-05-04T10:12:38.480Z',
    { address: '10.244.2.9', pod: 'monitoring/scraper-0' },
    {
      verdict: 'would-deny',
      destination: { address: '10.244.1.6', pod: 'shop/api-77c9-p4d2s' },
      port: 8080,
      node: 'node-1',
      policies: [
        { policy: 'shop/d-api', why: 'ingress[0]: namespace label kubernetes.io/metadata.name=monitoring is not shop' },
      ],
    },
  ),
  denial(
    '2026-05-04T10:11:02.007Z',
    { address: '10.244.2.5', pod: 'shop/web-5d8f-z7q4m' },
    {
      direction: 'egress',
      destination: { address: '203.0.113.80', outside: true },
      port: 443,
      packets: 12,
      seconds: 55,
      policies: [{ policy: 'shop/c-web', why: 'egress[0]: port 443 not in api (no such port at the destination)' }],
    },
  ),
];

const LIVE = [
  { source: '10.244.1.5', destination: '10.244.1.6', protocol: 6, port: 8080, count: 3 },
  { source: '10.244.1.6', destination: '10.244.2.7', protocol: 6, port: 5432, count: 1 },
];

const METRICS = `# HELP portcullis_allowed_connections_total Connections
portcullis_allowed_connections_total{namespace="shop",policies="c-web",direction="ingress"} 48213
portcullis_allowed_connections_total{namespace="shop",policies="e-db",direction="ingress"} 1902
portcullis_denied_packets_total{namespace="shop",policies="a-default-deny,e-db",direction="ingress",flow="new"} 37
portcullis_allowed_connections_total{namespace="",policies="guard-rails",direction="ingress"} 311
portcullis_denied_packets_total{namespace="",policies="guard-rails",direction="ingress",flow="new"} 29
portcullis_audit_denied_connections_total{namespace="shop",policies="d-api",direction="ingress"} 4
`;

export class UiScene {
  readonly folder = mkdtempSync(join(tmpdir(), 'portcullis-ui-'));
  denials: readonly RecentDenial[] = DENIALS;
  #api: ApiServer | undefined;
  #agents: Server[] = [];
  readonly #ends: (() => Promise<unknown>)[] = [];

  get api(): ApiServer {
    return this.#api!;
  }

  async start(): Promise<void> {
    const api = await startApiServer({
      tls: false,
      tokens: [{ token: 'me', user: 'me' }],
      podPorts: async ({ metadata }) => ({ path: join(this.folder, metadata.name) }),
    });
    this.#api = api;
    for (const name of ['shop', 'monitoring']) api.store.create('namespaces', namespaceObject(name));
    for (const [key, address, nodeName, labels, port] of PODS) this.#pod(key, address, nodeName, labels, [port]);
    for (const { object } of (await readManifests([POLICIES])).objects)
      api.store.create('networkpolicies', object as never);
    for (const [index, name] of ['node-1', 'node-2', 'node-3'].entries()) {
      api.store.create('nodes', nodeObject(name, [`172.18.0.${index + 2}`]) as never);
      await this.#agent(name, `172.18.0.${index + 2}`);
    }
  }

  #pod(key: string, address: string, nodeName: string, labels: object, ports: readonly object[]): void {
    const [namespace, name] = key.split('/') as [string, string];
    const spec = { nodeName, hostNetwork: address.startsWith('172.'), containers: [{ name: 'c', image: 'c', ports }] };
    this.api.store.create('pods', podObject(key, { labels: labels as Record<string, string>, spec }));
    this.api.store.setStatus(
      'pods',
      { namespace, name },
      { phase: 'Running', podIP: address, podIPs: [{ ip: address }] },
    );
  }

  async #agent(node: string, address: string): Promise<void> {
    const pages: Readonly<Record<string, () => unknown>> = {
      '/status': () => this.#status(node),
      '/denials': () => ({ reader: 'reading', denials: node === 'node-1' ? this.denials : [] }),
      '/flows': () => ({
        version: 1,
        node,
        connections: 3,
        flows: node === 'node-1' ? LIVE : [],
        leftOut: 0,
        truncated: false,
      }),
    };
    const server = createServer(({ url = '', headers }, response) => {
      if (headers['x-portcullis-token'] !== TOKEN) response.writeHead(401).end('x-portcullis-token');
      else {
        const page = pages[url.split('?')[0]!];
        response.end(page ? JSON.stringify(page()) : node === 'node-1' ? METRICS : '# HELP none\n');
      }
    });
    this.#agents.push(server);
    await new Promise<void>((resolve) => server.listen(join(this.folder, `agent-${node}`), resolve));
    this.#pod(`kube-system/agent-${node}`, address, node, { 'app.kubernetes.io/name': 'portcullis' }, []);
  }

  #status(node: string): StatusPage {
    const isAway = node === 'node-3';
    const newest = this.api.store.list('networkpolicies').at(-1)?.metadata.resourceVersion ?? '1';
    const heard = {
      inKernel: newest,
      heard: newest,
      connected: !isAway,
      staleMs: isAway ? 12_300 : 0,
      problem: isAway ? 'connection refused' : null,
    };
    return {
      version: 1,
      agent: { version: '0.1.0', node },
      now: '2026-05-04T10:12:45.000Z',
      ready: !isAway,
      unready: [],
      mode: { inForce: 'enforce', source: 'default' },
      revision: { inKernel: 41, since: '2026-05-04T10:02:11.000Z' },
      lastQueued: null,
      lastSynced: null,
      kinds: [{ kind: 'networkpolicies', ...heard }],
      policies: this.api.store.list('networkpolicies').map(({ metadata }) => ({
        namespace: metadata.namespace!,
        name: metadata.name,
        generation: metadata.generation ?? 1,
        state: 'in-force',
        why: null,
        written: null,
        arrived: '2026-05-04T10:02:10.990Z',
        committed: '2026-05-04T10:02:11.000Z',
      })),
    };
  }

  /** The command, until `close`; resolves to the address that it prints. */
  async ui(...argv: readonly string[]): Promise<string> {
    const printed = Promise.withResolvers<string>();
    const stop = new AbortController();
    const given = argv.includes('-f') ? argv : [...this.access(), ...argv];
    const ended = runProgram(['ui', ...given], {
      env: { NO_COLOR: '1' },
      version: '1',
      signal: stop.signal,
      out: (text) => printed.resolve(text.trim()),
      err: (text) => printed.reject(new Error(text)),
      load: { agent: () => Promise.reject(new Error('not asked for')) },
    });
    this.#ends.push(() => {
      stop.abort();
      return ended;
    });
    return printed.promise;
  }

  /** Flags of somebody who may see all of it. */
  access(): readonly string[] {
    const kubeconfig = this.#write('kubeconfig', this.api.kubeconfigFor('me'));
    return ['--kubeconfig', kubeconfig, '--token-file', this.#write('token', TOKEN)];
  }

  #write(name: string, text: string): string {
    const file = join(this.folder, name);
    writeFileSync(file, text);
    return file;
  }

  async close(): Promise<void> {
    for (const end of this.#ends) await end();
    for (const server of this.#agents) {
      server.closeAllConnections();
      server.close();
    }
    await this.#api?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
