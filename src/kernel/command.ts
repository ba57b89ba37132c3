/** One command run to its end: arguments, input, time limit, typed failure. The only place in the agent that starts a process. */
import { spawn } from 'node:child_process';

/** Keeps memory bounded when a command floods stderr. */
const MAX_STDERR_BYTES = 64 * 1024;

export interface CommandRequest {
  /** Program and arguments; the program is found on PATH. Never a shell. */
  readonly argv: readonly [string, ...string[]];
  readonly stdin?: string;
  /** Killed (SIGKILL) after this long. */
  readonly timeoutMs: number;
  /** Added to the process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** With so much output the program is killed, and what it printed is its result: the beginning is enough. */
  readonly stopAfterBytes?: number;
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
    this.stdin = request.stdin ?? '';
  }
}

export type RunCommand = (request: CommandRequest) => Promise<CommandResult>;

/** Runs one command. Rejects with `CommandFailed` unless it exits 0. */
export const runCommand: RunCommand = (request) =>
  new Promise((resolve, reject) => {
    const [program, ...args] = request.argv;
    const started = performance.now();
    const fail = (reason: CommandFailureReason, exitCode: number | null, stderr: string): void =>
      reject(new CommandFailed(request, reason, exitCode, stderr));
    if (request.signal?.aborted) return fail('aborted', null, '');
    const child = spawn(program, args, { env: { ...process.env, ...request.env }, stdio: 'pipe' });
    const stdout: Buffer[] = [];
    let stderr = '';
    let stdoutBytes = 0;
    let cut: 'timeout' | 'aborted' | 'enough' | undefined;
    const kill = (why: 'timeout' | 'aborted' | 'enough'): void => {
      cut ??= why;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => kill('timeout'), request.timeoutMs);
    const onAbort = (): void => kill('aborted');
    request.signal?.addEventListener('abort', onAbort, { once: true });
    const settle = (): void => {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', onAbort);
    };
    child.stdout.on('data', (chunk: Buffer) => {
      stdout.push(chunk);
      stdoutBytes += chunk.length;
      if (request.stopAfterBytes !== undefined && stdoutBytes >= request.stopAfterBytes) kill('enough');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (stderr.length < MAX_STDERR_BYTES) stderr += chunk.toString('utf8');
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      settle();
      if (error.code === 'ENOENT') fail('not-found', null, error.message);
      else fail('spawn', null, error.message);
    });
    child.on('close', (code, signal) => {
      settle();
      if (cut && cut !== 'enough') return fail(cut, null, stderr);
      if (signal && !cut) return fail('signal', null, `${signal}: ${stderr}`);
      if (code !== 0 && !cut) return fail('exit', code, stderr);
      resolve({ stdout: Buffer.concat(stdout).toString('utf8'), stderr, durationMs: performance.now() - started });
    });
    // A program that exits without reading its input closes the pipe; its exit code tells the story, not EPIPE.
    child.stdin.on('error', () => {});
    child.stdin.end(request.stdin ?? '');
  });

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
