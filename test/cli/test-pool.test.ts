import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileResult } from '../../scripts/run-file.ts';
import { runInPool } from '../../scripts/test-pool.ts';

describe('scripts/run-tests: several processes', () => {
  let dir: string;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'portcullis-pool-'));
  });

  after(() => rmSync(dir, { recursive: true, force: true }));

  function testFile(name: string, text: string): string {
    const path = join(dir, name);
    writeFileSync(path, text);
    return path;
  }

  async function run(
    files: readonly string[],
    workers: number,
  ): Promise<{ results: Map<string, FileResult>; output: string }> {
    const results = new Map<string, FileResult>();
    let output = '';
    await runInPool(files, {
      workers,
      onlyFaults: false,
      onResult: (file, result) => void results.set(file, result),
      print: (text) => (output += text),
    });
    return { results, output };
  }

  it('counts what passed, failed and was skipped, and keeps the output of a file together', async () => {
    const first = testFile(
      'first.test.ts',
      "it('passes', () => console.log('from first'));\nit.skip('is left out', () => {});\n",
    );
    const second = testFile(
      'second.test.ts',
      "it('fails', () => { console.error('from second'); throw new Error('as it should'); });\n",
    );
    const { results, output } = await run([first, second], 2);
    const counts = [first, second].map((file) => {
      const { passed, failed, skipped } = results.get(file)!;
      return { passed, failed, skipped };
    });
    assert.deepEqual(counts, [
      { passed: 1, failed: 0, skipped: ['is left out'] },
      { passed: 0, failed: 1, skipped: [] },
    ]);
    assert.match(output, /from first\n {2}ok {4}\S+first.test.ts {2}1 passed/);
    assert.match(output, /from second\n {2}FAIL {2}\S+second.test.ts {2}0 passed, 1 failed[\s\S]+as it should/);
  });

  it('fails a file that ends its process, and runs those after it', async () => {
    const ending = testFile('ending.test.ts', "it('ends', () => { console.log('last words'); process.exit(0); });\n");
    const next = testFile('next.test.ts', "it('passes', () => {});\n");
    const { results, output } = await run([ending, next], 1);
    assert.deepEqual([results.get(ending)?.failed, results.get(next)?.passed], [1, 1]);
    assert.match(output, /last words\n {2}FAIL {2}\S+ending.test.ts {2}its process ended/);
  });
});
