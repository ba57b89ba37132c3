/** How long the event loop stood still, and how much of that was work of its own thread. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

const TURN_MS = 1;

/** Between two turns of the event loop. Longer by the clock than in CPU: the thread was not running, or waited for a process it started. */
export interface Stall {
  /** The longest time, in ms. */
  readonly ms: number;
  /** The most CPU that the thread used, in ms; not necessarily at the same time. */
  readonly cpuMs: number;
}

export interface StallWatch {
  /** Since the start or the last call. */
  longest(): Stall;
  stop(): void;
}

export function watchStalls(): StallWatch {
  let [at, cpu, ms, cpuMs] = [performance.now(), threadCpuMs(), 0, 0];
  let timer: NodeJS.Timeout;
  const look = (): void => {
    const [now, used] = [performance.now(), threadCpuMs()];
    ms = Math.max(ms, now - at - TURN_MS);
    cpuMs = Math.max(cpuMs, used - cpu);
    [at, cpu] = [now, used];
  };
  const turn = (): void => {
    look();
    timer = setTimeout(turn, TURN_MS);
  };
  turn();
  return {
    longest: () => {
      look();
      const longest = { ms: Math.max(0, ms), cpuMs };
      [ms, cpuMs] = [0, 0];
      return longest;
    },
    stop: () => clearTimeout(timer),
  };
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

export function longestOf(stalls: readonly Stall[]): Stall {
  return { ms: Math.max(0, ...stalls.map(({ ms }) => ms)), cpuMs: Math.max(0, ...stalls.map(({ cpuMs }) => cpuMs)) };
}

/** A process that does nothing but look how long it stands still: what the machine does to anybody. */
export class IdleProcess {
  readonly #child: ChildProcess = fork(import.meta.filename, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });

  /** Since the start or the last call. */
  async longest(): Promise<Stall> {
    const answer = once(this.#child, 'message');
    this.#child.send('longest');
    return ((await answer) as [Stall])[0];
  }

  stop(): void {
    this.#child.disconnect();
  }
}

/** Lets timers and sockets have their turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Milliseconds since the epoch, with fractions: comparable between processes. */
export function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function watchIdly(): void {
  const stalls = watchStalls();
  process.on('message', () => void process.send!(stalls.longest()));
  process.on('disconnect', () => stalls.stop());
}

if (process.argv[1] === import.meta.filename) watchIdly();
