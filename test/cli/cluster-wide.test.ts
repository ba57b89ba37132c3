/** Cluster-wide policies in what matrix, diff, recommend and ui say, on the example of guard rails. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../support/command-line.ts';
import { UiScene } from '../support/ui-scene.ts';

const EXAMPLE = join(import.meta.dirname, '../../examples/cluster-wide');
const GUARD_RAILS = readFileSync(join(EXAMPLE, '02-guard-rails.yaml'), 'utf8');
const MONITORING = 'ClusterNetworkPolicy guard-rails (Admin) spec.ingress[0] "monitoring reaches everybody"';
const BLOG = 'ClusterNetworkPolicy guard-rails (Admin) spec.ingress[2] "the blog keeps to itself"';

describe('cluster-wide policies in what commands say of flows', () => {
  let folder: string;
  /** The example without its cluster-wide policies. */
  let tenants: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'cluster-wide-'));
    tenants = mkdtempSync(join(folder, 'tenants-'));
    for (const file of readdirSync(EXAMPLE).filter((name) => /^0[01]/.test(name)))
      copyFileSync(join(EXAMPLE, file), join(tenants, file));
  });
  after(() => rmSync(folder, { recursive: true }));

  function write(name: string, text: string): string {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  }

  it('matrix: tiers decide first, and the summary counts whom they concern', async () => {
    const { code, out, err } = await runCommand(['matrix', '-f', EXAMPLE]);
    assert.deepEqual([code, err], [0, '']);
    assert.equal(
      out.split('\n\n').slice(0, 2).join('\n\n'),
      `4 pods in 4 groups; isolated for egress: 0, for ingress: 2; under cluster-wide policies: 3

                        1    2    3    4    5
  1 blog/web                 all  -    -    all
  2 monitoring/scraper  all       all  all  all
  3 shop/db             -    all       all  all
  4 shop/web            -    all  all       all
  5 outside             all  all  -    -`,
    );
  });

  it('matrix: data names the rule that decided, and those that handed the flow on', async () => {
    const { out } = await runCommand(['matrix', '-f', EXAMPLE, '--to', 'shop/web', '-o', 'json']);
    const { verdicts } = JSON.parse(out) as { verdicts: readonly Record<string, unknown>[] };
    const rule = (index: number, name: string): object => ({
      policy: { namespace: '', name: 'guard-rails', tier: 'Admin' },
      direction: 'ingress',
      index,
      name,
    });
    const find = (part: object): unknown =>
      verdicts.find((verdict) => Object.entries(part).every(([key, value]) => verdict[key] === value));
    const denied = find({ verdict: 'tier-rule', action: 'Deny' }) as { by: object[] };
    assert.deepEqual(denied.by, [rule(2, 'the blog keeps to itself')]);
    const allowed = find({ verdict: 'allowed' }) as { passedBy: object[] };
    assert.deepEqual(allowed.passedBy, [rule(1, 'within a tenant its own policies decide')]);
    const csv = (await runCommand(['matrix', '-f', EXAMPLE, '--from', 'blog', '--to', 'shop/db', '-o', 'csv'])).out;
    assert.ok(csv.includes(`denied by ${BLOG.replaceAll('"', '""')}`), csv);
  });

  it('diff: what a tier opens and cuts, by the rules that do', async () => {
    const { out } = await runCommand(['diff', '-b', tenants, '-f', EXAMPLE]);
    assert.match(out, /^newly allowed between 1 pair of ends, newly denied between 3 pairs of ends\n/);
    assert.ok(out.includes(`monitoring/scraper -> shop/db: all ports\n`), out);
    assert.ok(out.includes(`    ingress after:  accepted by ${MONITORING}\n`), out);
    assert.ok(out.includes(`    ingress after:  denied by ${BLOG}\n`), out);
  });

  it('diff: what one rule of a tier changes is told once, whichever policies decided before', async () => {
    const alone = GUARD_RAILS.replace('{ team: platform }', '{ tenant: blog }');
    const { out } = await runCommand([
      'diff',
      '-b',
      tenants,
      '-f',
      write('alone.yaml', alone),
      '--as',
      'apply',
      '--to',
      'shop',
    ]);
    assert.match(out, /^newly allowed between 1 pair/);
    const closed = write(
      'closed-web.yaml',
      `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec: { podSelector: { matchLabels: { app: web } }, policyTypes: [Ingress] }
`,
    );
    const both = [
      'diff',
      '-b',
      tenants,
      '-b',
      closed,
      '-f',
      write('alone.yaml', alone),
      '--as',
      'apply',
      '--to',
      'shop',
    ];
    const merged = (await runCommand(both as [string, ...string[]])).out;
    assert.match(
      merged,
      /\n {2}blog\/web -> shop\/db, shop\/web: all ports \(2 pairs of pods\)\n {4}ingress before: denied: .* allows this, of others by their own policies\n {4}ingress after: {2}accepted by ClusterNetworkPolicy guard-rails/,
    );
  });

  it('diff: counts live connections that a tier would cut', async () => {
    const flow = JSON.stringify({ source: 'blog/web', destination: 'shop/web', protocol: 'TCP', port: 80, count: 3 });
    const connections = ['--connections', write('live', `${flow}\n`), '--fail-on', 'cut'];
    const { code, out } = await runCommand(['diff', '-b', tenants, '-f', EXAMPLE, ...connections]);
    assert.equal(code, 1);
    assert.ok(out.includes('live connections that would be cut: 3 of 3\n  blog/web -> shop/web: 80, 3\n'), out);
  });

  it('diff: applied to what is there, pruned or not', async () => {
    const moved = write('moved.yaml', GUARD_RAILS.replace('tier: Admin', 'tier: Baseline'));
    const changes = async (...argv: readonly string[]): Promise<unknown> => {
      const { out } = await runCommand(['diff', '-b', EXAMPLE, '-f', moved, '-o', 'json', ...argv]);
      const { changes: found } = JSON.parse(out) as Record<
        'changes',
        { source: { name: string; namespace: string } }[]
      >;
      const lines = found.map(({ source, ...rest }) => {
        const { change, destination } = rest as unknown as { change: string; destination: typeof source };
        return `${change} ${source.namespace}/${source.name} ${destination.namespace}/${destination.name}`;
      });
      return lines.sort();
    };
    // Of equal priorities the name decides: the other one denies (N-67).
    const toBlog = 'newly-denied monitoring/scraper blog/web';
    const applied = ['newly-allowed blog/web shop/web', toBlog, 'newly-denied monitoring/scraper shop/db'];
    assert.deepEqual(await changes('--as', 'apply'), applied);
    // Other policies of the whole cluster go as well.
    const pruned = ['newly-allowed shop/db blog/web', 'newly-allowed shop/web blog/web'];
    const kept = applied.filter((change) => change !== toBlog);
    assert.deepEqual(await changes('--as', 'prune'), [...kept, ...pruned].sort());
  });

  it('explain: of a denial by NetworkPolicies the rules that passed the flow on to them are named', async () => {
    const closed = write(
      'closed.yaml',
      `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec: { podSelector: { matchLabels: { app: web } }, policyTypes: [Ingress] }
`,
    );
    const argv = ['-f', EXAMPLE, '-f', closed, 'shop/db', 'shop/web', '--port', '80'];
    const { out } = await runCommand(['explain', ...argv]);
    assert.match(
      out,
      /no rules: allows nothing\n {4}passed on by ClusterNetworkPolicy guard-rails \(Admin\) spec\.ingress\[1\]/,
    );
  });

  it('explain: what a Service leads to is judged at the pod and its port, not at the Service (N-46, N-52)', async () => {
    const deny = (peer: string, port: number): string => `apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: judged }
spec:
  tier: Admin
  priority: 1
  subject: { namespaces: {} }
  egress: [{ action: Deny, to: [${peer}], protocols: [{ tcp: { destinationPort: { number: ${port} } } }] }]
---
apiVersion: v1
kind: Service
metadata: { name: db, namespace: shop }
spec: { clusterIP: 10.96.0.9, selector: { app: db }, ports: [{ port: 8000, targetPort: 80 }] }
`;
    const code = async (peer: string, port: number): Promise<number> => {
      const file = write('judged.yaml', deny(peer, port));
      return (await runCommand(['explain', '-f', tenants, '-f', file, 'shop/web', 'shop/service/db'])).code;
    };
    assert.deepEqual([await code('{ namespaces: {} }', 8000), await code('{ namespaces: {} }', 80)], [0, 1]);
    assert.deepEqual(
      [await code('{ networks: [10.96.0.9/32] }', 80), await code('{ networks: [198.18.0.0/15] }', 80)],
      [0, 1],
    );
  });

  it('explain: a pod reaches itself by way of a Service as the rules say, and its own address always (N-71)', async () => {
    const own = write(
      'own.yaml',
      `apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, ports: [{ port: 8000, targetPort: 80 }] }
---
${GUARD_RAILS.replace('name: guard-rails', 'name: alone').replace('{ team: platform }', '{ tenant: shop }').replace('Accept', 'Deny').replace('priority: 10', 'priority: 5')}`,
    );
    const objects = ['-f', EXAMPLE, '-f', own, 'shop/web'];
    const service = await runCommand(['explain', ...objects, 'shop/service/web']);
    assert.equal(service.code, 1);
    assert.equal(
      service.out,
      `shop/web -> shop/web TCP 80 (to itself by way of the Service, port 8000 of the Service): denied
  egress: open: a pod always reaches its own address
  ingress: denied by ClusterNetworkPolicy alone (Admin) spec.ingress[0] "monitoring reaches everybody"
`,
    );
    const address = await runCommand(['explain', ...objects, 'shop/web', '--port', '80']);
    assert.deepEqual([address.code, address.out.split('\n')[0]], [0, 'shop/web -> shop/web TCP 80: allowed']);
    // Live connections of a pod with itself came by way of a Service.
    const line = JSON.stringify({ source: 'shop/web', destination: 'shop/web', protocol: 'TCP', port: 80 });
    const diff = ['-b', EXAMPLE, '-f', own, '--as', 'apply', '--connections', write('own-live', `${line}\n`)];
    assert.match(
      (await runCommand(['diff', ...diff])).out,
      /live connections that would be cut: 1 of 1\n {2}shop\/web -> shop\/web: 80, 1/,
    );
  });

  it('recommend: what tier Admin accepts needs no rule, what it denies no rule lets through', async () => {
    const flow = (source: string, destination: string): string =>
      `${JSON.stringify({ source, destination, protocol: 'TCP', port: 80 })}\n`;
    const seen = [flow('monitoring/scraper', 'shop/db'), flow('blog/web', 'shop/web'), flow('shop/web', 'shop/db')];
    const argv = ['-f', EXAMPLE, '--flows', write('seen', seen.join('')), '--from-scratch', '--direction', 'ingress'];
    const { code, out, err } = await runCommand(['recommend', ...argv, '-o', 'json']);
    assert.equal(code, 1);
    const { policies, denied } = JSON.parse(out) as {
      policies: { policy: { metadata: object; spec: object } }[];
      denied: string[];
    };
    const ingress = policies.map(({ policy: { metadata, spec } }) => [
      (metadata as { name: string }).name,
      (spec as { ingress: object[] }).ingress.length,
    ]);
    assert.deepEqual(ingress, [
      ['allow-db', 1],
      ['allow-web', 0],
    ]);
    assert.equal(denied.length, 1);
    assert.match(
      denied[0]!,
      /^blog\/web \(.*\) to shop\/web \(.*\), TCP 80, ingress by ClusterNetworkPolicy guard-rails \(Admin\)/,
    );
    assert.match(err, /^! stays denied by policies that are there: blog\/web \(/m);
  });

  it('recommend: where Baseline accepted, the policy that isolates the pod has a rule for it (N-65)', async () => {
    const baseline = write('baseline.yaml', GUARD_RAILS.replace('tier: Admin', 'tier: Baseline'));
    const seen = JSON.stringify({ source: 'monitoring/scraper', destination: 'blog/web', protocol: 'TCP', port: 80 });
    const objects = ['-f', tenants, '-f', baseline];
    const argv = [...objects, '--flows', write('seen', `${seen}\n`), '--direction', 'ingress'];
    const { code, out } = await runCommand(['recommend', ...argv]);
    assert.equal(code, 0);
    assert.match(out, /namespace: blog\n {2}name: allow-web\n(.*\n)*.*kubernetes\.io\/metadata\.name: monitoring\n/);
  });
});

