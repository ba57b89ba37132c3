/**
 * Runs test files one after the other: a path per line of stdin, and for each its output, then a line of RESULT and JSON. Ends when
 * stdin does, so that it never outlives the runner. Argument `--faults`: only tests of faults.
 */
import { createInterface } from 'node:readline';
import { runFile } from './run-file.ts';
import { RESULT } from './test-pool.ts';

const onlyFaults = process.argv.includes('--faults');
const lines = createInterface({ input: process.stdin });
// Not after the current file: that may take minutes, and whoever asked is gone.
lines.on('close', () => process.exit(0));
let last = Promise.resolve();
lines.on('line', (file) => {
  last = last.then(async () => {
    const result = await runFile(file, onlyFaults);
    process.stdout.write(`\n${RESULT}${JSON.stringify(result)}\n`);
  });
});
