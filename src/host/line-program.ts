/** A program that runs beside the agent for long and prints lines. It ends with the agent, whatever becomes of that. */
import { type ChildProcess, spawn } from 'node:child_process';

import type { CommandRequest } from './command.ts';

import { writePieces } from './write-lines.ts';

/** Of a line; what is longer loses its end. */
const MAX_LINE = 4_096;
const MAX_COMPLAINT = 500;

export interface LineProgram {
  /** To its standard input, whole lines; not for one that is `guarded`. Resolves once it is written, or nobody reads any more. */
  write(parts: readonly string[]): Promise<unknown>;
  endInput(): void;
  /** `ended` is still told. */
  kill(): void;
}

export interface ProgramEnd {
  readonly isMissing: boolean;
  /** Null: a signal ended it, or it could not be started. */
  readonly code: number | null;
  /** The last that it said on stderr, or why it could not be started. */
  readonly complaint: string;
}

export interface LineProgramOptions {
  readonly argv: CommandRequest['argv'];
  readonly env?: Readonly<Record<string, string>>;
  /** It does not read its input, so a shell beside it waits there for our end and ends it. */
  readonly guarded: boolean;
  readonly onLine: (line: string) => void;
  /** Once. */
  readonly ended: (how: ProgramEnd) => void;
}

/** The shell of a guarded program; exits as it does. 127: not installed. */
const GUARD =
  'exec 3<&0; "$@" </dev/null & child=$!; { read -r _ <&3; kill $child; } 2>/dev/null >&2 & guard=$!; ' +
  'wait $child; code=$?; kill $guard 2>/dev/null; exit $code';
const EXIT_NOT_FOUND = 127;

/** Starts it at once. Does not keep this process alive. */
export function startLineProgram({ argv, env, guarded, onLine, ended }: LineProgramOptions): LineProgram {
  const [program, ...args] = guarded ? (['sh', '-c', GUARD, 'sh', ...argv] as const) : argv;
  let complaint = '';
  let isOver = false;
  const end = (isMissing: boolean, code: number | null = null): void => {
    if (isOver) return;
    isOver = true;
    ended({ isMissing, code, complaint: complaint.trim() });
  };
  let child: ChildProcess;
  try {
    child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'pipe' });
  } catch (error) {
    // No memory, say: most of what can be wrong is told by an event.
    complaint = String(error);
    queueMicrotask(() => end(false));
    return { write: () => Promise.resolve(), endInput: () => {}, kill: () => {} };
  }
  child.on('error', (error: NodeJS.ErrnoException) => {
    complaint = error.message;
    end(error.code === 'ENOENT');
  });
  child.on('close', (code) => end(code === EXIT_NOT_FOUND, code));
  child.stdin?.on('error', () => {});
  child.stderr?.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString('utf8')).slice(-MAX_COMPLAINT);
  });
  child.stdout?.on('data', splitLines(onLine));
  for (const handle of [child, child.stdin, child.stdout, child.stderr] as unknown as { unref?(): void }[]) {
    handle?.unref?.();
  }
  return {
    write: (parts) => (child.stdin ? writePieces(child.stdin, parts) : Promise.resolve()),
    endInput: () => child.stdin?.end(),
    // The guard's own end is that of its input.
    kill: () => (guarded ? child.stdin?.end() : child.kill('SIGKILL')),
  };
}

/** Keeps no more than the line that is not yet whole. */
function splitLines(onLine: (line: string) => void): (chunk: Buffer) => void {
  let rest = '';
  return (chunk) => {
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop()!.slice(0, MAX_LINE);
    for (const line of lines) onLine(line);
  };
}
