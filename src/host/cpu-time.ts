/** What this process and the commands it ran have used of the processor. */
import { openSync, readSync } from 'node:fs';

import { commandsEnded } from './command.ts';

/** /proc counts in ticks of USER_HZ, which is 100 on all architectures of Linux that Node.js runs on. */
const MS_PER_TICK = 10;
/** proc(5): cutime and cstime are fields 16 and 17; what follows the name in parentheses begins with field 3. */
const CHILDREN_USER = 16 - 3;
const CHILDREN_SYSTEM = 17 - 3;

/** Milliseconds so far, of all threads and of every command that ended. Where /proc is not to be read: without the commands. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000 + childrenCpuMs();
}

/** Of the commands that had ended when it was read: it is asked twice a sync, and most syncs run none. */
let children = { commands: 0, ms: 0 };
/** Kept open. What is read from its start is as of now. */
let stat: number | undefined;
/** More than the line is long. */
const buffer = Buffer.alloc(2_048);

function childrenCpuMs(): number {
  const commands = commandsEnded();
  if (commands !== children.commands) children = { commands, ms: readChildrenMs() };
  return children.ms;
}

function readChildrenMs(): number {
  try {
    stat ??= openSync('/proc/self/stat', 'r');
    return childrenMsOf(buffer.toString('latin1', 0, readSync(stat, buffer, 0, buffer.length, 0)));
  } catch {
    return 0;
  }
}

/** `stat`: see proc(5). A name may hold spaces and parentheses. */
export function childrenMsOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[CHILDREN_USER]) + Number(fields[CHILDREN_SYSTEM])) * MS_PER_TICK;
}
