/**
 * Short looks at the kernel, for which starting a program from this large process would cost more than the look: one small shell stays
 * ready and starts them (docs/decisions/noticing-drift.md).
 */
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { ObservedFamily } from '../plan/plan.ts';
import type { SetHeader } from './read-looks.ts';
import type { Hook } from '../rules/ruleset.ts';

import { readChainListing, readSetHeaders } from './read-looks.ts';
import { savedRules } from '../plan/read-saved.ts';
import { type LineProgram, startLineProgram } from '../../../host/line-program.ts';
import { toolName } from '../kernel/linux-kernel.ts';
import { takeTurns } from '../../../core/run-sliced.ts';

export interface Looks {
  /** All rules of the built-in chain; undefined: could not be read. None of these rejects. */
  hook(backend: Backend, family: Family, hook: Hook): Promise<readonly string[] | undefined>;
  /** Everything of ours in table mangle; takes time in proportion to the table. */
  rules(backend: Backend, family: Family): Promise<ObservedFamily | undefined>;
  /** All sets, without members. */
  setHeaders(): Promise<ReadonlyMap<string, SetHeader> | undefined>;
  /** What any command prints that only reads; its words hold no blanks. */
  text(argv: readonly string[]): Promise<string | undefined>;
  stop(): void;
}

const TIMEOUT_MS = 5_000;
/** Words of a line are a command; nothing in them is expanded but blanks. */
const SHELL = 'set -f; while read -r line; do $line 2>/dev/null </dev/null; echo "@@ $?"; done';
/**
 * A look needs no lock: the kernel hands out a table as a whole. With the host's lock, iptables-legacy would hold up writers, and wait
 * for them.
 */
const ENV = { XTABLES_LOCKFILE: '/dev/null' };

export function createLooks(): Looks {
  const shell = createShell();
  const ask = async (argv: readonly string[]): Promise<string | undefined> => {
    const { code, text } = await shell.run(argv.join(' '));
    return code === 0 ? text : undefined;
  };
  return {
    hook: async (backend, family, hook) => {
      const tool = toolName(backend, family, 'save').replace(/-save$/, '');
      const text = await ask([tool, '-t', 'mangle', '-S', hook]);
      return text === undefined ? undefined : readChainListing(text, hook);
    },
    rules: async (backend, family) => {
      const text = await ask([toolName(backend, family, 'save'), '-t', 'mangle']);
      return text === undefined ? undefined : await takeTurns(savedRules(text));
    },
    setHeaders: async () => {
      const text = await ask(['ipset', 'list', '-terse']);
      return text === undefined ? undefined : readSetHeaders(text);
    },
    text: ask,
    stop: () => shell.stop(),
  };
}

interface Answer {
  /** -1: none. */
  readonly code: number;
  readonly text: string;
}

/** One command after the other. */
function createShell(): { run(line: string): Promise<Answer>; stop(): void } {
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
      program!.write(`${line}\n`);
    });
  };
  return {
    run: (line) => {
      const next = last.then(() => runOne(line));
      last = next;
      return next;
    },
    stop: () => {
      isStopped = true;
      program?.kill();
    },
  };
}
