/**
 * One `ipset restore` that stays and is given one input after the other: forking a process as large as the agent takes longer than all the
 * rest of a small change (docs/decisions/an-ipset-that-stays.md).
 *
 *   lines, then `list -n SET` ---> carries them out, prints SET: done, and the next input may come
 *                                  a line is refused: it ends, naming that line
 *                                  no answer in time: its input is closed, and its exit code tells, as for any command
 *                                  it ends in another way: the lines go to a command of their own, which says what is wrong
 */
import { type CommandRequest, type CommandResult, inParts, type RunCommand, runCommand } from './command.ts';
import { SessionProgram } from './session-program.ts';

/** So long nothing must have run before one is started: the other commands of a sync go first. */
const RESTOCK_MS = 10;

export interface RestoreSession {
  /** As `runCommand`. Inputs of the session's own command go to the program that stays. */
  readonly run: RunCommand;
  /** Ends the program that waits, and starts no other. */
  stop(): void;
}

/**
 * `argv`: `ipset restore` with its options. Any other command of ipset, as one that reads, ends the program that waits: it keeps the types
 * of the sets it has met, and nothing that was learned before a read is trusted after it.
 */
export function openRestoreSession(argv: CommandRequest['argv']): RestoreSession {
  const ipset = argv.slice(0, argv.indexOf('restore'));
  let waiting: SessionProgram | undefined;
  /** The set asked about last: it was there. */
  let known: string | undefined;
  let isWanted = false;
  /** It cannot be started so, or prints only when it ends. Tried again after the next read. */
  let isMute = false;
  let isStopped = false;
  let running = 0;
  let restock: NodeJS.Timeout | undefined;
  const take = (): SessionProgram => {
    const taken = waiting?.isOver === false ? waiting : new SessionProgram(argv, LINE);
    waiting = undefined;
    return taken;
  };
  const keep = (program: SessionProgram): void => {
    if (isStopped || waiting || program.isOver) void program.end();
    else waiting = program;
  };
  const carryOut = async (request: CommandRequest, set: string): Promise<CommandResult> => {
    isWanted = true;
    const program = take();
    const outcome = await program.carryOut(request, { line: `list -n ${set}`, answer: set });
    switch (outcome.kind) {
      case 'answered':
        known = set;
        keep(program);
        return outcome.result;
      case 'ended':
        isMute = !program.hasAnswered;
        return outcome.result;
      case 'failed':
        throw outcome.error;
      case 'unclear':
        isMute = !program.hasAnswered;
        // Each line may be carried out twice: with -exist the second time does nothing.
        return await runCommand(request);
    }
  };
  const isOwn = (request: CommandRequest): boolean => isSame(request.argv, argv) && isPlain(request);
  const run: RunCommand = async (request) => {
    const set = isOwn(request) ? setToAskAbout(request, known) : undefined;
    if (set !== undefined && !isMute && !isStopped) return await carryOut(request, set);
    if (isSame(request.argv.slice(0, ipset.length), ipset)) {
      void waiting?.end();
      waiting = undefined;
      isMute &&= isOwn(request);
    }
    return await runCommand(request);
  };
  return {
    run: async (request) => {
      clearTimeout(restock);
      running++;
      try {
        return await run(request);
      } finally {
        running--;
        if (running === 0 && isWanted && !isMute && !isStopped)
          restock = setTimeout(() => keep(take()), RESTOCK_MS).unref();
      }
    },
    stop: () => {
      isStopped = true;
      clearTimeout(restock);
      void waiting?.end();
      waiting = undefined;
    },
  };
}

function isPlain({ env, signal }: CommandRequest): boolean {
  return env === undefined && signal === undefined;
}

/** What ipset says of a refused line. */
const LINE = /\bError in line (\d+):/g;

function isSame(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((word, index) => word === right[index]);
}

/** A set that is there once all lines are carried out: of the last line, or `known` where sets are destroyed. */
function setToAskAbout(request: CommandRequest, known: string | undefined): string | undefined {
  const parts = inParts(request);
  const set = LAST_SET.exec(parts.at(-1)?.slice(-MAX_LAST_LINE) ?? '')?.[1];
  if (set !== undefined || known === undefined) return set;
  return parts.some((part) => `\n${part}`.includes(`\ndestroy ${known}\n`)) ? undefined : known;
}

const LAST_SET = /(?:^|\n)(?:create|add|del) (\S+) [^\n]*\n$/;
const MAX_LAST_LINE = 1_024;
