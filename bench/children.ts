/** Processes that must not outlive this one, however it ends. */
import type { ChildProcess } from 'node:child_process';

const living = new Set<ChildProcess>();

/** The process is killed when this one ends: after its work, on an error, or on a signal that `exitOnSignals` turns into an end. */
export function endWithUs(child: ChildProcess): void {
  if (living.size === 0) process.on('exit', killAll);
  living.add(child);
  child.once('exit', () => {
    living.delete(child);
    if (living.size === 0) process.off('exit', killAll);
  });
}

/** SIGINT and SIGTERM end the process as its own end would, with the exit code of a shell. */
export function exitOnSignals(): void {
  process.on('SIGINT', () => process.exit(130));
  process.on('SIGTERM', () => process.exit(143));
}

function killAll(): void {
  for (const child of living) child.kill('SIGKILL');
}
