/**
 * Runs one suite in this process and writes its result as JSON. A suite has a process of its own, so that no heap, compiled code
 * or event-loop delay of another shows in its numbers. Arguments: suite, options as JSON, file for the result.
 */
import { writeFileSync } from 'node:fs';
import { exitOnSignals } from './children.ts';
import type { RunSuite, SuiteOptions } from './types.ts';

const [suite, text, file] = process.argv.slice(2) as [string, string, string];
const options = JSON.parse(text) as SuiteOptions;
exitOnSignals();
const { run } = (await import(options.against === undefined ? `./${suite}.ts` : `./against/${suite}.ts`)) as {
  run: RunSuite;
};
const result = await run(options);
writeFileSync(file, `${JSON.stringify(result, undefined, 1)}\n`);
process.exit(0);
