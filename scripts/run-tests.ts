/** Runs the checks and the test suites one after the other, several files of a suite at once, and ends with `N passed, N failed, N skipped`. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { availableParallelism } from 'node:os';
import Mocha from 'mocha';
import { FAULT_TITLE, type FileFaults, faultTable, mayHoldFaults, staleFaultPage, writeFaultPage } from './faults.ts';
import { type FileResult, reportLine, runFile } from './run-file.ts';
import { runInPool } from './test-pool.ts';
import {
  againAlone,
  readOptions,
  rounds,
  type RunOptions,
  type SuiteName,
  type SuiteResult,
  strict,
  suiteOf,
  summarise,
  workersFor,
} from './test-summary.ts';

const ROOT = join(import.meta.dirname, '..');
const IN_CI = process.env.CI === 'true';

/** Programs that tests start, agents above all, are compiled once and not at each start: a third of the CPU of the kernel tests. */
process.env.NODE_COMPILE_CACHE ??= join(ROOT, 'node_modules/.cache/compile');

/** What must hold of the sources besides the tests. They run side by side. */
const CHECKS: readonly (readonly [name: string, ...argv: string[]])[] = [
  ['format', 'biome', 'check', '.'],
  ['lint', 'oxlint', '--type-aware', '--deny-warnings'],
  ['types', 'tsc', '--noEmit'],
  [
    'shell',
    'bash',
    '-n',
    'scripts/setup',
    'scripts/test',
    'scripts/bench',
    'scripts/demo',
    'scripts/kind-common',
    'scripts/kind-down',
    'scripts/kind-test',
    'scripts/kind-up',
    'scripts/portcullis',
    'scripts/test-tools',
    '.ci/run',
  ],
];

const given = readOptions(process.argv.slice(2));
if ('error' in given) {
  console.error(given.error);
  process.exit(2);
}
const options: RunOptions = given;
const files = testFiles(options.files);
process.chdir(ROOT);
const strange =
  options.files.length > 0 ? files.find((file) => suiteOf(file) === undefined || !existsSync(file)) : undefined;
if (strange !== undefined) {
  console.error(`${strange}: no test file; they are test/**/*.test.ts`);
  process.exit(2);
}
const covered = files.filter((file) => suiteOf(file) !== undefined);
if (options.faults === 'write') {
  await writeFaultPage(covered);
  process.exit(0);
}
const faults: FileFaults[] = [];
const results: SuiteResult[] = [];
for (const name of options.suites) {
  const own = files.filter((file) => suiteOf(file) === name && isChosen(file));
  if (name !== 'checks' && own.length === 0) continue;
  const result = await runSuite(name, own);
  results.push(IN_CI ? strict(result) : result);
}
if (options.faults === 'run') await endWithFaults();
const { lines, exitCode } = summarise(results);
process.stdout.write(`\n${lines.join('\n')}\n`, () => process.exit(exitCode));

function isChosen(file: string): boolean {
  return options.faults === undefined || mayHoldFaults(readFileSync(file, 'utf8'));
}

/** The table, and the page that lists them all, which is looked at when all were run. */
async function endWithFaults(): Promise<never> {
  const stale = options.files.length === 0 ? await staleFaultPage(covered) : undefined;
  const table = faultTable(faults);
  const failed = results.reduce((sum, result) => sum + result.failed, 0);
  const lines = ['', ...table.slice(0, -1), ...(stale === undefined ? [] : [stale]), ...table.slice(-1)];
  const none = faults.every(({ passed, skipped }) => passed + skipped === 0);
  await new Promise<void>((resolve) => process.stdout.write(`${lines.join('\n')}\n`, () => resolve()));
  process.exit(failed > 0 || none || stale !== undefined ? 1 : 0);
}

function testFiles(chosen: readonly string[]): readonly string[] {
  if (chosen.length > 0) return chosen.map((file) => relative(ROOT, resolve(file)));
  const found = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  return found.map((file) => join('test', file)).sort();
}

