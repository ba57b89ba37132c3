/** What objects of a namespace's users cost an agent that enforces none of them, in a process of its own with a small heap. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const FEED = join(import.meta.dirname, 'feed-hostile.ts');
const MEGABYTES = 60;
/** The image gives 192 MB; the sources are compiled in here too. */
const HEAP_MB = 80;
/** Of heap and buffers, at the end: what the limits of six namespaces hold. */
const BUDGET_MB = 40;

interface Fed {
  readonly fed: readonly { readonly kind: string; readonly objects: number; readonly grownMB: number }[];
  readonly kept: Readonly<Record<'policies' | 'pods', number>>;
  readonly problems: number;
  readonly grownMB: number;
}

describe('hostile objects in an agent that enforces none of them', () => {
  it(`fault: ${MEGABYTES} MB of policies and pods take a bounded part of a heap of ${HEAP_MB} MB`, function () {
    this.timeout(130_000);
    const flags = [`--max-old-space-size=${HEAP_MB}`, '--max-semi-space-size=1', '--expose-gc'];
    const run = spawnSync(process.execPath, [...flags, FEED, `${MEGABYTES}`], { encoding: 'utf8', timeout: 120_000 });
    assert.equal(run.status, 0, `${run.signal ?? ''} ${run.stderr.slice(-2000)}`);
    const { fed, kept, problems, grownMB } = JSON.parse(run.stdout) as Fed;
    for (const { kind, objects } of fed) assert.ok(objects >= 3, `${objects} ${kind}`);
    assert.ok(grownMB < BUDGET_MB, run.stdout);
    assert.ok(problems > 0 && problems < 300, `${problems} problems`);
    const pods = fed.filter(({ kind }) => kind.startsWith('pods with')).reduce((sum, { objects }) => sum + objects, 0);
    assert.equal(kept.pods, pods, 'pods that wait are not kept');
  });
});
