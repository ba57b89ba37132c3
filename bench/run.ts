/** `npm run bench -- [suite...] [--against VERSION] [--quick | --full] [--backends LIST] [--rounds N] [--json FILE]`: measures, prints tables, keeps the numbers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isVersion } from './against/version.ts';
import { MEASURED_BACKENDS, readBackends } from './backends.ts';
import { SUITES, type SuiteSpec } from './suites.ts';
import { formatTable } from './text-table.ts';
import type { SuiteOptions, SuiteResult } from './types.ts';

const USAGE = `bench [suite...] [--against VERSION] [--quick | --full] [--backends LIST] [--rounds N] [--json FILE]
  suites: ${SUITES.map(({ name, what }) => `${name} (${what})`).join(', ')}
  none named: all of them; without root those that need no kernel
  --against VERSION  a git ref or the folder of another checkout: its agent is measured beside this tree's, in turn, and ratios
              are printed (${comparable()
                .map(({ name }) => name)
                .join(', ')}); nothing is kept but by --json
  --quick     a few seconds, to see that it works
  --full      every combination, where a suite usually leaves some out (event, packet)
  --backends LIST  only these, separated by commas: ${MEASURED_BACKENDS.join(', ')}; where a suite takes its choice
  --rounds N  how often each side of a comparison is measured
  --json FILE all results in one file, besides bench/results/<suite>.json
  --help      this text
  exit code   0 all suites ran, 1 one failed, 2 wrong arguments`;

interface Request {
  readonly suites: readonly SuiteSpec[];
  readonly options: SuiteOptions;
  readonly json: string | undefined;
}

/** What runs now; a signal ends it, and this program when it has ended. */
let running: ChildProcess | undefined;
let stoppedBy: NodeJS.Signals | undefined;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    stoppedBy = signal;
    running?.kill('SIGTERM');
  });
}

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const request = readRequest(args);
  if (request === 'help') {
    console.log(USAGE);
    return 0;
  }
  if (typeof request === 'string') {
    console.error(`${request}\n\n${USAGE}`);
    return 2;
  }
  const results: SuiteResult[] = [];
  let failed = 0;
  for (const suite of request.suites) {
    const result = await runSuite(suite, request.options);
    if (stoppedBy) return stoppedBy === 'SIGINT' ? 130 : 143;
    if (result) results.push(result);
    else failed++;
  }
  if (request.json !== undefined) writeFileSync(request.json, `${JSON.stringify(results, undefined, 1)}\n`);
  return failed === 0 ? 0 : 1;
}

/** Text: `help`, or what is wrong with the arguments. */
function readRequest(args: readonly string[]): Request | string {
  const parsed = parse(args);
  if (typeof parsed === 'string') return parsed;
  const { values, positionals } = parsed;
  if (values.help) return 'help';
  const unknown = positionals.find((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown !== undefined) return `no suite ${JSON.stringify(unknown)}`;
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) return '--rounds takes a whole number above 0';
  const backends = values.backends === undefined ? undefined : readBackends(values.backends);
  if (values.backends !== undefined && !backends) return `--backends takes ${MEASURED_BACKENDS.join(', ')}`;
  if (values.quick && values.full) return '--quick and --full exclude each other';
  const { against } = values;
  const wrong = against === undefined ? undefined : wrongComparison(against, positionals);
  if (wrong !== undefined) return wrong;
  const possible = runnable().filter((suite) => against === undefined || suite.comparable);
  const suites = positionals.length > 0 ? SUITES.filter(({ name }) => positionals.includes(name)) : possible;
  const options: SuiteOptions = {
    quick: values.quick ?? false,
    full: values.full ?? false,
    ...(backends ? { backends } : {}),
    ...(rounds === undefined ? {} : { rounds }),
    ...(against === undefined ? {} : { against }),
  };
  return { suites, options, json: values.json };
}

function wrongComparison(against: string, names: readonly string[]): string | undefined {
  const alone = names.find((name) => !comparable().some((suite) => suite.name === name));
  if (alone !== undefined) return `suite ${alone} cannot be measured against another version`;
  return isVersion(against)
    ? undefined
    : `${JSON.stringify(against)} is neither a git ref nor a folder with src/main.ts`;
}

function comparable(): readonly SuiteSpec[] {
  return SUITES.filter((suite) => suite.comparable);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        against: { type: 'string' },
        backends: { type: 'string' },
        help: { type: 'boolean' },
        quick: { type: 'boolean' },
        full: { type: 'boolean' },
        rounds: { type: 'string' },
        json: { type: 'string' },
      },
    });
  } catch (error) {
    return (error as Error).message;
  }
}

function runnable(): readonly SuiteSpec[] {
  const isRoot = process.getuid?.() === 0;
  const left = SUITES.filter(({ needs }) => needs === 'kernel' && !isRoot);
  if (left.length > 0) console.error(`left out, they need root: ${left.map(({ name }) => name).join(', ')}`);
  return SUITES.filter((suite) => !left.includes(suite) && existsSync(moduleOf(suite)));
}

function moduleOf({ name }: SuiteSpec): string {
  return join(import.meta.dirname, `${name}.ts`);
}

/** Undefined if it failed; it has said why. */
async function runSuite(suite: SuiteSpec, options: SuiteOptions): Promise<SuiteResult | undefined> {
  const began = performance.now();
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
  const file = join(directory, 'result.json');
  try {
    const code = await start(suite, options, file, directory);
    if (stoppedBy) return undefined;
    if (code !== 0 || !existsSync(file)) {
      console.error(`${suite.name}: failed with exit code ${code}`);
      return undefined;
    }
    const text = readFileSync(file, 'utf8');
    const result = JSON.parse(text) as SuiteResult;
    keep(suite, options, text);
    const seconds = Math.round((performance.now() - began) / 1000);
    console.log(
      `\n${suite.name}: ${suite.what}${options.against === undefined ? '' : `, against ${options.against}`}${options.quick ? ' (quick: numbers mean little)' : ''}, ${seconds} s`,
    );
    for (const table of result.tables) console.log(`\n${formatTable(table)}`);
    return result;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function start(suite: SuiteSpec, options: SuiteOptions, file: string, directory: string): Promise<number> {
  const node = [process.execPath, ...suite.nodeFlags, join(import.meta.dirname, 'run-suite.ts')];
  const own = [...node, suite.name, JSON.stringify(options), file];
  // The namespace, and everything in it, goes when its last process ends.
  const argv = suite.isolated ? ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...own] : own;
  // Whatever the suite puts into the folder for temporary files goes with ours, however it ends.
  const env = { ...process.env, TMPDIR: directory, XTABLES_LOCKFILE: join(directory, 'xtables.lock') };
  return new Promise((resolve) => {
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'inherit', 'inherit'], env });
    running = child;
    child.on('error', (error) => {
      console.error(`${suite.name}: ${error.message}`);
      resolve(1);
    });
    child.on('exit', (code, signal) => resolve(code ?? (signal ? 1 : 0)));
  });
}

/** Quick results would only hide real ones, and comparisons are no results of this tree. */
function keep(suite: SuiteSpec, options: SuiteOptions, text: string): void {
  if (options.quick || options.against !== undefined) return;
  const folder = join(import.meta.dirname, 'results');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${suite.name}.json`), text);
}
