/** `portcullis recommend` as a person runs it: every form in which flows are seen, what is left out, and what is written. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { startApiServer } from '../../lab/api/api-server.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { podObject } from '../support/api-objects.ts';
import { type CommandRun, runCommand } from '../support/command-line.ts';

const THREE_TIER = join(import.meta.dirname, '../../examples/three-tier');

interface Data {
  readonly apiVersion: string;
  readonly kind: string;
  readonly flows: number;
  readonly policies: readonly { readonly policy: Written; readonly rules: readonly { readonly evidence: unknown }[] }[];
  readonly ruleUse: readonly { readonly flows: number; readonly policyAllowedConnections?: number }[];
}
interface Written {
  readonly metadata: { readonly name: string; readonly annotations?: object };
  readonly spec: { readonly egress?: unknown; readonly ingress?: unknown };
}

/** Two nodes with pods of two workloads, a Service and DNS, as a dump shows them. */
const CLUSTER = `
apiVersion: v1
kind: Node
metadata: { name: node-1 }
spec: { podCIDRs: [10.244.0.0/24] }
status: { addresses: [{ type: InternalIP, address: 172.18.0.2 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { namespace: shop, name: web }
spec:
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: c }] } }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web-5f6d-aaaaa, labels: { app: web, pod-template-hash: 5f6d } }
spec: { nodeName: node-1, containers: [{ name: c }] }
status: { phase: Running, podIPs: [{ ip: 10.244.0.5 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: api-0, labels: { app: api } }
spec: { nodeName: node-1, containers: [{ name: c }] }
status: { phase: Running, podIPs: [{ ip: 10.244.0.6 }] }
---
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: api }
spec: { clusterIP: 10.96.0.7, selector: { app: api }, ports: [{ port: 80, targetPort: 8080 }] }
`;

