/** Commands that judge by NetworkPolicies alone say so where a cluster has others. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../support/command-line.ts';

const EXAMPLES = join(import.meta.dirname, '../../examples');
const WITH = join(EXAMPLES, 'cluster-wide');
const WITHOUT = join(EXAMPLES, 'three-tier');
const LINE = '! not judged here: 2 ClusterNetworkPolicies; use explain\n';

type Argv = Parameters<typeof runCommand>[0];

describe('ClusterNetworkPolicies that a command does not judge', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'not-judged-'));
    const flow = (namespace: string, to: string) =>
      JSON.stringify({ source: `${namespace}/web`, destination: `${namespace}/${to}`, protocol: 'TCP', port: 8080 });
    writeFileSync(join(folder, 'shop'), `${flow('shop', 'api')}\n`);
  });
  after(() => rmSync(folder, { recursive: true }));

  const commands: Readonly<Record<string, (objects: string) => Argv>> = {
    matrix: (objects) => ['matrix', '-f', objects, '-o', 'json'],
    'diff, before': (objects) => ['diff', '-b', objects, '-f', WITHOUT, '-o', 'json'],
    'diff, after': (objects) => ['diff', '-b', WITHOUT, '-f', objects, '-o', 'json'],
    recommend: (objects) => ['recommend', '-f', WITHOUT, '-f', objects, '--flows', join(folder, 'shop'), '-o', 'json'],
  };
  for (const [name, argv] of Object.entries(commands))
    it(`${name}: a line on standard error and a field of the document; neither where there are none`, async () => {
      const told = await runCommand(argv(WITH));
      assert.equal(told.err.split('\n').filter((line) => line.includes('not judged here')).length, 1, told.err);
      assert.ok(told.err.includes(LINE), told.err);
      const { notJudged } = JSON.parse(told.out) as { notJudged?: unknown };
      assert.deepEqual(notJudged, { clusterNetworkPolicies: 2 });
      const silent = await runCommand(argv(WITHOUT));
      assert.ok(!silent.err.includes('not judged'), silent.err);
      assert.equal('notJudged' in (JSON.parse(silent.out) as object), false);
    });

  for (const name of ['matrix', 'diff, after'] as const)
    it(`${name}: its page says so in its summary`, async () => {
      const page = async (objects: string): Promise<string> =>
        (await runCommand([...commands[name]!(objects), '-o', 'html'])).out;
      assert.ok((await page(WITH)).includes(`; ${LINE.slice(2, -1)}"`));
      assert.ok(!(await page(WITHOUT)).includes('not judged here'));
    });
});
