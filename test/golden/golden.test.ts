/**
 * Whole nodes as text, for people to read: what the kernel of node-1 is given for `input.yaml`, starting from nothing.
 * UPDATE_GOLDEN=1 writes the files anew; the reviewer reads the difference.
 */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readManifests, snapshotFromObjects } from '../../src/cluster/read-manifests.ts';
import { compileNode, renderNode } from '../support/stages.ts';
import { diff } from '../../src/dataplane/iptables/plan/diff.ts';
import type { Plan } from '../../src/dataplane/iptables/plan/plan.ts';
import { problemText } from '../support/builders.ts';
import { LAYOUT } from '../support/fake-cluster.ts';

const EMPTY = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };

async function planOf(folder: string): Promise<Plan> {
  const { objects, problems } = await readManifests([join(folder, 'input.yaml')]);
  const snapshot = snapshotFromObjects(objects, { defaultNamespace: 'default' });
  assert.deepEqual([...problems, ...snapshot.problems].map(problemText), []);
  const ruleset = renderNode(compileNode(snapshot, 'node-1'), { ...LAYOUT, mode: 'enforce' });
  return diff(ruleset, { families: { 4: EMPTY, 6: EMPTY }, sets: new Map() });
}

function textsOf({ steps }: Plan): Readonly<Record<string, string>> {
  const files: Record<string, string> = { 'rules4.txt': '', 'rules6.txt': '', 'sets.txt': '' };
  for (const step of steps) {
    const name = 'family' in step ? `rules${step.family}.txt` : 'sets.txt';
    files[name] += step.lines.map(({ text }) => `${text}\n`).join('');
  }
  return files;
}

describe('golden nodes', () => {
  const root = import.meta.dirname;
  const update = process.env.UPDATE_GOLDEN === '1';

  it('every folder is as it was', async () => {
    const folders = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isDirectory());
    assert.ok(folders.length >= 3);
    for (const { name } of folders) {
      for (const [file, text] of Object.entries(textsOf(await planOf(join(root, name))))) {
        const path = join(root, name, file);
        if (update) await writeFile(path, text);
        else
          assert.equal(text, await readFile(path, 'utf8'), `${name}/${file}: UPDATE_GOLDEN=1 accepts the difference`);
      }
    }
  });
});
