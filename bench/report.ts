/** `npm run bench:report -- [suite...]`: bench/results/ -> bench/results/report/, tables and plots. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BadFile, writeReport } from './report/write-report.ts';

const USAGE = `report [suite...]
  makes bench/results/report/ anew from bench/results/<suite>.json: all tables in report.md, and the plots
  suites   whose results to show; none named: all there are
  --help   this text`;

const RESULTS = join(import.meta.dirname, 'results');
const OUT = join(RESULTS, 'report');

process.exitCode = main(process.argv.slice(2));

function main(args: readonly string[]): number {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { help: { type: 'boolean' } },
    });
    console.log(values.help ? USAGE : report(positionals));
    return 0;
  } catch (error) {
    const isArgument = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') ?? false;
    if (!(error instanceof BadFile || isArgument)) throw error;
    console.error(isArgument ? `${(error as Error).message}\n\n${USAGE}` : (error as Error).message);
    return isArgument ? 2 : 1;
  }
}

function report(suites: readonly string[]): string {
  const shown = writeReport(RESULTS, OUT, suites);
  return `${join(OUT, 'report.md')}: ${shown.join(', ')}`;
}
