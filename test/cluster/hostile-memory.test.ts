/** What objects of a namespace's users cost an agent that enforces none of them, in a process of its own with a small heap. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const FEED = join(import.meta.dirname, 'feed-hostile.ts');
const MEGABYTES = 60;
/** The image gives 192 MB; the sources are compiled in here too. */
const HEAP_MB = 64;
/** Of heap and buffers, at the end. */
const BUDGET_MB = 24;

interface Fed {
  readonly objects: number;
  readonly kept: number;
  readonly open: number;
  readonly problems: number;
  readonly grownMB: number;
}

function feed(kind: string): Fed {
  const flags = [`--max-old-space-size=${HEAP_MB}`, '--max-semi-space-size=1', '--expose-gc'];
  const run = spawnSync(process.execPath, [...flags, FEED, kind, `${MEGABYTES}`], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.equal(run.status, 0, `${run.signal ?? ''} ${run.stderr.slice(-2000)}`);
  return JSON.parse(run.stdout) as Fed;
}

describe('hostile objects in an agent that enforces none of them', () => {
  for (const kind of [
    'long policies',
    'policies of many namespaces',
    'middling policies',
    'empty rules',
    'short policies',
  ]) {
    it(`fault: ${MEGABYTES} MB of ${kind} take a bounded part of a heap of ${HEAP_MB} MB`, function () {
      this.timeout(130_000);
      const fed = feed(kind);
      assert.ok(fed.objects >= 50, `${fed.objects} objects`);
      assert.ok(fed.grownMB < BUDGET_MB, `${fed.grownMB} MB`);
      assert.ok(fed.problems > 0 && fed.problems < 200, `${fed.problems} problems`);
    });
  }
});
