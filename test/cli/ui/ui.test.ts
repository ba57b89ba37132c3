/** `portcullis ui`: to whom it gives what, and in a real browser what a person sees. UI_PICTURES=folder keeps pictures. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Browser, needBrowser, type Page } from '../../support/browser.ts';
import { runCommand } from '../../support/command-line.ts';
import { DENIALS, UiScene } from '../../support/ui-scene.ts';

const THREE_TIER = join(import.meta.dirname, '../../../examples/three-tier');
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PICTURES = process.env.UI_PICTURES;

const GUARD_RAILS = {
  apiVersion: 'policy.networking.k8s.io/v1alpha2',
  kind: 'ClusterNetworkPolicy',
  metadata: { name: 'guard-rails' },
  spec: {
    tier: 'Admin',
    priority: 10,
    subject: { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } },
    ingress: [
      { action: 'Deny', from: [{ namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }] },
    ],
  },
};

interface Answer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

function ask(
  url: string,
  path: string,
  options: { readonly headers?: Record<string, string>; readonly body?: string; readonly method?: string } = {},
): Promise<Answer> {
  const { hostname, port } = new URL(url);
  const { body, method = body === undefined ? 'GET' : 'POST', headers = {} } = options;
  return new Promise((resolve, reject) => {
    const asked = request({ host: hostname, port, path, method, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: text }));
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

const tokenOf = (url: string): Record<string, string> => ({ 'x-portcullis-ui-token': new URL(url).hash.slice(1) });

describe('portcullis ui', function () {
  this.timeout(60_000);
  let scene: UiScene;

  beforeEach(() => {
    scene = new UiScene();
  });

  afterEach(() => scene.close());

  it('gives data only to who has the token and comes by a name of loopback', async () => {
    const url = await scene.ui('-f', THREE_TIER);
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/#[\w-]{32}$/);
    const { host } = new URL(url);
    const status = async (path: string, headers: Record<string, string>, method?: string): Promise<unknown> =>
      (await ask(url, path, { headers, ...(method ? { method } : {}) })).status;
    const headers = tokenOf(url);
    assert.equal(await status('/api/cluster', headers), 200);
    assert.equal(await status('/api/cluster', { ...headers, host: host.replace('127.0.0.1', 'localhost') }), 200);
    assert.equal(await status('/api/cluster', {}), 401);
    assert.equal(
      await status('/api/cluster', { 'x-portcullis-ui-token': `${headers['x-portcullis-ui-token']}x` }),
      401,
    );
    assert.equal(await status(`/api/cluster?token=${headers['x-portcullis-ui-token']}`, {}), 401);
    for (const name of [
      'attacker.example',
      `attacker.example:${new URL(url).port}`,
      '127.0.0.1',
      `127.0.0.1.attacker.example:${new URL(url).port}`,
    ]) {
      assert.equal(await status('/api/cluster', { ...headers, host: name }), 403, name);
      assert.equal(await status('/', { host: name }), 403, name);
    }
    assert.equal(await status('/etc/passwd', headers), 404);
    assert.equal(await status('/constructor', headers), 404);
    assert.equal(await status('/api/cluster', headers, 'DELETE'), 405);
  });

  it('serves a page that may load nothing and be framed by nobody, without data in it', async () => {
    const url = await scene.ui('-f', THREE_TIER);
    const { status, headers, body } = await ask(url, '/');
    assert.equal(status, 200);
    assert.match(
      String(headers['content-security-policy']),
      /^default-src 'none'; .*connect-src 'self'; script-src 'sha256-.*frame-ancestors 'none'$/,
    );
    assert.deepEqual(
      [headers['referrer-policy'], headers['cache-control'], headers['access-control-allow-origin']],
      ['no-referrer', 'no-store', undefined],
    );
    assert.doesNotMatch(body, /shop|https?:\/\//);
  });

  it('tells what is wrong with an edit, and takes no endless one', async () => {
    const url = await scene.ui('-f', THREE_TIER);
    const whatIf = async (
      yaml: string,
      without = '',
    ): Promise<{ readonly problems: readonly string[]; readonly matrix?: object }> => {
      const { body } = await ask(url, '/api/what-if', {
        headers: tokenOf(url),
        body: JSON.stringify({ yaml, without }),
      });
      return JSON.parse(body) as { problems: string[] };
    };
    const broken = await whatIf('kind: [');
    assert.deepEqual([broken.problems.length, broken.matrix], [1, undefined]);
    const meta = 'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { namespace: shop, name: p }\n';
    const odd = await whatIf(`${meta}spec: { podSelector: {}, ingres: [] }`);
    assert.deepEqual(odd.problems, ['spec.ingres: is a field this agent does not know']);
    assert.deepEqual((await whatIf('apiVersion: v1\nkind: Pod\nmetadata: { namespace: shop, name: p }')).problems, [
      'only NetworkPolicy and ClusterNetworkPolicy objects are looked at',
    ]);
    assert.deepEqual((await whatIf('', 'shop/e-db')).problems, []);
    const { status, body } = await ask(url, '/api/what-if', {
      headers: tokenOf(url),
      body: 'x'.repeat(1024 * 1024 + 1),
    });
    assert.deepEqual([status, body], [500, 'more than 1048576 bytes\n']);
  });

  it('names a port that is taken, and objects that cannot be read, with exit code 1', async () => {
    const { port } = new URL(await scene.ui('-f', THREE_TIER));
    const taken = await runCommand(['ui', '-f', THREE_TIER, '--port', port]);
    assert.deepEqual([taken.code, taken.out], [1, '']);
    assert.match(taken.err, /^portcullis ui: listen EADDRINUSE.*; choose another with --port\n$/);
    assert.equal((await runCommand(['ui', '-f', '/nowhere'])).code, 1);
  });

  it('goes on without agents, and says why there is nothing of them', async () => {
    await scene.start();
    const url = await scene.ui('--agent-selector', 'app=nobody');
    const { status, body } = await ask(url, '/api/agents', { headers: tokenOf(url) });
    const { nodes, problems } = JSON.parse(body) as { nodes: unknown[]; problems: string[] };
    assert.deepEqual([status, nodes], [200, []]);
    assert.match(problems[0]!, /^no agent: namespace kube-system has no pod with app=nobody/);
  });
});

describe('the page of portcullis ui', function () {
  this.timeout(120_000);
  let scene: UiScene;
  let browser: Browser;
  let page: Page;
  let url: string;

  before(async function () {
    needBrowser(this);
    browser = Browser.start();
    scene = new UiScene();
    await scene.start();
    url = await scene.ui();
    page = await browser.open(1280, 800);
  });

  after(async () => {
    await browser?.close();
    await scene?.close();
  });

  afterEach(() => {
    const { complaints, requests } = page;
    assert.deepEqual(complaints, []);
    const own = new URL(url).origin;
    assert.deepEqual(
      requests.filter((each) => !each.startsWith(`${own}/`) && !each.startsWith('data:') && each !== 'about:blank'),
      [],
    );
  });

  /** Waits until the expression is true in the page. */
  async function until(expression: string): Promise<void> {
    for (let tries = 0; tries < 600; tries++) {
      if (await page.ask<boolean>(`!!(${expression})`)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.fail(`never: ${expression}\n${await page.ask<string>('document.body.innerText')}`);
  }

  async function show(tab: string, ready: string): Promise<void> {
    await until(`document.querySelector('[data-tab="${tab}"]')`);
    await page.ask(`document.querySelector('[data-tab="${tab}"]').click()`);
    await until(ready);
  }

  const texts = (selector: string): Promise<string[]> =>
    page.ask(
      `[...document.querySelectorAll('${selector}')].map((each) => each.innerText.replaceAll(/\\s+/g, ' ').trim())`,
    );

  it('shows the matrix of the cluster', async () => {
    await page.go(url);
    await until(`document.querySelectorAll('[role=gridcell]').length > 40`);
    const labels = await page.ask<string[]>(
      `[...document.querySelectorAll('[role=gridcell]')].map((cell) => cell.ariaLabel)`,
    );
    assert.ok(labels.includes('shop/tier=web to shop/api-77c9-p4d2s: allowed: 8080'), labels.join('\n'));
    assert.ok(labels.includes('shop/tier=web to shop/db-0: nothing is allowed'));
  });

  it('offers a newer matrix, and shows it when that is asked for', async () => {
    scene.api.store.delete('networkpolicies', { namespace: 'shop', name: 'e-db' });
    await until(`document.querySelector('.newer')`);
    await page.ask(`document.querySelector('.newer').click()`);
    await until(`document.querySelector('[aria-label="shop/api-77c9-p4d2s to shop/db-0: nothing is allowed"]')`);
  });

  it('shows policies with modes and counts', async () => {
    await show('policies', `document.querySelectorAll('tbody tr').length === 4`);
    await until(`document.querySelector('tbody').innerText.includes('48,213')`);
    assert.deepEqual(await texts('tbody tr'), [
      'shop/a-default-deny enforce 4 closed closed 0 37 0 What if',
      'shop/b-dns enforce 4 – 1 rule 0 0 0 What if',
      'shop/c-web enforce 2 1 rule 1 rule 48,213 0 0 What if',
      'shop/d-api enforce 1 1 rule 1 rule 0 0 4 What if',
    ]);
    await page.ask(
      `{ const field = document.querySelector('[data-part=search]'); field.value = 'DNS'; field.dispatchEvent(new Event('input')); }`,
    );
    assert.equal((await texts('tbody tr')).length, 1);
  });

  it('shows cluster-wide policies with tier and priority, their counts, and takes an edit of one', async () => {
    scene.api.store.create('clusternetworkpolicies', GUARD_RAILS as never);
    await show('policies', `document.querySelectorAll('tbody tr').length === 5`);
    await until(`document.querySelector('tbody tr').innerText.includes('311')`);
    assert.equal((await texts('tbody tr'))[0], 'Admin 10 guard-rails enforce 4 1 rule – 311 29 0 What if');
    await page.ask(`document.querySelector('[aria-label="What if cluster-wide Admin guard-rails"]').click()`);
    await until(`document.querySelector('[data-part=yaml]').value.includes('ClusterNetworkPolicy')`);
    await page.ask(`{ const field = document.querySelector('[data-part=yaml]');
      field.value = field.value.replace('action: Deny', 'action: Accept'); field.dispatchEvent(new Event('input')); }`);
    await until(`document.querySelector('[aria-label="monitoring/scraper-0 to shop/tier=web: newly allowed"]')`);
    scene.api.store.delete('clusternetworkpolicies', { name: 'guard-rails' });
  });

  it('shows drops as they come, why, and what would allow them; texts are texts', async () => {
    await show('drops', `document.querySelectorAll('.drop').length === 3`);
    const [first] = await texts('.drop summary');
    assert.equal(first, '10:12:41 denied shop/web-5d8f-k2x9p→shop/db-0 TCP 5432 ingress on node-2 3 packets');
    await page.ask(`document.querySelector('.drop summary').click()`);
    await until(`document.querySelector('.drop[open] .why li')`);
    assert.deepEqual(await texts('.drop[open] .why li'), [
      'shop/a-default-deny no rules: allows nothing',
      'shop/e-db ingress[0]: pod label tier=web is not api',
    ]);
    assert.match((await texts('.drop[open] .remedy'))[0]!, /^To allow it, .*tier: web/);
    const [known] = DENIALS;
    const hostile = { policy: 'shop/x', why: '<img src=x onerror="document.title=1">' };
    scene.denials = [{ ...known!, time: '2026-05-04T10:13:00.000Z', port: 99, policies: [hostile] }, ...DENIALS];
    await until(`document.querySelectorAll('.drop').length === 4`);
    assert.ok(
      await page.ask(`document.querySelector('.drop[open]').innerText.includes('TCP 5432')`),
      'what was open stays open',
    );
    assert.equal(await page.ask(`document.querySelectorAll('img').length`), 0);
    assert.ok((await texts('.drop'))[0]!.includes('TCP 99'));
  });

  it('shows nodes, and which of them lag behind', async () => {
    await show('nodes', `document.querySelectorAll('tbody tr').length === 3`);
    assert.deepEqual(await texts('tbody tr'), [
      'node-1 in force enforce 41 2026-05-04 10:02:11 0 s 0.1.0',
      'node-2 in force enforce 41 2026-05-04 10:02:11 0 s 0.1.0',
      'node-3 behind cut off from the API server for 12 s: connection refused enforce 41 2026-05-04 10:02:11 12.3 s 0.1.0',
    ]);
  });

  it('shows what an edit would change while it is typed, and what is wrong with it', async () => {
    await show('policies', `document.querySelectorAll('tbody tr').length > 0`);
    await page.ask(
      `[...document.querySelectorAll('tbody button')].find((each) => each.ariaLabel === 'What if shop/c-web').click()`,
    );
    await until(`document.querySelector('[data-part=yaml]').value.includes('name: c-web')`);
    const edit = (from: string, to: string): Promise<void> =>
      page.ask(`{ const field = document.querySelector('[data-part=yaml]');
        field.value = field.value.replace(${JSON.stringify(from)}, ${JSON.stringify(to)}); field.dispatchEvent(new Event('input')); }`);
    await edit('port: http', 'port: 8443');
    await until(`document.querySelector('[aria-label^="outside to shop/tier=web"]')`);
    const labels = await page.ask<string[]>(
      `[...document.querySelectorAll('[role=gridcell]')].map((cell) => cell.ariaLabel)`,
    );
    assert.ok(
      labels.includes('outside to shop/tier=web: partly newly allowed, partly newly denied'),
      labels.join('\n'),
    );
    await edit('kind: NetworkPolicy', 'kind: [');
    await until(`document.querySelector('.problems li')`);
    await page.ask(`document.querySelector('[data-part=gone]').click()`);
    await until(`document.querySelectorAll('.problems li').length === 0`);
    await until(`document.querySelector('[aria-label^="shop/tier=web to shop/api"]')`);
  });

  for (const scheme of ['light', 'dark'] as const)
    it(`can be used by everybody, in ${scheme} colours`, async () => {
      await page.prefer(scheme);
      await page.go('about:blank');
      await page.go(url);
      for (const tab of ['matrix', 'policies', 'drops', 'what-if', 'nodes']) {
        const ready =
          tab === 'matrix' || tab === 'what-if'
            ? `document.querySelector('.pm')`
            : `document.querySelector('.body > :not(.empty)')`;
        await show(tab, ready);
        if (tab === 'what-if') {
          await page.ask(`{ const choice = document.querySelector('[data-part=choice]');
            choice.value = 'shop/c-web'; choice.dispatchEvent(new Event('change')); }`);
          await page.ask(`{ const field = document.querySelector('[data-part=yaml]');
            field.value = field.value.replace('port: http', 'port: 8443'); field.dispatchEvent(new Event('input')); }`);
          await until(`document.querySelector('[role=gridcell]')`);
          await page.ask(`document.querySelector('[role=gridcell]').click()`);
        }
        if (tab === 'drops') await page.ask(`document.querySelector('.drop').open = true`);
        if (PICTURES) writeFileSync(join(PICTURES, `${tab}-${scheme}.png`), await page.picture());
        await page.ask(AXE);
        const found = await page.ask<{ id: string; targets: string[] }[]>(
          `axe.run().then(({ violations }) => violations.map(({ id, nodes }) => ({ id, targets: nodes.map((node) => node.html) })))`,
        );
        assert.deepEqual(found, [], tab);
      }
    });

  it('has no drops and nodes where it is about manifests', async () => {
    const offline = await scene.ui('-f', THREE_TIER);
    const other = await browser.open(1280, 800);
    await other.go(offline);
    for (
      let tries = 0;
      tries < 100 && !(await other.ask(`document.querySelector('.source').innerText !== ''`));
      tries++
    )
      await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(
      await other.ask(`[...document.querySelectorAll('.tabs button')].map((each) => each.dataset.tab)`),
      ['matrix', 'policies', 'what-if'],
    );
    assert.deepEqual(other.complaints, []);
  });
});
