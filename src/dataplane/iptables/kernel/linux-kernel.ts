/** The real kernel, through `ipset` and the restore and save programs of one iptables variant, called by full name. */
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { ObservedState, Step } from '../plan/plan.ts';
import type { CommandRequest, CommandResult, RunCommand } from '../../../host/command.ts';

import { savedSets } from '../plan/read-saved.ts';
import { isReleasedSign } from '../plan/released.ts';

import { CommandFailed, inParts } from '../../../host/command.ts';
import { KernelUnreadable, StepFailed } from './kernel.ts';
import { runSliced } from '../../../core/run-sliced.ts';

/** What writes to sets: of all commands the one that is run most. */
export const WRITE_SETS: CommandRequest['argv'] = ['ipset', 'restore', '-exist'];

/** A restore tool does nothing between two commits, and holds no lock: it can stay. */
export function writesRules([, flag]: CommandRequest['argv']): boolean {
  return flag === NO_FLUSH;
}

const NO_FLUSH = '--noflush';

/** Sets that rules may have asked about until a moment ago. */
export function destroysSets(request: CommandRequest): boolean {
  return inParts(request).some(
    (part) => part.includes('destroy ') && [...part.matchAll(DESTROYED)].some(([, set]) => !isReleasedSign(set!)),
  );
}

const DESTROYED = /^destroy (\S+)$/gm;
const READ_TIMEOUT_MS = 30_000;
/** Besides the wait for the xtables lock. */
const WRITE_TIMEOUT_MS = 60_000;
/** iptables exit code for "resource problem": the xtables lock was not free in time. */
const EXIT_RESOURCE_PROBLEM = 4;
/** Since 1.8.8 iptables waits for the lock without a word; a commit takes a few milliseconds, so this long means it waited. */
const LONG_COMMIT_MS = 250;
/** Sets still in use are stepped over this often in one go; the rest waits for the next pass. */
const MAX_BUSY_SETS = 8;

export interface LinuxKernelOptions {
  readonly backend: Backend;
  readonly run: RunCommand;
  /** How long iptables may wait for /run/xtables.lock, in whole seconds. */
  readonly lockWaitSeconds: number;
  /** Called for each command that was run, whatever came of it, with what it was for. */
  readonly onCommand?: (event: { tool: string; write: boolean; durationMs: number; waitedForLock: boolean }) => void;
}

/** `iptables-nft` + 6 + `restore` -> `ip6tables-nft-restore`. */
export function toolName(backend: Backend, family: Family, verb: 'save' | 'restore'): string {
  const variant = backend === 'iptables-nft' ? 'nft' : 'legacy';
  return `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}-${verb}`;
}

type Reading = Pick<LinuxKernelOptions, 'run' | 'onCommand'>;

/** Rejects with CommandFailed, or with KernelUnreadable for what ipset cannot have printed. */
export async function readSets(options: Reading): Promise<ObservedState['sets']> {
  const { stdout } = await read(options, ['ipset', 'save']);
  const wrong = whyNoSets(stdout);
  if (wrong !== undefined) throw new KernelUnreadable(`ipset save: its output ${wrong}`);
  return runSliced(savedSets(stdout));
}

function whyNoSets(text: string): string | undefined {
  if (text !== '' && !text.endsWith('\n')) return 'ends in the middle of a line';
  const strange = /^(?!create \S+ \S|add \S+ \S|$).*/m.exec(text);
  return strange ? `makes no sense: ${JSON.stringify(strange[0].slice(0, 80))}` : undefined;
}

async function read(options: Reading, argv: readonly [string, ...string[]]): Promise<CommandResult> {
  const result = await options.run({ argv, timeoutMs: READ_TIMEOUT_MS });
  options.onCommand?.({ tool: argv[0], write: false, durationMs: result.durationMs, waitedForLock: false });
  return result;
}

