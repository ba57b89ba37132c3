import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { AGENT_FLAGS } from '../../src/cli/config.ts';

const ROOT = new URL('../../', import.meta.url);

function read(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

const DECISIONS = readdirSync(new URL('docs/decisions/', ROOT)).map((file) => `docs/decisions/${file}`);
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'SECURITY.md',
  'docs/tenants.md',
  'docs/alerts.md',
  'docs/architecture.md',
  'docs/eks.md',
  'docs/kind.md',
  'docs/lab.md',
  'docs/metrics.md',
  'docs/nftables.md',
  'docs/performance.md',
  'docs/recommend.md',
  'docs/render.md',
  'docs/status.md',
  'docs/troubleshooting.md',
  'docs/ui.md',
  ...DECISIONS,
];

describe('README.md', () => {
  it('has a row for every flag, with its variable and default, in the order of the table in the code', () => {
    const rows = [...read('README.md').matchAll(/^\| `--([a-z-]+)` \| `(\w+)` \|([^|]*)\|/gm)];
    assert.deepEqual(
      rows.map(([, name, env, initial]) => [name, env, initial!.trim()]),
      Object.values(AGENT_FLAGS).map(({ name, env, defaultText }) => {
        const initial = defaultText === undefined ? '' : `\`${defaultText}\``;
        return [name, env, name === 'node-name' ? 'required' : initial];
      }),
    );
  });
});

describe('docs/decisions/dependencies.md', () => {
  it('gives a reason for every package of package.json, and for no other', () => {
    const manifest = JSON.parse(read('package.json')) as Readonly<Record<string, Readonly<Record<string, string>>>>;
    const lists = ['dependencies', 'devDependencies', 'optionalDependencies'];
    const used = lists.flatMap((list) => Object.keys(manifest[list] ?? {}));
    const rows = [...read('docs/decisions/dependencies.md').matchAll(/^\| (`[^|]+) \|/gm)];
    const explained = rows.flatMap(([, cell]) => [...cell!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
    assert.deepEqual(explained.sort(), used.sort());
  });
});

describe('links and paths in the docs', () => {
  for (const page of PAGES) {
    it(`${page} points at files that exist`, () => {
      const text = read(page);
      const links = [...text.matchAll(/\]\((?!#|https?:)([^)#]+)/g)].map(
        ([, target]) => new URL(target!, new URL(page, ROOT)),
      );
      const files = [...text.matchAll(/`((?:src|lab|docs|scripts|test|examples|manifests|bench)\/[\w./-]*)`/g)];
      const sources = [
        ...text.matchAll(/`((?:agent|cli|cluster|compile|core|dataplane|host|net|policy|telemetry)\/[\w./-]*)`/g),
      ];
      for (const url of links) assert.ok(existsSync(url), `${page}: ${url.pathname}`);
      for (const [, path] of files) assert.ok(existsSync(new URL(path!, ROOT)), `${page}: ${path}`);
      for (const [, path] of sources) assert.ok(existsSync(new URL(`src/${path}`, ROOT)), `${page}: src/${path}`);
    });
  }
});
