import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from '../../scripts/bundle.ts';
import { bundledPackages, licenseTexts } from '../../scripts/bundled-licenses.ts';

const ROOT = join(import.meta.dirname, '../..');

describe('bundle', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-build-'));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('puts the licence of every bundled package beside a bundle that holds nothing of the lab', async function () {
    this.timeout(30_000);
    const out = join(folder, 'dist');
    const inputs = await bundle(out);
    assert.ok(inputs.includes('src/main.ts'));
    assert.deepEqual(
      inputs.filter((path) => !/^(src\/|node_modules\/|package\.json$)/.test(path)),
      [],
    );
    const text = readFileSync(join(out, 'THIRD_PARTY_LICENSES.txt'), 'utf8');
    const packages = bundledPackages(inputs);
    for (const name of ['pino', 'prom-client', '@kubernetes/client-node'])
      assert.ok(packages.includes(`node_modules/${name}`), name);
    for (const path of packages) {
      const { name, version } = JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8')) as {
        name: string;
        version: string;
      };
      assert.ok(text.includes(`\n${name} ${version} (`), `${name} ${version}`);
    }
    assert.ok(text.includes('Permission is hereby granted'));
  });
});

describe('bundledPackages', () => {
  it('finds packages with a scope and packages inside of others', () => {
    assert.deepEqual(
      bundledPackages([
        'src/main.ts',
        'node_modules/a/lib/x.js',
        'node_modules/a/lib/y.js',
        'node_modules/@s/b/index.js',
        'node_modules/a/node_modules/c/index.js',
      ]),
      ['node_modules/@s/b', 'node_modules/a', 'node_modules/a/node_modules/c'],
    );
  });
});

describe('licenseTexts', () => {
  let root: string;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'portcullis-licenses-'));
    mkdirSync(join(root, 'node_modules/a'), { recursive: true });
    writeFileSync(join(root, 'node_modules/a/package.json'), '{"name":"a","version":"1.2.3","license":"MIT"}');
  });

  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it('takes along notices as well', () => {
    writeFileSync(join(root, 'node_modules/a/license.md'), 'You may.\n');
    writeFileSync(join(root, 'node_modules/a/NOTICE'), 'Made by A.\n');
    assert.match(licenseTexts(root, ['node_modules/a']), /\na 1\.2\.3 \(MIT\)\n=+\n\nMade by A\.\n\nYou may\.\n$/);
  });

  it('refuses a package without a licence text', () => {
    writeFileSync(join(root, 'node_modules/a/LICENSE'), ' \n');
    assert.throws(() => licenseTexts(root, ['node_modules/a']), /a 1\.2\.3 \(MIT\): no licence text/);
  });
});