describe('portcullis recommend', () => {
  let folder: string;
  let cluster: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'recommend-'));
    cluster = write('cluster.yaml', CLUSTER);
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function write(name: string, text: string): string {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  }

  const recommend = (flows: string, ...argv: readonly string[]): Promise<CommandRun> =>
    runCommand(['recommend', '-f', cluster, '--flows', write('seen', flows), ...argv]);

  /** `web > api 8080`: of all rules, the flow that each shows as an example. */
  async function examples(flows: string, ...argv: readonly string[]): Promise<readonly string[]> {
    const { out } = await recommend(flows, '--direction', 'egress', '-o', 'json', ...argv);
    return (JSON.parse(out) as Data).policies.flatMap(({ rules }) =>
      rules.map(({ evidence }) => {
        const { example } = evidence as { example: Record<string, string | number> };
        return `${example.source} > ${example.destination} ${example.protocol} ${example.port}`;
      }),
    );
  }

  it('writes policies to apply, with what was seen as comments', async () => {
    const seen = { source: 'shop/web', destination: 'shop/api', port: 8080, count: 12 };
    const times = { first: '2026-11-28T10:00:00Z', last: '2026-11-29T09:30:00Z' };
    const flows = write('flows', `${JSON.stringify({ ...seen, ...times })}\n`);
    const argv = ['-f', THREE_TIER, '--flows', flows, '--from-scratch', '--direction', 'ingress'];
    const { code, out, err } = await runCommand(['recommend', ...argv]);
    assert.equal(
      out.replaceAll(folder, '.'),
      `# 1 policy from 1 flow that was seen. Judged again, every one passes with these policies and no others.
---
# shop/pod/api, 1 pod
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: shop
  name: allow-api
spec:
  podSelector:
    matchLabels:
      tier: api
  policyTypes:
    - Ingress
  ingress:
    # seen 12 times, 2026-11-28 10:00 UTC to 2026-11-29 09:30 UTC; shop/web (198.18.0.4) to shop/api (198.18.0.1), TCP 8080 (./flows:1)
    - from:
        - podSelector:
            matchLabels:
              tier: web
      ports:
        - protocol: TCP
          port: 8080
---
# Rules that nothing of what was seen needed, 4 of 6:
#   shop/b-dns spec.egress[0]
#   shop/c-web spec.ingress[0]
#   shop/d-api spec.egress[0]
#   shop/e-db spec.ingress[0]
`,
    );
    assert.deepEqual([code, err], [0, '']);
    const documents = parseAllDocuments(out).map((document) => document.toJS() as unknown);
    assert.deepEqual(
      documents.filter(Boolean).map((each) => parsePolicy(each).problems),
      [[]],
    );
  });

  const reads: readonly (readonly [what: string, text: string, expected: readonly string[]])[] = [
    [
      'conntrack -L: who began, and the backend behind a Service at its own port',
      'tcp      6 431999 ESTABLISHED src=10.244.0.5 dst=10.96.0.7 sport=40000 dport=80 src=10.244.0.6 dst=10.244.0.5 sport=8080 dport=40000 [ASSURED] mark=0 use=1\n' +
        'conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.\n',
      ['10.244.0.5 > 10.244.0.6 TCP 8080'],
    ],
    [
      '/proc/net/nf_conntrack and conntrack -E',
      'ipv4     2 udp      17 29 src=10.244.0.5 dst=203.0.113.1 sport=40000 dport=123 src=203.0.113.1 dst=172.18.0.2 sport=123 dport=40000 mark=0 use=1\n' +
        '    [NEW] tcp      6 120 SYN_SENT src=10.244.0.6 dst=203.0.113.2 sport=40000 dport=443 src=203.0.113.2 dst=172.18.0.2 sport=443 dport=40000\n',
      ['10.244.0.5 > 203.0.113.1 UDP 123', '10.244.0.6 > 203.0.113.2 TCP 443'],
    ],
    [
      'a datagram that needs no answer, and no connection that got none',
      'udp      17 29 src=10.244.0.5 dst=203.0.113.1 sport=40000 dport=514 [UNREPLIED] src=203.0.113.1 dst=172.18.0.2 sport=514 dport=40000\n' +
        'tcp      6 1 SYN_SENT src=10.244.0.5 dst=203.0.113.1 sport=40000 dport=25 [UNREPLIED] src=203.0.113.1 dst=172.18.0.2 sport=25 dport=40000\n',
      ['10.244.0.5 > 203.0.113.1 UDP 514'],
    ],
    [
      "the agent's log behind what a collector writes, and none of its other lines",
      'node-1 2026-01-01 {"level":"info","msg":"starting"}\n' +
        'node-1 2026-01-01 {"level":"info","verdict":"would-deny","direction":"egress","source":{"address":"10.244.0.5","pod":"shop/web-5f6d-aaaaa"},"destination":{"address":"203.0.113.1","outside":true},"protocol":"TCP","port":443,"packets":3,"seconds":60,"time":"2026-01-01T00:01:00Z"}\n',
      ['10.244.0.5 > 203.0.113.1 TCP 443'],
    ],
    [
      'a pod that is gone as one of its workload',
      '{"source":"shop/web-6c7b8d9f-zzzzz","destination":"shop/api-0","port":8080}\n',
      ['10.244.0.5 > 10.244.0.6 TCP 8080'],
    ],
    [
      'a bundle',
      JSON.stringify({
        pages: {
          '/denials': {
            found: JSON.stringify({
              denials: [
                {
                  verdict: 'would-deny',
                  source: { address: '10.244.0.5' },
                  destination: { address: '10.244.0.6' },
                  protocol: 'UDP',
                  port: 9,
                },
              ],
            }),
          },
        },
      }),
      ['10.244.0.5 > 10.244.0.6 UDP 9'],
    ],
  ];
  for (const [what, text, expected] of reads)
    it(`reads ${what}`, async () => assert.deepEqual(await examples(text), expected));

  const good = '{"source":"shop/web-5f6d-aaaaa","destination":"203.0.113.9","port":443}\n';
  const leaves: readonly (readonly [what: string, line: string, note: RegExp])[] = [
    [
      'a pod that is gone',
      '{"source":"shop/old-1","destination":"10.244.0.6","port":1}',
      /1 flows have an end whose pod is gone/,
    ],
    [
      "an address of the nodes' pods that nobody has",
      '{"source":"10.244.0.99","destination":"10.244.0.6","port":1}',
      /pod is gone/,
    ],
    [
      'the address of a Service',
      '{"source":"10.244.0.5","destination":"10.96.0.7","port":80}',
      /1 flows go to the address of a Service/,
    ],
    [
      'what was denied',
      '{"verdict":"denied","source":{"address":"10.244.0.5"},"destination":{"address":"10.244.0.6"},"protocol":"TCP","port":22}',
      /1 flows were not let through \(--include-denied/,
    ],
    ['what is no flow', 'hello', /1 lines tell of no flow, the first is .*seen:2/],
    [
      'a port that is none',
      '{"source":"10.244.0.5","destination":"10.244.0.6","port":65536}',
      /1 lines tell of no flow/,
    ],
  ];
  for (const [what, line, note] of leaves)
    it(`leaves out ${what}, and says so`, async () => {
      const { code, out, err } = await recommend(`${good}${line}\n`, '-o', 'json');
      assert.match(err, note);
      assert.deepEqual([code, (JSON.parse(out) as Data).flows], [0, 1]);
    });

  it('names nodes among the addresses', async () => {
    const { out } = await recommend('{"source":"shop/api-0","destination":"172.18.0.2","port":10250}');
    assert.match(out, /# seen 1 time; shop\/api-0 \(10\.244\.0\.6\) to node\/node-1 \(172\.18\.0\.2\), TCP 10250 /);
  });

  it('takes what was denied as wanted where that is asked for', async () => {
    const [, line] = leaves.find(([what]) => what === 'what was denied')!;
    assert.deepEqual(await examples(line, '--include-denied'), ['10.244.0.5 > 10.244.0.6 TCP 22']);
  });

  it('gives programs the same with a version, and marks policies as audited where that is asked for', async () => {
    const { out } = await recommend(good, '-o', 'json', '--audited', '--for', 'shop');
    const { apiVersion, kind, policies } = JSON.parse(out) as Data;
    assert.deepEqual([apiVersion, kind], ['portcullis.dev/v1alpha1', 'PolicyRecommendation']);
    assert.deepEqual(policies[0]!.policy.metadata.annotations, { 'portcullis.dev/mode': 'audit' });
    const elsewhere = await recommend(good, '-o', 'json', '--for', 'other');
    assert.deepEqual((JSON.parse(elsewhere.out) as Data).policies, []);
  });

  it('exits with 1 where a flow stays denied', async () => {
    const closed =
      'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { namespace: shop, name: closed }\nspec: { podSelector: {}, policyTypes: [Egress] }\n';
    const { code, err } = await recommend(good, '-f', write('closed.yaml', closed), '--for', 'other');
    assert.equal(code, 1);
    assert.match(
      err,
      /! stays denied by policies that are there: shop\/web-5f6d-aaaaa \(10\.244\.0\.5\) to 203\.0\.113\.9, TCP 443, egress \(/,
    );
  });

  it('asks the agents of a cluster for what they would deny and for counters', async () => {
    const denials = {
      reader: 'reading',
      denials: [
        {
          verdict: 'would-deny',
          source: { address: '10.244.0.5' },
          destination: { address: '203.0.113.9' },
          protocol: 'TCP',
          port: 443,
          packets: 2,
        },
      ],
    };
    const metrics =
      '# HELP portcullis_allowed_connections_total Connections\n' +
      'portcullis_allowed_connections_total{namespace="shop",policies="old,other",direction="ingress"} 7\n';
    const agent = createServer(
      ({ url }, response) => void response.end(url === '/denials' ? JSON.stringify(denials) : metrics),
    );
    const door = join(folder, 'agent.sock');
    await new Promise<void>((resolve) => agent.listen(door, resolve));
    const api = await startApiServer({
      tls: false,
      tokens: [{ token: 'me', user: 'me' }],
      podPorts: async () => ({ path: door }),
    });
    try {
      const containers = [{ name: 'c', image: 'c' }];
      api.store.create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
      api.store.create(
        'pods',
        podObject('kube-system/agent', {
          labels: { 'app.kubernetes.io/name': 'portcullis' },
          spec: { nodeName: 'node-1', containers },
        }),
      );
      api.store.setStatus(
        'pods',
        { namespace: 'kube-system', name: 'agent' },
        { phase: 'Running', podIP: '192.0.2.1' },
      );
      api.store.create(
        'pods',
        podObject('shop/web', { labels: { app: 'web' }, spec: { nodeName: 'node-1', containers } }),
      );
      api.store.setStatus(
        'pods',
        { namespace: 'shop', name: 'web' },
        { phase: 'Running', podIP: '10.244.0.5', podIPs: [{ ip: '10.244.0.5' }] },
      );
      const spec = { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] };
      api.store.create('networkpolicies', {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { namespace: 'shop', name: 'old' },
        spec,
      } as never);
      const argv = ['recommend', '--kubeconfig', write('kubeconfig', api.kubeconfigFor('me'))] as const;
      const { code, out, err } = await runCommand(argv);
      assert.match(
        out,
        /# seen 2 times; shop\/web \(10\.244\.0\.5\) to 203\.0\.113\.9, TCP 443 \(node-1 denials\[0\]\)/,
      );
      assert.match(
        out,
        /# {3}shop\/old spec\.ingress\[0\], but its policy let 7 connections through by the agents' counters\n$/,
      );
      assert.equal(code, 0, err);
      const { ruleUse } = JSON.parse((await runCommand([...argv, '-o', 'json'])).out) as Data;
      assert.deepEqual(
        ruleUse.map(({ policyAllowedConnections }) => policyAllowedConnections),
        [7],
      );
    } finally {
      agent.closeAllConnections();
      agent.close();
      await api.close();
    }
  });

  const wrong: readonly (readonly [why: string, argv: readonly string[], message: RegExp])[] = [
    ['manifests without flows', [], /--flows: required with manifests/],
    ['a file that is not there', ['--flows', '/nowhere'], /--flows: ENOENT/],
    [
      'files without a flow',
      ['--flows', join(THREE_TIER, '01-policies.yaml')],
      /no flow was seen; \d+ lines tell of no flow/,
    ],
    [
      'no blocks at all',
      ['--flows', 'x', '--max-blocks', '0'],
      /--max-blocks: "0" is not a whole number from 1 to 1000/,
    ],
  ];
  for (const [why, argv, message] of wrong)
    it(`refuses ${why}, with exit code 2`, async () => {
      const { code, out, err } = await runCommand(['recommend', '-f', THREE_TIER, ...argv]);
      assert.match(err, message);
      assert.deepEqual([code, out], [2, '']);
    });
});
