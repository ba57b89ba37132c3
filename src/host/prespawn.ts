/**
 * A command that is run again and again is started before it is needed: forking a process as large as the agent takes longer than
 * all the rest of a small commit (docs/performance.md).
 */
import { type CommandRequest, type RunCommand, runCommand, type StartedProgram, startProgram } from './command.ts';

/** So long nothing must have run before one is started: the other commands of a sync go first. */
const RESTOCK_MS = 10;

export interface PrespawnedCommand {
  /** As `runCommand`; with the arguments that are waited for, and nothing but input besides, by the program that waits. */
  readonly run: RunCommand;
  /** Ends the program that waits, and starts no other. */
  stop(): void;
}

/**
 * Keeps one program of `argv` waiting for its input, from the first use on. It must do nothing before it has read some, and end at
 * the end of its input; then it ends with this process whatever becomes of that, and has done nothing.
 */
export function prespawn(argv: CommandRequest['argv']): PrespawnedCommand {
  let waiting: StartedProgram | undefined;
  let isWanted = false;
  let isStopped = false;
  let running = 0;
  let restock: NodeJS.Timeout | undefined;
  const start = (): void => {
    isWanted = false;
    waiting = startProgram(argv);
    waiting.unref();
  };
  const take = (): StartedProgram | undefined => {
    const taken = waiting;
    waiting = undefined;
    isWanted = !isStopped;
    return taken?.ended ? undefined : taken;
  };
  return {
    run: async (request) => {
      clearTimeout(restock);
      running++;
      const isAwaited = isPlain(request) && isSame(request.argv, argv);
      try {
        return await ((isAwaited ? take() : undefined)?.finish(request) ?? runCommand(request));
      } finally {
        running--;
        if (isWanted && running === 0) restock = setTimeout(start, RESTOCK_MS).unref();
      }
    },
    stop: () => {
      isStopped = true;
      isWanted = false;
      clearTimeout(restock);
      waiting?.dismiss();
      waiting = undefined;
    },
  };
}

function isPlain({ env, signal }: CommandRequest): boolean {
  return env === undefined && signal === undefined;
}

function isSame(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((word, index) => word === right[index]);
}
