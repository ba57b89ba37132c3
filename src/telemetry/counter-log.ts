/** What the log says of the counts of rules. Nothing else depends on them, so nothing of it is an error. */
import type { Logger } from './log.ts';

export interface CounterLog {
  /** Undefined: they can be read again. */
  readonly onUnread: (problem: string | undefined) => void;
  readonly onLoad: (found: 'counts' | 'nothing' | 'another boot' | 'unreadable') => void;
  /** Undefined: they are kept again. */
  readonly onUnkept: (problem: string | undefined) => void;
}

/** `file`: where counts are kept; null: nowhere. */
export function createCounterLog(log: Logger, file: string | null): CounterLog {
  return {
    onUnread: (problem) => {
      if (problem === undefined) log.info('what the rules counted can be read again; nothing of it is lost');
      else log.warn(`what the rules counted cannot be read, metrics of policies stand still: ${problem}`);
    },
    onLoad: (found) => {
      if (found === 'counts') log.info('counts of rules go on from where the agent before this one was', { file });
      else if (found === 'another boot') log.info('counts of rules begin anew with this boot', { file });
      else if (found === 'unreadable')
        log.warn('counts of rules go on from what the kernel holds: the file is damaged', { file });
    },
    onUnkept: (problem) => {
      if (problem === undefined) log.info('counts of rules are kept again', { file });
      else
        log.info(
          `counts of rules are not kept: of chains deleted before the agent is restarted they end with it: ${problem}`,
          {
            file,
          },
        );
    },
  };
}