export async function applyStep(options: LinuxKernelOptions, step: Step): Promise<readonly string[]> {
  if (step.kind === 'destroy-sets') return destroySets(options, step);
  if ('family' in step) {
    const variant = step.kind === 'leftovers' ? step.variant : options.backend;
    const tool = toolName(variant, step.family, 'restore');
    await write(options, step, [tool, NO_FLUSH, '-w', String(options.lockWaitSeconds)], step.lines);
  } else {
    await write(options, step, WRITE_SETS, step.lines);
  }
  return [];
}

async function write(
  options: LinuxKernelOptions,
  step: Step,
  argv: readonly [string, ...string[]],
  lines: Step['lines'],
): Promise<void> {
  const stdin = await runSliced(joined(lines));
  const [tool] = argv;
  const started = performance.now();
  const report = (waitedForLock: boolean): void =>
    options.onCommand?.({ tool, write: true, durationMs: performance.now() - started, waitedForLock });
  try {
    const timeoutMs = WRITE_TIMEOUT_MS + options.lockWaitSeconds * 1000;
    const { stderr, durationMs } = await options.run({ argv, stdin, timeoutMs });
    report(stderr.includes('xtables lock') || (tool.includes('-legacy-') && durationMs > LONG_COMMIT_MS));
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    const reason = failureReason(error);
    report(reason === 'lock');
    throw new StepFailed(step, tool, reason, failedLine(error), error, advice(error));
  }
}

const LINES_PER_PART = 2_000;

/** The text of the lines, in parts. */
function* joined(lines: Step['lines']): Sliced<readonly string[]> {
  const parts: string[] = [];
  for (let start = 0; start < lines.length; start += LINES_PER_PART) {
    const part = lines.slice(start, start + LINES_PER_PART);
    parts.push(`${part.map(({ text }) => text).join('\n')}\n`);
    yield;
  }
  return parts;
}

function failureReason(error: CommandFailed): StepFailed['reason'] {
  if (error.exitCode === EXIT_RESOURCE_PROBLEM && error.stderr.includes('xtables lock')) return 'lock';
  // Nothing was asked of the kernel, so nothing was refused by it.
  if (NO_LOCK_FILE.test(error.stderr)) return 'unavailable';
  return error.reason === 'exit' ? 'refused' : 'unavailable';
}

const NO_LOCK_FILE = /can't open lock file (\S+): (.*)/;

/** What an operator can do about it, where that is not plain from what the tool says. */
function advice(error: CommandFailed): string {
  const file = NO_LOCK_FILE.exec(error.stderr)?.[1];
  if (file === undefined) return '';
  return (
    `. Until it can be opened nothing is written: mount the host's ${file} as a file that root may write ` +
    '(manifests/base/daemonset.yaml: hostPath of type FileOrCreate); if a folder is in its place, remove that on the node'
  );
}

/**
 * The tools say `Error in line 3: ...`, `Error occurred at line: 3`, `line 3 failed` or `line 3: RULE_APPEND failed`.
 * Where a target chain is missing, the nft variant names the line after it: then no line is better than a wrong one.
 */
function failedLine(error: CommandFailed): number | undefined {
  if (/Chain '.*' does not exist/.test(error.stderr)) return undefined;
  const found = /\bline:? (\d+)\b/.exec(error.stderr);
  return found ? Number(found[1]) : undefined;
}

/** Rules that were just replaced may hold on to a set for a moment; that set is left for later, the others go. */
async function destroySets(options: LinuxKernelOptions, step: Step): Promise<readonly string[]> {
  const busy: string[] = [];
  let lines = step.lines;
  while (lines.length > 0) {
    try {
      await write(options, step, WRITE_SETS, lines);
      return busy;
    } catch (error) {
      if (!(error instanceof StepFailed) || error.line === undefined || error.reason !== 'refused') throw error;
      const refused = lines[error.line - 1];
      if (!refused) throw error;
      const gone = error.message.includes('does not exist');
      if (!gone) busy.push(refused.object);
      lines = lines.slice(error.line);
      if (busy.length >= MAX_BUSY_SETS) return [...busy, ...lines.map((line) => line.object)];
    }
  }
  return busy;
}
