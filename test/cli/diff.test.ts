/** `portcullis diff` as a person or a pipeline runs it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { startApiServer } from '../../lab/api/api-server.ts';
import { kubeconfigText } from '../../lab/api/certificates.ts';
import { type CommandRun, runCommand } from '../support/command-line.ts';
import { UiScene } from '../support/ui-scene.ts';

const THREE_TIER = fileURLToPath(new URL('../../examples/three-tier', import.meta.url));
const APP = join(THREE_TIER, '00-app.yaml');
const POLICIES = join(THREE_TIER, '01-policies.yaml');

const diff = (...argv: readonly string[]): Promise<CommandRun> => runCommand(['diff', ...argv]);

describe('portcullis diff', () => {
  let folder: string;
  /** The database is open to all, and the web tier no longer reaches the api. */
  let changed: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'diff-'));
    changed = join(folder, 'changed.yaml');
    const text = readFileSync(POLICIES, 'utf8')
      .replace('    - from: [{ podSelector: { matchLabels: { tier: api } } }]\n', '    -\n')
      .replace(
        '- to: [{ podSelector: { matchLabels: { tier: api } } }]',
        '- to: [{ podSelector: { matchLabels: { tier: other } } }]',
      )
      .replace('    -\n      ports: [{ port: sql }]', '    - ports: [{ port: sql }]');
    writeFileSync(changed, text);
  });

  after(() => rmSync(folder, { recursive: true }));

  it('tells what is newly allowed, the outside first, and newly denied, with what decides before and after', async () => {
    const { code, out, err } = await diff('-b', THREE_TIER, '-f', APP, '-f', changed);
    assert.equal(err, '');
    assert.equal(
      out,
      `newly allowed between 2 pairs of ends, newly denied between 1 pair of ends

newly allowed
  outside -> shop/db: 5432
    ingress before: denied: the destination is isolated by shop/a-default-deny, shop/e-db, and no rule there allows this
    ingress after:  allowed by shop/e-db spec.ingress[0]
  kube-system/dns -> shop/db: 5432
    ingress before: denied: the destination is isolated by shop/a-default-deny, shop/e-db, and no rule there allows this
    ingress after:  allowed by shop/e-db spec.ingress[0]

newly denied
  shop/web -> shop/api: 8080
    egress before: allowed by shop/c-web spec.egress[0]
    egress after:  denied: the source is isolated by shop/a-default-deny, shop/b-dns, shop/c-web, and no rule there allows this
`,
    );
    assert.equal(code, 0);
  });

  it('finds nothing between a folder and itself, or in another order', async () => {
    const { code, out } = await diff(
      '-b',
      APP,
      '-b',
      POLICIES,
      '-f',
      POLICIES,
      '-f',
      APP,
      '--fail-on',
      'newly-allowed',
    );
    assert.deepEqual([code, out], [0, 'no flow changes\n']);
  });

  const failures: readonly (readonly [what: string, code: number, said: RegExp | undefined])[] = [
    ['newly-allowed', 1, /fails: newly-allowed: 2 changes\n$/],
    ['newly-denied', 1, /fails: newly-denied: 1 change\n$/],
    ['exposed', 1, /fails: exposed: shop\/db can newly be reached from outside\n$/],
    ['exposed=shop', 1, /fails: exposed: shop\/db can newly be reached from outside\n$/],
    ['exposed=kube-system', 0, undefined],
    ['cut', 0, undefined],
  ];
  for (const [what, expected, said] of failures)
    it(`--fail-on ${what}: exit code ${expected}`, async () => {
      const { code, out } = await diff('-b', THREE_TIER, '-f', APP, '-f', changed, '--fail-on', what);
      assert.equal(code, expected);
      if (said) assert.match(out, said);
      else assert.doesNotMatch(out, /fails/);
    });

  it('applies, prunes, or takes the whole', async () => {
    const open = join(folder, 'open.yaml');
    writeFileSync(
      open,
      `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: e-db, namespace: shop }
spec: { podSelector: { matchLabels: { tier: db } }, ingress: [{ ports: [{ port: sql }] }] }
`,
    );
    const applied = await diff('-b', THREE_TIER, '-f', open, '--as', 'apply');
    assert.match(applied.out, /^newly allowed between 2 pairs of ends\n/);
    const pruned = await diff('-b', THREE_TIER, '-f', open, '--as', 'prune');
    assert.match(pruned.out, /^newly allowed between 17 pairs of ends\n[\s\S]*\n {2}shop\/api -> outside: all ports\n/);
    const whole = await diff('-b', THREE_TIER, '-f', open);
    assert.match(
      whole.out,
      /^no flow changes\n\ngone: kube-system\/dns, shop\/api, shop\/db, shop\/web\nno pod is left: --as apply adds .+\n$/,
    );
  });

  it('asks the agents of a cluster for live connections', async function () {
    this.timeout(20_000);
    const scene = new UiScene();
    try {
      await scene.start();
      const { code, out, err } = await diff(...scene.access(), '-f', changed, '--agents', '--fail-on', 'cut');
      assert.equal(err, '');
      assert.match(
        out,
        /\nlive connections that would be cut: 3 of 4\n {2}shop\/.* -> shop\/api-77c9-p4d2s: 8080, 3\n/,
      );
      assert.equal(code, 1);
      const [, kubeconfig = ''] = scene.access();
      const without = await diff('--kubeconfig', kubeconfig, '-f', changed, '--agents');
      assert.match(without.err, /^! node node-1: its live connections are not counted: its agent asks for the token/);
      assert.match(without.out, /live connections that would be cut: 0 of 0\n/);
      const offline = await diff('-b', THREE_TIER, '-f', changed, '--agents');
      assert.deepEqual([offline.code, /--agents: with --base there is no cluster/.test(offline.err)], [2, true]);
    } finally {
      await scene.close();
    }
  });

  it('counts live connections that would be cut', async () => {
    const [web, api] = await addressesOf('shop/web', 'shop/api');
    const line = (state: string, port: number, to: string, at: number): string =>
      `tcp      6 431999 ${state} src=${web} dst=10.96.0.1 sport=${port} dport=80 src=${to} dst=${web} sport=${at} dport=${port} [ASSURED] mark=0 use=1`;
    const file = join(folder, 'conntrack.txt');
    const lines = [
      line('ESTABLISHED', 40001, api!, 8080),
      line('ESTABLISHED', 40002, api!, 8080),
      // Denied before as well, and one that stays.
      line('ESTABLISHED', 40003, api!, 22),
      `udp      17 20 src=${web} dst=${api} sport=5 dport=5 src=${api} dst=${web} sport=5 dport=5 mark=0 use=1`,
      'nonsense',
    ];
    writeFileSync(file, `${lines.join('\n')}\n`);
    const { code, out } = await diff(
      '-b',
      THREE_TIER,
      '-f',
      APP,
      '-f',
      changed,
      '--connections',
      file,
      '--fail-on',
      'cut',
    );
    assert.match(
      out,
      /\nlive connections that would be cut: 2 of 4; 1 more could not be judged: .*\n {2}shop\/web -> shop\/api: 8080, 2\n/,
    );
    assert.match(out, /fails: cut: 2 live connections\n$/);
    assert.equal(code, 1);
    const missing = await diff('-b', THREE_TIER, '-f', changed, '--as', 'apply', '--connections', join(folder, 'none'));
    assert.match(missing.err, /--connections: .*none/);
    assert.equal(missing.code, 2);
  });

  it('gives programs and reviews the same', async () => {
    const argv = ['-b', THREE_TIER, '-f', APP, '-f', changed] as const;
    const data = JSON.parse((await diff(...argv, '-o', 'json')).out) as Record<string, unknown>;
    assert.deepEqual([data.apiVersion, data.kind], ['portcullis.dev/v1alpha1', 'FlowDiff']);
    assert.deepEqual(parse((await diff(...argv, '-o', 'yaml')).out), data);
    const changes = data.changes as {
      readonly change: string;
      readonly ports: readonly string[];
      readonly pairs: number;
    }[];
    assert.deepEqual(
      changes.map(({ change, ports, pairs }) => [change, ports, pairs]),
      [
        ['newly-allowed', ['5432'], 1],
        ['newly-denied', ['8080'], 1],
        ['newly-allowed', ['5432'], 1],
      ],
    );
    const { out } = await diff(...argv, '-o', 'markdown');
    assert.match(out, /\| newly allowed \| outside \| shop\/db \| 5432 \| ingress before: .*<br>ingress after: /);
  });

  it('changes a cluster of a kubeconfig', async () => {
    const server = await startApiServer({ tls: false, tokens: [{ token: 'secret', user: 'me' }] });
    const kubeconfig = join(folder, 'config');
    writeFileSync(kubeconfig, kubeconfigText(server.url, undefined, 'secret'));
    try {
      const create = (kind: 'namespaces' | 'pods', object: object): unknown =>
        server.store.create(kind, object as never);
      create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
      for (const name of ['web', 'db'])
        create('pods', {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { namespace: 'shop', name, labels: { app: name } },
          spec: { nodeName: 'node-1', containers: [{ name: 'c', image: 'c' }] },
          status: { phase: 'Running', podIPs: [{ ip: name === 'web' ? '10.0.0.1' : '10.0.0.2' }] },
        });
      const deny = join(folder, 'deny.yaml');
      writeFileSync(
        deny,
        `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny, namespace: shop }
spec: { podSelector: { matchLabels: { app: db } } }
`,
      );
      const { code, out, err } = await diff(
        '--kubeconfig',
        kubeconfig,
        '-f',
        deny,
        '--to',
        'shop/db',
        '--from',
        'shop',
      );
      assert.match(
        out,
        /^newly denied between 1 pair of ends\n\nnewly denied\n {2}shop\/web -> shop\/db: all ports\n/,
        err,
      );
      assert.equal(code, 0);
    } finally {
      await server.close();
    }
  });

  const wrong: readonly (readonly [why: string, argv: readonly string[], message: RegExp])[] = [
    ['nothing that is to come', ['-b', THREE_TIER], /--file: required: the manifests that are to come/],
    ['standard input twice', ['-b', '-', '-f', '-'], /standard input \(-\) can be read but once/],
    [
      'an unknown failure',
      ['-b', THREE_TIER, '-f', THREE_TIER, '--fail-on', 'x'],
      /--fail-on: "x" is not newly-allowed, newly-denied, cut, exposed or exposed=NAMESPACE/,
    ],
  ];
  for (const [why, argv, message] of wrong)
    it(`refuses ${why}, with exit code 2`, async () => {
      const { code, out, err } = await diff(...argv);
      assert.match(err, message);
      assert.deepEqual([code, out], [2, '']);
    });

  async function addressesOf(...pods: readonly string[]): Promise<(string | undefined)[]> {
    return Promise.all(
      pods.map(async (pod) => {
        const { out } = await runCommand(['explain', '-f', THREE_TIER, pod, 'external', '-p', '1', '-o', 'json']);
        const { flows } = JSON.parse(out) as { flows: readonly { source: { addresses: readonly string[] } }[] };
        return flows[0]!.source.addresses[0];
      }),
    );
  }
});