describe('cluster-wide policies in portcullis ui', function () {
  this.timeout(60_000);
  let scene: UiScene;
  let url: string;

  before(async () => {
    scene = new UiScene();
    url = await scene.ui('-f', EXAMPLE);
  });
  after(() => scene.close());

  async function ask<T>(path: string, body?: object): Promise<T> {
    const headers = { 'x-portcullis-ui-token': new URL(url).hash.slice(1) };
    const post = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    return (await (await fetch(new URL(path, url), { headers, ...post })).json()) as T;
  }

  it('are listed in the order in which they are asked, above those of namespaces', async () => {
    const { policies } = await ask<{ policies: readonly Record<string, unknown>[] }>('/api/cluster');
    assert.deepEqual(
      policies.map(({ namespace, name, tier, priority, pods, ingress, egress }) => {
        return [namespace, name, tier, priority, pods, ingress, egress];
      }),
      [
        ['', 'guard-rails', 'Admin', 10, 3, 3, undefined],
        ['', 'defaults', 'Baseline', 10, 1, 1, undefined],
        ['shop', 'db', undefined, undefined, 1, 1, undefined],
        ['shop', 'web', undefined, undefined, 1, 1, undefined],
      ],
    );
    assert.match(String(policies[0]!.yaml), /^apiVersion: policy\.networking\.k8s\.io\/v1alpha2\nkind: Cluster/);
  });

  it('may be edited or taken away to see what would change, and what is wrong is said', async () => {
    interface Answer {
      readonly problems: readonly string[];
      readonly matrix: { readonly summary: string; readonly worlds: readonly object[] };
    }
    const deny = GUARD_RAILS.replace('action: Accept', 'action: Deny');
    const edited = await ask<Answer>('/api/what-if', { yaml: deny, without: '' });
    assert.deepEqual(edited.problems, []);
    const [was, is] = edited.matrix.worlds.map((world) => JSON.stringify(world));
    assert.notEqual(was, is);
    const gone = await ask<Answer>('/api/what-if', { yaml: '', without: '/guard-rails' });
    assert.equal(new Set(gone.matrix.worlds.map((world) => JSON.stringify(world))).size, 2);
    const odd = await ask<Answer>('/api/what-if', { yaml: GUARD_RAILS.replace('Accept', 'Allow'), without: '' });
    assert.match(
      odd.problems.join(),
      /^spec\.ingress\[0\]\.action: is "Allow", not Accept, Deny or Pass: the rule denies/,
    );
  });
});
