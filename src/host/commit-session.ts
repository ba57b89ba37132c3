/**
 * Restore tools of iptables that stay, from the second commit on: forking a process as large as the agent, and starting a tool that loads a dozen libraries, take
 * several times as long as a small commit (docs/decisions/a-restore-that-stays.md).
 *
 *   *mangle ... COMMIT, then a comment ---> carries it out, prints the comment (`--verbose`): done, and the next commit may come
 *                                           a line is refused: it ends, naming that line; nothing of that commit went in
 *                                           no answer in time: its input is closed, and its exit code tells, as for any command
 *                                           it ends in another way: not known whether the commit went in
 */
import { CommandFailed, type CommandRequest, inParts, type RunCommand } from './command.ts';
import type { ProgramEnd } from './line-program.ts';

import { SessionProgram } from './session-program.ts';

export interface CommitSessions {
  /** As `runCommand`. */
  readonly run: RunCommand;
  /** Ends the programs that wait, and starts no other. */
  stop(): void;
}

/** So long nothing must have run before one is started: the other commands of a sync go first. */
const RESTOCK_MS = 10;
/** For as many different arguments: one tool for each family. */
const MAX_WAITING = 2;
const LIMITS = {
  /** A larger input is a command of its own, which takes little longer for that, and whose memory is gone after it. */
  inputBytes: 256 * 1024,
  /** What a tool loses of its memory with each rule comes back when the next one takes its place. */
  lines: 20_000,
};
/** Where one does not answer ahead of any commit (it reads ahead, prints only when it ends, or is not there) none is tried for so long. */
const MUTE_MS = 600_000;
/** For that answer, on a busy machine. */
const READY_MS = 10_000;
/** Far longer than it takes; what is deleted then is deleted later. */
const LET_GO_MS = 1_000;
/** How both variants name a line. */
const LINE = /\bline:? (\d+)\b/g;
const QUESTION = { line: '# done', answer: '# done' };

interface Session {
  readonly argv: CommandRequest['argv'];
  /** It has answered, and may be given a commit. */
  ready: SessionProgram | undefined;
  /** One is being started. */
  isStarting: boolean;
  isInUse: boolean;
  mutedMs: number;
}

interface CommitSessionOptions {
  /** Commands that are run by a program that stays: `iptables-nft-restore --noflush`, say. */
  readonly stays: (argv: CommandRequest['argv']) => boolean;
  /** Of all others: those that need what was deleted to be gone. */
  readonly needsDeleted?: (request: CommandRequest) => boolean;
  readonly run: RunCommand;
  readonly limits?: Readonly<typeof LIMITS>;
}

export function openCommitSessions(options: CommitSessionOptions): CommitSessions {
  const { stays, needsDeleted = () => false, run, limits = LIMITS } = options;
  /** By arguments, the latest last. */
  const sessions = new Map<string, Session>();
  let running = 0;
  let isStopped = false;
  let restocking: NodeJS.Timeout | undefined;
  const sessionOf = (argv: CommandRequest['argv']): Session => {
    const key = argv.join('\0');
    const session = sessions.get(key) ?? newSession(argv);
    sessions.delete(key);
    sessions.set(key, session);
    for (const [oldest, { ready }] of sessions) {
      if (sessions.size <= MAX_WAITING) break;
      void ready?.end();
      sessions.delete(oldest);
    }
    return session;
  };
  const keep = (session: Session, program: SessionProgram): void => {
    const isKept = !isStopped && sessions.get(session.argv.join('\0')) === session;
    if (isKept && program.lines <= limits.lines) session.ready = program;
    else void program.end();
  };
  const start = async (session: Session): Promise<void> => {
    session.isStarting = true;
    const program = new SessionProgram([...session.argv, '--verbose'], LINE);
    const outcome = await program.carryOut({ argv: session.argv, timeoutMs: READY_MS }, QUESTION);
    session.isStarting = false;
    if (outcome.kind === 'answered') keep(session, program);
    else session.mutedMs = performance.now();
  };
  const restock = (): void => {
    for (const session of sessions.values()) {
      const isThere = session.isInUse || session.isStarting || session.ready?.isOver === false;
      if (!isThere && performance.now() - session.mutedMs > MUTE_MS) void start(session);
    }
  };
  /** The kernel lets go of what nf_tables deleted at the latest when the socket is closed that it was deleted by. */
  const letGo = async (): Promise<void> => {
    const used = [...sessions.values()].filter(({ ready }) => ready !== undefined && ready.lines > 1);
    const ends = used.map(({ ready }) => ready!.end());
    for (const session of used) session.ready = undefined;
    const limit = Promise.withResolvers<void>();
    const timer = setTimeout(limit.resolve, LET_GO_MS);
    await Promise.race([Promise.all(ends), limit.promise]);
    clearTimeout(timer);
  };
  const carryOut = async (session: Session, program: SessionProgram, request: CommandRequest) => {
    session.ready = undefined;
    session.isInUse = true;
    const outcome = await program.carryOut(request, QUESTION);
    session.isInUse = false;
    switch (outcome.kind) {
      case 'answered':
        keep(session, program);
        return outcome.result;
      case 'ended':
        return outcome.result;
      case 'failed':
        throw outcome.error;
      case 'unclear':
        throw failureOf(request, outcome.end);
    }
  };
  return {
    run: async (request) => {
      clearTimeout(restocking);
      running++;
      try {
        if (!isStopped && stays(request.argv) && isPlain(request)) {
          const session = sessionOf(request.argv);
          const { ready } = session;
          const isUsable = ready?.isOver === false && bytesOf(request) <= limits.inputBytes;
          return await (isUsable ? carryOut(session, ready, request) : run(request));
        }
        if (needsDeleted(request)) await letGo();
        return await run(request);
      } finally {
        running--;
        if (running === 0 && !isStopped) restocking = setTimeout(restock, RESTOCK_MS).unref();
      }
    },
    stop: () => {
      isStopped = true;
      clearTimeout(restocking);
      for (const { ready } of sessions.values()) void ready?.end();
      sessions.clear();
    },
  };
}

function newSession(argv: CommandRequest['argv']): Session {
  return { argv, ready: undefined, isStarting: false, isInUse: false, mutedMs: Number.NEGATIVE_INFINITY };
}

function isPlain({ env, signal }: CommandRequest): boolean {
  return env === undefined && signal === undefined;
}

function bytesOf(request: CommandRequest): number {
  return inParts(request).reduce((sum, part) => sum + part.length, 0);
}

function failureOf(request: CommandRequest, { code, complaint }: ProgramEnd): CommandFailed {
  return new CommandFailed(request, code === null ? 'signal' : 'exit', code, complaint);
}
