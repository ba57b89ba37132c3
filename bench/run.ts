/** `npm run bench -- [suite...] [--quick | --full] [--rounds N] [--json FILE]`: measures, prints tables, keeps the numbers. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SUITES, type SuiteSpec } from './suites.ts';
import { formatTable } from './text-table.ts';
import type { SuiteOptions, SuiteResult } from './types.ts';

const USAGE = `bench [suite...] [--quick | --full] [--rounds N] [--json FILE]
  suites: ${SUITES.map(({ name, what }) => `${name} (${what})`).join(', ')}
  none named: all of them; without root those that need no kernel
  --quick     a few seconds, to see that it works
  --full      every combination, where a suite usually leaves some out (packet)
  --rounds N  how often each side of a comparison is measured
  --json FILE all results in one file, besides bench/results/<suite>.json`;

interface Request {
  readonly suites: readonly SuiteSpec[];
  readonly options: SuiteOptions;
  readonly json: string | undefined;
}

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const request = readRequest(args);
  if (typeof request === 'string') {
    console.error(`${request}\n\n${USAGE}`);
    return 2;
  }
  const results: SuiteResult[] = [];
  let failed = 0;
  for (const suite of request.suites) {
    const result = await runSuite(suite, request.options);
    if (result) results.push(result);
    else failed++;
  }
  if (request.json !== undefined) writeFileSync(request.json, `${JSON.stringify(results, undefined, 1)}\n`);
  return failed === 0 ? 0 : 1;
}

/** Text: what is wrong with the arguments. */
function readRequest(args: readonly string[]): Request | string {
  const parsed = parse(args);
  if (typeof parsed === 'string') return parsed;
  const { values, positionals } = parsed;
  const unknown = positionals.find((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown !== undefined) return `no suite ${JSON.stringify(unknown)}`;
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) return '--rounds takes a whole number above 0';
  const suites = positionals.length > 0 ? SUITES.filter(({ name }) => positionals.includes(name)) : runnable();
  return {
    suites,
    options: { quick: values.quick ?? false, full: values.full ?? false, ...(rounds === undefined ? {} : { rounds }) },
    json: values.json,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
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
    if (code !== 0 || !existsSync(file)) {
      console.error(`${suite.name}: failed with exit code ${code}`);
      return undefined;
    }
    const text = readFileSync(file, 'utf8');
    const result = JSON.parse(text) as SuiteResult;
    keep(suite, options, text);
    const seconds = Math.round((performance.now() - began) / 1000);
    console.log(`\n${suite.name}: ${suite.what}${options.quick ? ' (quick: numbers mean little)' : ''}, ${seconds} s`);
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
  const env = { ...process.env, XTABLES_LOCKFILE: join(directory, 'xtables.lock') };
  return new Promise((resolve) => {
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'inherit', 'inherit'], env });
    child.on('error', (error) => {
      console.error(`${suite.name}: ${error.message}`);
      resolve(1);
    });
    child.on('exit', (code, signal) => resolve(code ?? (signal ? 1 : 0)));
  });
}

/** Quick results would only hide real ones. */
function keep(suite: SuiteSpec, options: SuiteOptions, text: string): void {
  if (options.quick) return;
  const folder = join(import.meta.dirname, 'results');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${suite.name}.json`), text);
}
