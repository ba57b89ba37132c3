/** `portcullis explain` as a person runs it: on manifests, and on a cluster by kubeconfig. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { startApiServer } from '../../lab/api/api-server.ts';
import { kubeconfigText } from '../../lab/api/certificates.ts';
import { type CommandRun, runCommand } from '../support/command-line.ts';

const THREE_TIER = fileURLToPath(new URL('../../examples/three-tier', import.meta.url));

const explain = (argv: readonly string[]): Promise<CommandRun> => runCommand(['explain', ...argv]);

describe('portcullis explain', () => {
  it('tells of a denial every policy, its nearest rule, what of that does not hold, and what would allow it', async () => {
    const { code, out, err } = await explain(['-f', THREE_TIER, 'shop/web', 'shop/db', '--port', '5432']);
    assert.equal(err, '');
    assert.equal(
      out,
      `shop/web -> shop/db TCP 5432: denied
  egress: denied: 3 policies that isolate it do not allow this
    shop/a-default-deny: no rules: allows nothing
    shop/b-dns: egress[0]: TCP 5432 not in UDP 53, TCP 53; namespace label kubernetes.io/metadata.name=shop is not kube-system, pod label k8s-app is absent, not kube-dns
    shop/c-web: egress[0]: port 5432 not in api (no such port at the destination); pod label tier=db is not api
    to allow it, add to shop/c-web, spec.egress:
      - to:
          - podSelector:
              matchLabels:
                tier: db
        ports:
          - protocol: TCP
            port: 5432
  ingress: denied: 2 policies that isolate it do not allow this
    shop/a-default-deny: no rules: allows nothing
    shop/e-db: ingress[0]: pod label tier=web is not api
    to allow it, add to shop/e-db, spec.ingress[0].from:
      - podSelector:
          matchLabels:
            tier: web
`,
    );
    assert.equal(code, 1);
  });

  it('asks about a Service at the port of its backends, from outside', async () => {
    const { code, out } = await explain(['-f', THREE_TIER, 'external', 'shop/service/web', '-n', 'shop']);
    assert.match(out, /^external \(203\.0\.113\.1\) -> shop\/web TCP 80: allowed\n {2}egress: open: /);
    assert.match(out, /ingress: allowed by shop\/c-web spec\.ingress\[0\]/);
    assert.equal(code, 0);
  });

  it('tells flows with the same reasons together, denied ones first', async () => {
    const { code, out } = await explain(['-f', THREE_TIER, 'tier', 'db', '-n', 'shop', '--port', 'sql']);
    assert.equal(code, 2, out);
    const pairs = await explain(['-f', THREE_TIER, 'shop/tier!=x', 'shop/db', '--port', '5432', '--port', '5432/UDP']);
    assert.match(pairs.out, /^\d+ flows: \d+ allowed, \d+ denied\n\n/);
    const [denied, allowed] = [pairs.out.indexOf(': denied\n'), pairs.out.indexOf(': allowed\n')];
    assert.ok(denied > 0 && allowed > denied, pairs.out);
  });

  it('gives programs the same with a version', async () => {
    const argv = ['-f', THREE_TIER, 'shop/web', 'shop/db', '-p', '5432/TCP'];
    const json = JSON.parse((await explain([...argv, '-o', 'json'])).out) as Record<string, unknown>;
    assert.deepEqual(parse((await explain([...argv, '-o', 'yaml'])).out), json);
    assert.deepEqual(
      { apiVersion: json.apiVersion, kind: json.kind, allowed: json.allowed },
      { apiVersion: 'portcullis.dev/v1alpha1', kind: 'FlowExplanation', allowed: false },
    );
    const [flow] = json.flows as { readonly directions: readonly Record<string, unknown>[] }[];
    assert.deepEqual(
      flow!.directions.map(({ direction, verdict, passes }) => [direction, verdict, passes]),
      [
        ['egress', 'denied', false],
        ['ingress', 'denied', false],
      ],
    );
  });

  const wrong: readonly (readonly [why: string, argv: readonly string[], message: RegExp])[] = [
    [
      'an end that is not there',
      ['shop/wbe', 'shop/db', '-p', '1'],
      /source "shop\/wbe": there is no pod shop\/wbe; did you mean shop\/web\?/,
    ],
    ['no port', ['shop/web', 'shop/db'], /--port: required, unless the destination is a Service/],
    ['a bad port', ['shop/web', 'shop/db', '-p', '80/ICMP'], /--port: "80\/ICMP" is not a port/],
    ['a port that is too large', ['shop/web', 'shop/db', '-p', '65536'], /--port: "65536" is not a port/],
    [
      'a port that the Service has not',
      ['shop/web', 'shop/svc/web', '-p', '81'],
      /nothing to ask about: Service shop\/web has no such port; it has 80\/TCP/,
    ],
    [
      'a manifest of the network',
      ['a', 'b', '-p', '1', '-f', 'https://192.0.2.1/x.yaml'],
      /nothing is read from the network/,
    ],
  ];
  for (const [why, argv, message] of wrong)
    it(`refuses ${why}, with exit code 2`, async () => {
      const { code, out, err } = await explain(['-f', THREE_TIER, ...argv]);
      assert.match(err, message);
      assert.deepEqual([code, out], [2, '']);
    });

  it('answers nothing by half of the manifests', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'explain-'));
    writeFileSync(join(folder, 'bad.yaml'), 'apiVersion: v1\nkind: [\n');
    const { code, out, err } = await explain(['-f', THREE_TIER, '-f', folder, 'shop/web', 'shop/db', '-p', '1']);
    rmSync(folder, { recursive: true });
    assert.deepEqual([code, out], [1, '']);
    assert.match(err, /bad\.yaml/);
  });

  it('asks the cluster of a kubeconfig, in pages; a kind that may not be read is named', async () => {
    const server = await startApiServer({ tls: false, tokens: [{ token: 'secret', user: 'me' }] });
    const folder = mkdtempSync(join(tmpdir(), 'explain-'));
    const kubeconfig = join(folder, 'config');
    writeFileSync(kubeconfig, kubeconfigText(server.url, undefined, 'secret'));
    try {
      const create = (kind: 'namespaces' | 'pods' | 'networkpolicies', object: object): unknown =>
        server.store.create(kind, object as never);
      create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
      const containers = [{ name: 'c', image: 'c' }];
      for (let n = 0; n < 600; n++) {
        create('pods', {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { namespace: 'shop', name: `p${n}`, labels: { app: n === 599 ? 'db' : 'web' } },
          spec: { nodeName: 'node-1', containers },
          status: { phase: 'Running', podIPs: [{ ip: `10.0.${n >> 8}.${n & 255}` }] },
        });
      }
      create('networkpolicies', {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { namespace: 'shop', name: 'only-web' },
        spec: {
          podSelector: { matchLabels: { app: 'db' } },
          ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 5432 }] }],
        },
      });
      server.faults.add({ resource: 'services', action: { kind: 'status', code: 403 } });
      const asked = ['--kubeconfig', kubeconfig, 'shop/app=web', 'shop/p599', '-p', '5432'];
      const { code, out, err } = await explain(asked);
      assert.match(out, /^599 flows: 599 allowed, 0 denied\n/, err);
      assert.match(err, /services cannot be read from http:\S+: 403 /);
      assert.equal(code, 0);
      server.faults.add({ resource: 'networkpolicies', action: { kind: 'status', code: 403 } });
      const blind = await explain(asked);
      assert.deepEqual([blind.code, blind.out], [1, '']);
      assert.match(blind.err, /networkpolicies cannot be read from http:\S+: 403 /);
    } finally {
      await server.close();
      rmSync(folder, { recursive: true });
    }
  });
});
