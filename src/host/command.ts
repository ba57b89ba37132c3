/** One command run to its end: arguments, input, time limit, typed failure. Nowhere else does the agent start a process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants, setPriority } from 'node:os';

import { openListingFile } from './listing-file.ts';
import { writeLines } from './write-lines.ts';

/** Keeps memory bounded when a command floods stderr. */
const MAX_STDERR_BYTES = 64 * 1024;

export interface CommandRequest {
  /** Program and arguments; the program is found on PATH. Never a shell. */
  readonly argv: readonly [string, ...string[]];
  /** In parts, where it is so long that others should have a turn while it is written; each part ends with a line. */
  readonly stdin?: string | readonly string[];
  /** Killed (SIGKILL) after this long. */
  readonly timeoutMs: number;
  /** Added to the process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Others go first: the program gets what processor time they leave. */
  readonly background?: boolean;
  /** With so much output the program is killed, and what it printed is its result: the beginning is enough. */
  readonly stopAfterBytes?: number;
  /**
   * It prints text, much of it, and flushes it in small pieces: into a file in memory where possible. It changes nothing, as it is run again
   * where it printed more than the file has room for.
   */
  readonly isListing?: boolean;
}

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

export type CommandFailureReason = 'not-found' | 'timeout' | 'exit' | 'signal' | 'aborted' | 'spawn';

/** A command that did not succeed, with everything needed to run it again by hand. */
export class CommandFailed extends Error {
  readonly argv: readonly string[];
  readonly reason: CommandFailureReason;
  readonly exitCode: number | null;
  readonly stderr: string;
  readonly stdin: string;

  constructor(request: CommandRequest, reason: CommandFailureReason, exitCode: number | null, stderr: string) {
    super(describeFailure(request, reason, exitCode, stderr));
    this.name = 'CommandFailed';
    this.argv = request.argv;
    this.reason = reason;
    this.exitCode = exitCode;
    this.stderr = stderr;
    this.stdin = stdinText(request);
  }
}

export function inParts({ stdin = [] }: Pick<CommandRequest, 'stdin'>): readonly string[] {
  return typeof stdin === 'string' ? [stdin] : stdin;
}

/** The whole input as one text. */
export function stdinText({ stdin = '' }: Pick<CommandRequest, 'stdin'>): string {
  return typeof stdin === 'string' ? stdin : stdin.join('');
}

export type RunCommand = (request: CommandRequest) => Promise<CommandResult>;

type Cut = 'timeout' | 'aborted' | 'enough';
type End = { readonly code: number | null; readonly signal: NodeJS.Signals | null } | { readonly error: Error };

let ended = 0;

/** How many commands have ended so far. */
export function commandsEnded(): number {
  return ended;
}

/** Runs one command. Rejects with `CommandFailed` unless it exits 0. */
export const runCommand: RunCommand = async (request) => {
  if (request.signal?.aborted) throw new CommandFailed(request, 'aborted', null, '');
  return (request.isListing ? await runIntoFile(request) : undefined) ?? (await runToEnd(request));
};

async function runToEnd(request: CommandRequest, output: 'pipe' | number = 'pipe'): Promise<CommandResult> {
  return await new RunningProgram(start(request, output)).finish(request);
}

/** The first time, and what a listing may grow by until the next one. */
const FIRST_ROOM_BYTES = 2 * 1024 * 1024;
const MORE_ROOM_BYTES = 64 * 1024;
const MAX_REMEMBERED = 50;
/** What listings needed the last time. */
const lengths = new Map<string, number>();

/** Where it was longer than expected, once more with room for all of it. Undefined: it is not known to be whole. */
async function runIntoFile(request: CommandRequest): Promise<CommandResult | undefined> {
  return (await tryIntoFile(request)) ?? (await tryIntoFile(request));
}

async function tryIntoFile(request: CommandRequest): Promise<CommandResult | undefined> {
  const key = request.argv.join(' ');
  const length = lengths.get(key);
  const room = length === undefined ? FIRST_ROOM_BYTES : Math.ceil(1.25 * length) + MORE_ROOM_BYTES;
  const file = openListingFile(room);
  if (!file) return undefined;
  try {
    const result = await runToEnd(request, file.descriptor);
    const stdout = await file.read();
    if (lengths.size >= MAX_REMEMBERED) lengths.clear();
    lengths.set(key, stdout?.length ?? file.length());
    return stdout === undefined ? undefined : { ...result, stdout };
  } finally {
    file.close();
  }
}

