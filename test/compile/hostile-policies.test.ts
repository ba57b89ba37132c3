/** What a namespace's owner writes costs what it is long, however it is written: work, memory, and lines for the kernel. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { HOSTILE_SHAPES } from '../support/hostile-shapes.ts';
import type { Work } from '../support/measure-work.ts';

const PROGRAM = join(import.meta.dirname, '../support/measure-work.ts');
/** As in the image. */
const HEAP_LIMIT = ['--max-old-space-size=192'];
/** Counts are of what is written, not of what V8 makes of it. */
const EXACT = ['--no-opt', '--no-maglev'];

function measured(flags: readonly string[], ...args: readonly string[]): readonly Work[] {
  const { NODE_V8_COVERAGE: _, ...env } = process.env;
  const options = { encoding: 'utf8', env, timeout: 240_000 } as const;
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', ...flags, PROGRAM, ...args],
    options,
  );
  const works = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Work);
  const next = Object.keys(HOSTILE_SHAPES)[Math.floor(works.length / (args.length - 1))];
  assert.equal(status ?? signal, 0, `ended at "${next}": ${stderr.slice(0, 2000)}`);
  return works;
}

const explained = (work: Work): string => JSON.stringify(work);

describe('fault: one valid policy ends the agent, whatever its shape', function () {
  this.timeout(300_000);

  it('four times as many rules are four times the work', () => {
    const works = measured(EXACT, 'count', '200', '800');
    assert.equal(works.length, 2 * Object.keys(HOSTILE_SHAPES).length);
    for (let at = 0; at < works.length; at += 2) {
      const [few, many] = [works[at]!, works[at + 1]!];
      assert.ok(few.operations > 1000, `nothing was counted: ${explained(few)}`);
      const ratio = many.operations / few.operations;
      assert.ok(ratio < 5, `${many.shape}: ${ratio.toFixed(1)} times the work for 4 times as many`);
    }
  });

  it('10,000 rules fit into the memory of the agent, and into few sets and rules, which a packet walks through', () => {
    for (const work of measured(HEAP_LIMIT, 'heap', '10000')) {
      const { bytes, heap, lines, clauses, sets, longest, legend } = work;
      assert.ok(heap < 4_000_000 + 100 * bytes, explained(work));
      assert.ok(lines < 500 + 9 * work.count, explained(work));
      assert.ok(clauses < 100 && sets < 80 && longest <= 10, explained(work));
      assert.ok(legend <= 20 * 51, explained(work));
    }
  });
});
