/**
 * A command that is run again and again is started before it is needed: forking a process as large as the agent and starting the tool take
 * several times as long as a small commit (docs/decisions/a-restore-that-waits.md).
 */
import { type CommandRequest, type RunCommand, type StartedProgram, startProgram } from './command.ts';

/** So long nothing must have run before one is started: the other commands of a sync go first. */
const RESTOCK_MS = 10;
/** For as many different arguments: one tool for each family. */
const MAX_WAITING = 2;

export interface PrespawnedCommands {
  readonly run: RunCommand;
  /** Ends the programs that wait, and starts no other. */
  stop(): void;
}

/**
 * Runs commands by `run`, those that `isAwaited` by programs that were started ahead, from their second use on. Such a program must do
 * nothing before it has read some input, and end at the end of it; then it ends with this process whatever becomes of that.
 */
export function prespawn(isAwaited: (argv: CommandRequest['argv']) => boolean, run: RunCommand): PrespawnedCommands {
  /** By arguments, the latest last; undefined: to be started. */
  const waiting = new Map<string, StartedProgram | undefined>();
  const argvOf = new Map<string, CommandRequest['argv']>();
  let running = 0;
  let isStopped = false;
  let restock: NodeJS.Timeout | undefined;
  const drop = (key: string): void => {
    waiting.get(key)?.dismiss();
    waiting.delete(key);
    argvOf.delete(key);
  };
  const take = (argv: CommandRequest['argv']): StartedProgram | undefined => {
    const key = argv.join('\0');
    const taken = waiting.get(key);
    waiting.delete(key);
    waiting.set(key, undefined);
    argvOf.set(key, argv);
    for (const [oldest] of waiting) if (waiting.size > MAX_WAITING) drop(oldest);
    return taken?.isOver === false ? taken : undefined;
  };
  const start = (): void => {
    for (const [key, program] of waiting) {
      if (program) continue;
      const started = startProgram(argvOf.get(key)!);
      started.unref();
      waiting.set(key, started);
    }
  };
  return {
    run: async (request) => {
      clearTimeout(restock);
      running++;
      const isOurs = !isStopped && isPlain(request) && isAwaited(request.argv);
      try {
        return await ((isOurs ? take(request.argv) : undefined)?.finish(request) ?? run(request));
      } finally {
        running--;
        if (running === 0 && !isStopped) restock = setTimeout(start, RESTOCK_MS).unref();
      }
    },
    stop: () => {
      isStopped = true;
      clearTimeout(restock);
      for (const key of [...waiting.keys()]) drop(key);
    },
  };
}

function isPlain({ env, signal }: CommandRequest): boolean {
  return env === undefined && signal === undefined;
}
