/** The pure half of run-tests: its command line, which file belongs to which suite, and what the results add up to. */

export const SUITES = ['checks', 'pure', 'kernel'] as const;
export type SuiteName = (typeof SUITES)[number];

export interface SuiteResult {
  readonly name: SuiteName;
  readonly passed: number;
  readonly failed: number;
  /** Full titles of the tests that did not run. */
  readonly skipped: readonly string[];
  /** Why the whole suite did not run, if so. */
  readonly reason?: string;
}

export interface RunOptions {
  readonly suites: readonly SuiteName[];
  /** Only tests of faults, with a table of them; `write`: the page of reliability is written anew, and nothing is run. */
  readonly faults?: 'run' | 'write';
  /** Paths relative to the root; empty: all. */
  readonly files: readonly string[];
}

export const USAGE =
  'usage: run-tests [--checks | --pure | --kernel | --no-checks | --faults | --write-faults] [test files]';

/** Without arguments everything; naming files leaves out the checks. */
export function readOptions(argv: readonly string[]): RunOptions | { readonly error: string } {
  const files = argv.filter((argument) => !argument.startsWith('-'));
  const flags = argv.filter((argument) => argument.startsWith('-'));
  if (flags.length === 1 && flags[0] === '--faults') return { suites: ['pure', 'kernel'], faults: 'run', files };
  if (flags.length === 1 && flags[0] === '--write-faults') return { suites: [], faults: 'write', files };
  const chosen = new Set<SuiteName>();
  for (const flag of flags) {
    if (flag === '--no-checks') {
      chosen.add('pure').add('kernel');
      continue;
    }
    const suite = SUITES.find((name) => flag === `--${name}`);
    if (!suite) return { error: `unknown flag ${flag}\n${USAGE}` };
    chosen.add(suite);
  }
  if (chosen.size > 0) return { suites: SUITES.filter((name) => chosen.has(name)), files };
  return { suites: files.length > 0 ? ['pure', 'kernel'] : SUITES, files };
}

/** The suite of a test file, by its path from the root; undefined for files that no run here covers (a real cluster's). */
export function suiteOf(path: string): SuiteName | undefined {
  if (!path.startsWith('test/') || !path.endsWith('.test.ts') || path.startsWith('test/e2e/')) return undefined;
  return path.startsWith('test/netns/') ? 'kernel' : 'pure';
}

/** More would hold each other up. */
const MAX_WORKERS = 4;

/**
 * How many files of a suite run at once. Those of the kernel suite keep 0.4 of a CPU busy each: they wait for silence, for flows to
 * stop, for agents to read again. Pure ones compute, but for a few that wait for a child or a browser.
 */
export function workersFor(suite: SuiteName, cpus: number): number {
  return Math.min(MAX_WORKERS, suite === 'kernel' ? 2 * cpus : cpus + 1);
}

/** Files that measure the machine: nothing else runs beside them. */
export const ALONE: ReadonlySet<string> = new Set(['test/netns/agent-speed.test.ts']);

/** Files that must be quicker than the agent, or count what a machine that stands still keeps from being probed: two at once. */
export const IN_PAIRS: ReadonlySet<string> = new Set([
  'test/netns/agent-drift.test.ts',
  'test/netns/hostile-memory.test.ts',
  'test/netns/soak.test.ts',
  'test/netns/torture.test.ts',
]);

/** Begun first, for one that begins last ends by itself: of each suite those that take a thirtieth of its time or more, the longest first. */
export const LONGEST: readonly string[] = [
  'test/cli/ui/ui.test.ts',
  'test/compile/hostile-policies.test.ts',
  'test/property/updates.test.ts',
  'test/compile/incremental.test.ts',
  'test/property/rules-agree.test.ts',
  'test/netns/agent-flows.test.ts',
  'test/netns/policy-counters.test.ts',
  'test/netns/scenarios-legacy.test.ts',
  'test/netns/scenarios-nft.test.ts',
  'test/netns/scenarios-nftables.test.ts',
  'test/netns/scenarios-nftables-bridge.test.ts',
  'test/netns/agent-audit.test.ts',
  'test/netns/agent-killed.test.ts',
  'test/netns/lab-command.test.ts',
  'test/netns/agent-auto.test.ts',
  'test/netns/agent-modes.test.ts',
  'test/netns/denials.test.ts',
];

export interface Round {
  readonly files: readonly string[];
  /** So many at once at most. */
  readonly most: number;
}

/** What may run at the same time, one round after the other. */
export function rounds(files: readonly string[], workers: number): readonly Round[] {
  const inOrder = [
    ...LONGEST.filter((file) => files.includes(file)),
    ...files.filter((file) => !LONGEST.includes(file)),
  ];
  const together = inOrder.filter((file) => !ALONE.has(file) && !IN_PAIRS.has(file));
  const pairs = inOrder.filter((file) => IN_PAIRS.has(file));
  const alone = inOrder.filter((file) => ALONE.has(file));
  return [
    { files: together, most: workers },
    { files: pairs, most: Math.min(workers, 2) },
    { files: alone, most: 1 },
  ].filter((round) => round.files.length > 0);
}

/**
 * Files that are tried again by themselves: what failed while another file took the CPU may have failed for that alone. What fails
 * alone as well has failed.
 */
export function againAlone(failed: readonly string[], workers: number): readonly string[] {
  return workers > 1 ? failed.filter((file) => !ALONE.has(file)) : [];
}

/** Where a missing kernel must be noticed (CI), a kernel test that did not run has failed. */
export function strict(result: SuiteResult): SuiteResult {
  if (result.name !== 'kernel') return result;
  return { ...result, failed: result.failed + result.skipped.length, skipped: [], reason: blame(result) };
}

function blame(result: SuiteResult): string {
  if (result.skipped.length === 0) return result.reason ?? '';
  return `must run with CI=true, but did not: ${nameSkipped(result)}`;
}

export interface Summary {
  readonly lines: readonly string[];
  readonly exitCode: 0 | 1;
}

/** One line per suite, one more where tests were skipped, and the total as the last. A run without any test has failed. */
export function summarise(results: readonly SuiteResult[]): Summary {
  const lines: string[] = [];
  for (const result of results) {
    lines.push(`${result.name}: ${count(result)}`);
    if (result.skipped.length > 0) lines.push(`  skipped: ${nameSkipped(result)}`);
    else if (result.reason) lines.push(`  ${result.reason}`);
  }
  const add = (of: (result: SuiteResult) => number): number => results.reduce((sum, result) => sum + of(result), 0);
  const passed = add((result) => result.passed);
  const failed = add((result) => result.failed);
  const skipped = results.flatMap((result) => result.skipped);
  lines.push(count({ passed, failed, skipped }));
  return { lines, exitCode: failed > 0 || passed + skipped.length === 0 ? 1 : 0 };
}

function count(result: Pick<SuiteResult, 'passed' | 'failed' | 'skipped'>): string {
  return `${result.passed} passed, ${result.failed} failed, ${result.skipped.length} skipped`;
}

function nameSkipped(result: SuiteResult): string {
  const names = result.skipped.join('; ');
  return result.reason ? `${result.reason}: ${names}` : names;
}