function runSuite(name: SuiteName, own: readonly string[]): Promise<SuiteResult> {
  console.log(`\n${name}`);
  switch (name) {
    case 'checks':
      return runChecks();
    case 'pure':
      return runFiles(name, own);
    case 'kernel': {
      const reason = whyNoKernel();
      return reason === undefined ? runFiles(name, own) : skipFiles(name, own, reason);
    }
  }
}

async function runChecks(): Promise<SuiteResult> {
  const outcomes = await Promise.all(CHECKS.map(([name, ...argv]) => runCheck(name, argv)));
  const passed = outcomes.filter((ok) => ok).length;
  return { name: 'checks', passed, failed: outcomes.length - passed, skipped: [] };
}

function runCheck(name: string, [program, ...args]: readonly string[]): Promise<boolean> {
  const startedMs = performance.now();
  const child: ChildProcess = spawn(program!, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Some tools paint whenever CI is set, also into a file.
    env: { ...process.env, NO_COLOR: '1' },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += String(chunk)));
  return new Promise((resolve) => {
    const end = (ok: boolean): void => {
      console.log(reportLine(ok, name, '', startedMs));
      if (!ok) console.log(output);
      resolve(ok);
    };
    child.on('error', (error) => {
      output += error.message;
      end(false);
    });
    child.on('close', (code) => end(code === 0));
  });
}

/**
 * One runner per file: a file that cannot be loaded fails alone, and says so under its own name. A single file runs in this
 * process, where its output is seen as it comes.
 */
async function runFiles(name: SuiteName, own: readonly string[]): Promise<SuiteResult> {
  const ofFile = new Map<string, FileResult>();
  const onResult = (file: string, result: FileResult): void => void ofFile.set(file, result);
  const onlyFaults = options.faults !== undefined;
  const single = own.length === 1 ? own[0] : undefined;
  if (single === undefined) {
    const workers = workersFor(name, availableParallelism());
    const print = (text: string): void => void process.stdout.write(text);
    for (const { files, most } of rounds(own, workers))
      await runInPool(files, { workers: most, onlyFaults, onResult, print });
    const failed = own.filter((file) => ofFile.get(file)!.failed > 0);
    for (const file of againAlone(failed, workers)) {
      print(`\nfailed beside another file, again by itself: ${file}\n`);
      await runInPool([file], { workers: 1, onlyFaults, onResult, print });
    }
  } else onResult(single, await runFile(single, onlyFaults));
  // They end in any order.
  const all = own.map((file) => ({ file, ...ofFile.get(file)! }));
  if (onlyFaults) faults.push(...all.map((each) => ({ ...each, skipped: each.skipped.length })));
  const sum = (of: (result: FileResult) => number): number => all.reduce((total, each) => total + of(each), 0);
  return {
    name,
    passed: sum((each) => each.passed),
    failed: sum((each) => each.failed),
    skipped: all.flatMap((each) => each.skipped),
  };
}

/** Loads the files, to know the names of the tests that do not run. */
async function skipFiles(name: SuiteName, own: readonly string[], reason: string): Promise<SuiteResult> {
  const mocha = new Mocha();
  for (const file of own) mocha.addFile(file);
  await mocha.loadFilesAsync();
  const skipped: string[] = [];
  mocha.suite.eachTest((test) => {
    if (!options.faults || FAULT_TITLE.test(test.fullTitle())) skipped.push(test.fullTitle());
  });
  if (options.faults)
    faults.push({ file: `${name}: ${reason}`, passed: 0, failed: 0, skipped: skipped.length, seconds: 0 });
  return { name, passed: 0, failed: 0, skipped, reason };
}

/** Tries, in a network namespace of its own, what every kernel test needs. */
function whyNoKernel(): string | undefined {
  if (process.platform !== 'linux') return `needs Linux, this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'needs root';
  const script = 'iptables-nft -t mangle -N PROBE && ipset create probe hash:ip && ip -V >/dev/null';
  const probe = spawnSync('unshare', ['--net', 'sh', '-c', script], { encoding: 'utf8', timeout: 20_000 });
  if (probe.status === 0) return undefined;
  const detail = probe.error?.message ?? probe.stderr.trim().replaceAll('\n', ' ');
  return `no network namespace with iptables and ipset here (${detail})`;
}
