/** `npm run bench:report -- [suite...] [--check]`: bench/results/ -> docs/performance/ and the tables of docs/performance.md. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BadFile, findDrift, takeResults, writeDocumentation } from './report/documentation.ts';

const USAGE = `report [suite...] [--check]
  takes bench/results/<suite>.json into docs/performance/<suite>.json, draws docs/performance/*.svg and puts the tables into
  docs/performance.md; suites without a result keep what they have, and so does all text outside of the markers
  suites   whose results to take; none named: all in bench/results/
  --check  writes nothing; exit code 1 if page or plots differ from what docs/performance/*.json gives
  --help   this text`;

const RESULTS = join(import.meta.dirname, 'results');
const DOCS = join(import.meta.dirname, '../docs');

process.exitCode = main(process.argv.slice(2));

function main(args: readonly string[]): number {
  const request = readRequest(args);
  if (typeof request === 'string') {
    console.error(`${request}\n\n${USAGE}`);
    return 2;
  }
  try {
    return request();
  } catch (error) {
    if (!(error instanceof BadFile)) throw error;
    console.error(error.message);
    return 1;
  }
}

/** What to do; or what is wrong with the arguments. */
function readRequest(args: readonly string[]): (() => number) | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { check: { type: 'boolean' }, help: { type: 'boolean' } },
    });
    if (values.help) return help;
    if (!values.check) return () => report(positionals);
    return positionals.length > 0 ? '--check looks at everything; it takes no suites' : check;
  } catch (error) {
    return (error as Error).message;
  }
}

function help(): number {
  console.log(USAGE);
  return 0;
}

function report(suites: readonly string[]): number {
  const taken = takeResults(RESULTS, DOCS, suites);
  writeDocumentation(DOCS);
  console.log(`docs/performance.md is up to date; new results: ${taken.length > 0 ? taken.join(', ') : 'none'}`);
  return 0;
}

function check(): number {
  const drift = findDrift(DOCS);
  for (const line of drift) console.error(`docs/${line}`);
  if (drift.length > 0) console.error('npm run bench:report writes them anew');
  return drift.length === 0 ? 0 : 1;
}
