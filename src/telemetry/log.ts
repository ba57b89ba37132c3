/** Logging: one JSON object per line. The rest of the agent sees the interface `Logger`, never the library behind it. */
import pino from 'pino';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Facts that belong to a message. An `Error` under the key `error` is written as name and message, with its stack at level debug. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  /** `fields` as a function: only asked where the level is debug. */
  debug(message: string, fields?: LogFields | (() => LogFields)): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `component` to every line. */
  child(component: string): Logger;
}

interface LoggerOptions {
  readonly level: LogLevel;
  /** Receives whole lines; stdout if absent. */
  readonly destination?: { write(line: string): void };
}

/**
 * Lines look like `{"level":"info","time":"2026-01-02T03:04:05.678Z","component":"watch","message":"..."}`. Written
 * synchronously and without worker threads, so that nothing is lost at exit and the agent stays one file. Without a destination the
 * process waits for whoever reads standard output.
 */
export function createLogger(options: LoggerOptions): Logger {
  const settings: pino.LoggerOptions = {
    level: options.level,
    base: null,
    messageKey: 'message',
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: (error: unknown) => describeError(error, options.level === 'debug') },
  };
  return wrap(pino(settings, options.destination ?? pino.destination({ dest: 1, sync: true })));
}

/** A line for when the logger cannot be used. */
export function lineOf(level: LogLevel, message: string): string {
  return `${JSON.stringify({ level, time: new Date().toISOString(), message })}\n`;
}

function wrap(inner: pino.Logger): Logger {
  return {
    debug: (message, fields = {}) => {
      if (inner.isLevelEnabled('debug')) inner.debug(typeof fields === 'function' ? fields() : fields, message);
    },
    info: (message, fields) => inner.info(fields ?? {}, message),
    warn: (message, fields) => inner.warn(fields ?? {}, message),
    error: (message, fields) => inner.error(fields ?? {}, message),
    child: (component) => wrap(inner.child({ component })),
  };
}

/** Only name, message, code and stack: an error may carry the whole input of a failed command. */
function describeError(error: unknown, withStack: boolean): unknown {
  if (!(error instanceof Error)) return error;
  const { code } = error as NodeJS.ErrnoException;
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...(withStack ? { stack: error.stack } : {}),
  };
}
