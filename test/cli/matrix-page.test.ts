/** The page of `portcullis matrix -o html`, in a real browser: what it shows, how it is used, and that it asks nobody for anything. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ClusterModel, podObject } from '../../bench/cluster-model.ts';
import { Browser, needBrowser, type Page } from '../support/browser.ts';
import { runCommand } from '../support/command-line.ts';

const THREE_TIER = fileURLToPath(new URL('../../examples/three-tier', import.meta.url));
const CLUSTER_WIDE = fileURLToPath(new URL('../../examples/cluster-wide', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

describe('the page of portcullis matrix', function () {
  this.timeout(120_000);
  let folder: string;
  let browser: Browser;

  before(function () {
    needBrowser(this);
    folder = mkdtempSync(join(tmpdir(), 'matrix-page-'));
    browser = Browser.start();
  });

  after(async () => {
    await browser?.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  const pages: Page[] = [];

  afterEach(() => {
    for (const { complaints, requests } of pages.splice(0)) {
      assert.deepEqual(complaints, []);
      assert.deepEqual(
        requests.filter((url) => !url.startsWith(`file://${folder}/`) && !url.startsWith('data:')),
        [],
      );
    }
  });

  const open = async (...argv: readonly string[]): Promise<Page> => openOf('matrix', ...argv);

  const openOf = async (command: 'matrix' | 'diff', ...argv: readonly string[]): Promise<Page> => {
    const { code, out, err } = await runCommand([command, ...argv, '-o', 'html']);
    assert.deepEqual([code, err], [0, '']);
    const file = join(folder, `${pages.length}.html`);
    writeFileSync(file, out);
    const page = await browser.open(1280, 800);
    pages.push(page);
    await page.go(`file://${file}`);
    return page;
  };

  const labels = (page: Page): Promise<string[]> =>
    page.ask(`[...document.querySelectorAll('[role=gridcell]')].map((cell) => cell.ariaLabel)`);
  const type = (page: Page, part: string, value: string): Promise<void> =>
    page.ask(`{ const field = document.querySelector('[data-part="${part}"]');
      field.value = ${JSON.stringify(value)}; field.dispatchEvent(new Event('input', { bubbles: true })); }`);
  const text = (page: Page, part: string): Promise<string> =>
    page.ask(`document.querySelector('[data-part="${part}"]').innerText`);
  const focused = (page: Page): Promise<string> =>
    page.ask(`document.activeElement.ariaLabel ?? document.activeElement.dataset.part`);

  it('says of each cell what the command says', async () => {
    const page = await open('-f', THREE_TIER);
    const { out } = await runCommand(['matrix', '-f', THREE_TIER, '-o', 'markdown']);
    const [head, , ...rows] = out
      .trim()
      .split('\n')
      .map((line) =>
        line
          .split('|')
          .slice(1, -1)
          .map((each) => each.trim()),
      );
    const said: Readonly<Record<string, string>> = {
      '': 'no policy is asked',
      '-': 'nothing is allowed',
      all: 'allowed: all',
    };
    const expected = rows.flatMap(([from, ...cells]) =>
      cells.map((cell, index) => `${from} to ${head![index + 1]}: ${said[cell] ?? `allowed: ${cell}`}`),
    );
    assert.equal(expected.length, 25);
    assert.deepEqual(await labels(page), expected);
  });

  it('says which rules of tiers decide, and which handed the flow on', async () => {
    const page = await open('-f', CLUSTER_WIDE);
    const describe = async (label: string): Promise<string> => {
      await page.ask(`document.querySelector('[aria-label^="${label}:"]').click()`);
      return text(page, 'details');
    };
    assert.match(await text(page, 'summary'), /under cluster-wide policies: 3/);
    const denied = await describe('blog/web to shop/web');
    assert.match(
      denied,
      /denied by ClusterNetworkPolicy guard-rails \(Admin\) spec\.ingress\[2\] "the blog keeps to itself"/,
    );
    const passed = await describe('shop/db to shop/web');
    assert.match(passed, /allowed by shop\/web ingress\[0\]; passed on by ClusterNetworkPolicy guard-rails \(Admin\)/);
    const accepted = await describe('monitoring/scraper to shop/db');
    assert.match(accepted, /^allowed$/m);
    assert.match(accepted, /accepted by ClusterNetworkPolicy guard-rails/);
  });

  it('is searched and filtered, by end, namespace and port', async () => {
    const page = await open('-f', THREE_TIER);
    await type(page, 'from', 'WEB');
    await type(page, 'to', 'api');
    assert.deepEqual(await labels(page), ['shop/web to shop/api: allowed: 8080']);
    await type(page, 'to', 'nobody');
    assert.equal(await page.ask(`document.querySelector('.empty').innerText`), 'Nobody has that name.');
    await type(page, 'to', '');
    await type(page, 'from', '');
    await type(page, 'namespace', 'kube-system');
    assert.deepEqual(await labels(page), [
      'kube-system/dns to kube-system/dns: no policy is asked',
      'kube-system/dns to outside: allowed: all',
      'outside to kube-system/dns: allowed: all',
      'outside to outside: no policy is asked',
    ]);
    await type(page, 'namespace', 'shop');
    const port = await page.ask<string>(
      `[...document.querySelectorAll('[data-part=port] option')].find((each) => each.text === '5432').value`,
    );
    await type(page, 'port', port);
    assert.deepEqual(
      (await labels(page)).filter((label) => /: allowed/.test(label)),
      ['shop/api to shop/db: allowed: all'],
    );
  });

  it('is walked through by keyboard, and tells of a cell which policies decide', async () => {
    const page = await open('-f', THREE_TIER);
    await page.ask(`document.querySelector('[data-part=unfold]').focus()`);
    await page.press('Tab');
    assert.equal(await focused(page), 'kube-system/dns to kube-system/dns: no policy is asked');
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowUp', 'ArrowRight', 'ArrowRight']) await page.press(key);
    assert.equal(await focused(page), 'shop/api to shop/db: allowed: 5432');
    await page.press('Enter');
    assert.equal(await focused(page), 'shop/api to shop/db: allowed: 5432');
    const told = await text(page, 'details');
    assert.match(told, /^shop\/api → shop\/db\n/);
    assert.match(
      told,
      /5432\nallowed\negress\nallowed by shop\/d-api egress\[0\]\ningress\nallowed by shop\/e-db ingress\[0\]/,
    );
    assert.match(
      told,
      /denied\negress\ndenied: isolated by shop\/a-default-deny, shop\/b-dns, shop\/d-api, and no rule there allows this/,
    );
    assert.match(told, /portcullis explain shop\/api shop\/db --port 5432/);
    await page.press('Home', 2);
    assert.equal(await focused(page), 'kube-system/dns, 1 pod');
    await page.press('Enter');
    assert.equal(await focused(page), 'namespace kube-system, 1 groups, 1 pod, folded');
    await page.press('End', 2);
    assert.equal(await focused(page), 'outside to outside: no policy is asked');
    // One cell alone is reached by Tab.
    assert.equal(await page.ask(`document.querySelectorAll('[role=grid] [tabindex="0"]').length`), 1);
  });

  for (const scheme of ['light', 'dark'] as const)
    it(`is without fault for axe in ${scheme} colours`, async () => {
      const page = await open('-f', THREE_TIER);
      await page.prefer(scheme);
      await page.ask(`document.querySelectorAll('[role=gridcell]')[8].click()`);
      const paper = await page.ask<string>(`getComputedStyle(document.querySelector('.pm')).backgroundColor`);
      assert.equal(paper, scheme === 'light' ? 'rgb(251, 252, 253)' : 'rgb(20, 23, 28)');
      await page.ask(AXE);
      const found = await page.ask<{
        violations: { id: string; nodes: { html: string }[] }[];
        passes: { id: string }[];
      }>(`axe.run(document, { resultTypes: ['violations', 'passes'] })`);
      assert.deepEqual(
        found.violations.map(({ id, nodes }) => [id, nodes.slice(0, 3).map(({ html }) => html)]),
        [],
      );
      const passed = found.passes.map(({ id }) => id);
      for (const id of ['color-contrast', 'aria-required-children', 'label', 'select-name'])
        assert.ok(passed.includes(id), id);
      await type(page, 'scheme', scheme === 'light' ? 'dark' : 'light');
      assert.notEqual(await page.ask(`getComputedStyle(document.querySelector('.pm')).backgroundColor`), paper);
    });

  it('shows what a change of policies changes, and nothing else unless that is asked', async () => {
    const open5432 = join(folder, 'changed.yaml');
    const policies = readFileSync(join(THREE_TIER, '01-policies.yaml'), 'utf8');
    writeFileSync(
      open5432,
      policies.replace(
        '{ tier: api } } }]\n      ports: [{ port: sql }]',
        '{ tier: web } } }]\n      ports: [{ port: sql }]',
      ),
    );
    assert.notEqual(readFileSync(open5432, 'utf8'), policies);
    const page = await openOf('diff', '-b', THREE_TIER, '-f', open5432, '--as', 'apply');
    assert.deepEqual(await labels(page), ['shop/api to shop/db: newly denied']);
    await page.ask(`document.querySelector('[role=gridcell]').click()`);
    assert.match(
      await text(page, 'details'),
      /5432\nnewly denied\nbefore: egress\nallowed by shop\/d-api egress\[0\]\nbefore: ingress\nallowed by shop\/e-db ingress\[0\]\nafter: egress\n.*\nafter: ingress\ndenied: isolated by/,
    );
    await page.ask(AXE);
    const { violations } = await page.ask<{ violations: { id: string }[] }>(
      `axe.run(document, { resultTypes: ['violations'] })`,
    );
    assert.deepEqual(
      violations.map(({ id }) => id),
      [],
    );
    await page.ask(`document.querySelector('[data-part=changes] input').click()`);
    assert.equal((await labels(page)).length, 25);
    assert.equal((await labels(page)).filter((label) => label.includes('unchanged')).length, 19);
  });

  it('text of a cluster is text, whatever it looks like', async () => {
    const file = join(folder, 'odd.json');
    const name = `</script><img src=x onerror="document.title='run'">`;
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'a', namespace: 'n', ownerReferences: [{ kind: 'Job', name, controller: true }] },
      spec: {},
    };
    const other = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'b', namespace: 'n' }, spec: {} };
    writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [pod, other] }));
    const page = await open('-f', file);
    assert.equal(await page.ask(`document.title`), 'Who may reach whom');
    assert.equal(await page.ask(`document.querySelectorAll('img').length`), 0);
    assert.ok((await labels(page)).includes(`n/${name} to n/b: allowed: all`));
  });

  it('shows 10,000 pods: what is in view is there, and the last row in a moment', async () => {
    const model = new ClusterModel({
      pods: 10_000,
      namespaces: 1000,
      policies: 1000,
      localPods: 100,
      localNamespaces: 60,
    });
    const items = [...model.namespaces, ...model.policies, model.node, ...model.pods.map((pod) => podObject(pod))];
    const file = join(folder, 'many.json');
    writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
    const page = await open('-f', file);
    assert.match(await text(page, 'summary'), /^10000 pods in /);
    const rows = await page.ask<number>(`Number(document.querySelector('[role=grid]').ariaRowCount)`);
    assert.ok(rows > 500 && rows < 1010, `${rows} rows`);
    await page.ask(`document.querySelector('[data-part=unfold]').click()`);
    assert.ok((await page.ask<number>(`document.querySelectorAll('[role=gridcell]').length`)) < 3000);
    await page.ask(`document.querySelector('[role=gridcell]').focus()`);
    await page.press('End', 2);
    assert.match(await focused(page), /^outside.* to outside/);
    const unfolded = await page.ask<number>(`Number(document.querySelector('[role=grid]').ariaRowCount)`);
    assert.equal(await page.ask(`Number(document.activeElement.closest('[role=row]').ariaRowIndex)`), unfolded);
    await type(page, 'from', 'team-1/');
    await type(page, 'to', 'team-1/');
    assert.ok((await labels(page)).every((label) => /^team-1\/.* to team-1\//.test(label)));
  });
});
