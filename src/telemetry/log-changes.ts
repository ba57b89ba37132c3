/** What lasts is told once: when it begins, when it becomes something else, and when it is over. */
import type { Logger, LogLevel } from './log.ts';

/**
 * The result writes a line if `message` is another than the last time. `usual`: what needs no line as long as nothing else was told.
 * `key`: what stands for the message where that changes in ways that nobody need be told of.
 */
export function logChanges(
  log: Pick<Logger, LogLevel>,
  usual = '',
): (level: LogLevel, message: string, key?: string) => void {
  let told = usual;
  return (level, message, key = message) => {
    if (key === told) return;
    told = key;
    log[level](message);
  };
}
