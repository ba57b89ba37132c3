/**
 * A shell that starts short programs which only read: for them, starting a program from this large process would cost more than all
 * they do.
 */
import { type LineProgram, startLineProgram } from './line-program.ts';

const TIMEOUT_MS = 5_000;
/** Words of a line are a command; nothing in them is expanded but blanks. */
const SHELL = 'set -f; while read -r line; do $line 2>/dev/null </dev/null; echo "@@ $?"; done';

/**
 * To read, iptables needs no lock: the kernel hands out a table as a whole. With the host's lock, iptables-legacy would hold up writers, and wait
 * for them.
 */
const ENV = { XTABLES_LOCKFILE: '/dev/null' };

/** What a command prints; its words hold no blanks. Undefined: it failed, or took too long. Never rejects. */
export type ReadCommand = (argv: readonly string[]) => Promise<string | undefined>;

interface Answer {
  /** -1: none. */
  readonly code: number;
  readonly text: string;
}

interface ReadingShell {
  readonly read: ReadCommand;
  stop(): void;
}

/** Starts with the first command; these run one after the other. */
export function openReadingShell(): ReadingShell {
  let program: LineProgram | undefined;
  let printed: string[] = [];
  let answer: ((found: Answer) => void) | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let isStopped = false;
  const done = (code: number): void => {
    const text = printed.length > 0 ? `${printed.join('\n')}\n` : '';
    printed = [];
    answer?.({ code, text });
    answer = undefined;
  };
  const start = (): LineProgram => {
    const started = startLineProgram({
      argv: ['sh', '-c', SHELL],
      env: ENV,
      guarded: false,
      onLine: (line) => {
        const end = /^@@ (\d+)$/.exec(line);
        if (end) done(Number(end[1]));
        else if (answer) printed.push(line);
      },
      ended: () => {
        if (program !== started) return;
        program = undefined;
        done(-1);
      },
    });
    return started;
  };
  const runOne = (line: string): Promise<Answer> => {
    if (isStopped) return Promise.resolve({ code: -1, text: '' });
    program ??= start();
    return new Promise((resolve) => {
      // Its output stays open as long as the command that hangs: nobody waits for that.
      const timer = setTimeout(() => {
        program?.kill();
        program = undefined;
        done(-1);
      }, TIMEOUT_MS).unref();
      answer = (found) => {
        clearTimeout(timer);
        resolve(found);
      };
      void program!.write([`${line}\n`]);
    });
  };
  return {
    read: async (argv) => {
      const next = last.then(() => runOne(argv.join(' ')));
      last = next;
      const { code, text } = await next;
      return code === 0 ? text : undefined;
    },
    stop: () => {
      isStopped = true;
      program?.kill();
    },
  };
}
