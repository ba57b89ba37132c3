/** Processes that a process has started, by /proc. Any of them may end while it is looked at. */
import { readdirSync, readFileSync } from 'node:fs';

export function childrenOf(parent: number): readonly number[] {
  const tasks = unlessEnded(() => readdirSync(`/proc/${parent}/task`)) ?? [];
  return tasks.flatMap((task) => {
    const list = unlessEnded(() => readFileSync(`/proc/${parent}/task/${task}/children`, 'latin1')) ?? '';
    return list.split(' ').filter(Boolean).map(Number);
  });
}

/** Of its program, cut at 15 characters; empty if it has ended. */
export function programOf(pid: number): string {
  return (unlessEnded(() => readFileSync(`/proc/${pid}/comm`, 'latin1')) ?? '').trimEnd();
}

function unlessEnded<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