function start(request: CommandRequest, output: 'pipe' | number): ChildProcess {
  const { argv, env, background = false } = request;
  const [program, ...args] = argv;
  try {
    const stdio = ['pipe', output, 'pipe'] as const;
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: [...stdio] });
    if (background) lowerPriority(child.pid);
    return child;
  } catch (error) {
    // Most of what can be wrong is told by an event; too long a list of arguments, and no memory, in this way.
    throw new CommandFailed(request, 'spawn', null, (error as Error).message);
  }
}

class RunningProgram {
  readonly #child: ChildProcess;
  readonly #printed: Buffer[] = [];
  #printedBytes = 0;
  #complaints = '';
  #enough = Number.POSITIVE_INFINITY;
  #cut: Cut | undefined;
  readonly #end: Promise<End>;

  constructor(child: ChildProcess) {
    this.#child = child;
    // Without a descriptor left there are no pipes.
    const { stdin, stdout, stderr } = child;
    stdout?.on('data', (chunk: Buffer) => {
      this.#printed.push(chunk);
      this.#printedBytes += chunk.length;
      if (this.#printedBytes >= this.#enough) this.#kill('enough');
    });
    stderr?.on('data', (chunk: Buffer) => {
      if (this.#complaints.length < MAX_STDERR_BYTES) this.#complaints += chunk.toString('utf8');
    });
    // A program that exits without reading its input closes the pipe; its exit code tells the story, not EPIPE.
    stdin?.on('error', () => {});
    this.#end = new Promise<End>((resolve) => {
      child.on('error', (error) => resolve({ error }));
      child.on('close', (code, signal) => resolve({ code, signal }));
    });
  }

  #kill(why: Cut): void {
    this.#cut ??= why;
    this.#child.kill('SIGKILL');
  }

  /** Gives it its input; waits until it ends. Once. Rejects with `CommandFailed` unless it exits 0. */
  async finish(request: CommandRequest): Promise<CommandResult> {
    const started = performance.now();
    this.#enough = request.stopAfterBytes ?? this.#enough;
    const onAbort = (): void => this.#kill('aborted');
    request.signal?.addEventListener('abort', onAbort, { once: true });
    const timer = setTimeout(() => this.#kill('timeout'), request.timeoutMs);
    if (this.#child.stdin) void writeLines(this.#child.stdin, inParts(request));
    const how = await this.#end;
    ended++;
    clearTimeout(timer);
    request.signal?.removeEventListener('abort', onAbort);
    const failure = failureOf(request, how, this.#cut, this.#complaints);
    if (failure) throw failure;
    const durationMs = performance.now() - started;
    return { stdout: Buffer.concat(this.#printed).toString('utf8'), stderr: this.#complaints, durationMs };
  }
}

function lowerPriority(pid: number | undefined): void {
  try {
    if (pid !== undefined) setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch {
    // It has ended already, or may not be lowered.
  }
}

function failureOf(request: CommandRequest, end: End, cut: Cut | undefined, stderr: string): CommandFailed | undefined {
  const failed = (reason: CommandFailureReason, exitCode: number | null, text: string): CommandFailed =>
    new CommandFailed(request, reason, exitCode, text);
  if ('error' in end) {
    const isMissing = (end.error as NodeJS.ErrnoException).code === 'ENOENT';
    return failed(isMissing ? 'not-found' : 'spawn', null, end.error.message);
  }
  if (cut === 'enough') return undefined;
  if (cut) return failed(cut, null, stderr);
  if (end.signal) return failed('signal', null, `${end.signal}: ${stderr}`);
  return end.code === 0 ? undefined : failed('exit', end.code, stderr);
}

/** As Debian, Alpine and Fedora call it, give or take a suffix. */
function packageOf(program: string): string {
  return /^ip6?tables/.test(program) ? 'iptables' : program === 'conntrack' ? 'conntrack or conntrack-tools' : program;
}

function describeFailure(
  request: CommandRequest,
  reason: CommandFailureReason,
  exitCode: number | null,
  stderr: string,
): string {
  const command = request.argv.join(' ');
  const detail = stderr.trim();
  switch (reason) {
    case 'not-found':
      return `${request.argv[0]}: command not found; install package ${packageOf(request.argv[0])} or correct PATH`;
    case 'timeout':
      return `${command}: no result after ${request.timeoutMs} ms, killed${detail ? `: ${detail}` : ''}`;
    case 'aborted':
      return `${command}: stopped by shutdown`;
    case 'signal':
      return `${command}: ended by ${detail}`;
    case 'spawn':
      return `${command}: cannot start: ${detail}`;
    case 'exit':
      return `${command}: exit code ${exitCode}${detail ? `: ${detail}` : ''}`;
  }
}
