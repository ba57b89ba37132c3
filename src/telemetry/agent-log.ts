/** The agent's log: JSON lines on standard output that nobody has to read. */
import { afterUnlessExit } from '../core/clock.ts';

import type { LogLevel, Logger } from './log.ts';
import type { AgentMetrics } from './metrics.ts';

import { createLogger, lineOf } from './log.ts';
import { LogOutput } from './log-output.ts';
import { LogTail } from './log-tail.ts';
import { neverBlock, standardOutput } from './standard-streams.ts';

interface AgentLog {
  readonly log: Logger;
  /** The last lines, written or lost. */
  readonly tail: LogTail;
  /** Writes what standard output takes now; the rest is lost. */
  close(): void;
}

export function openAgentLog(level: LogLevel, metrics: AgentMetrics): AgentLog {
  // What Node.js or a library writes there would wait as well.
  neverBlock(2);
  const output = new LogOutput({
    sink: standardOutput(),
    after: afterUnlessExit,
    lossLine: (count) => lineOf('warn', `${count} log lines were lost here: standard output was not read`),
  });
  metrics.beforeScrape(() => metrics.logLinesDropped(output.dropped));
  const tail = new LogTail();
  const write = (line: string): void => {
    tail.write(line);
    output.write(line);
  };
  const log = createLogger({ level, destination: { write } });
  const warn = ({ name, message }: Error): void => log.warn(`${name}: ${message}`);
  process.removeAllListeners('warning');
  process.on('warning', warn);
  return {
    log,
    tail,
    close: () => {
      process.off('warning', warn);
      output.flush();
    },
  };
}
