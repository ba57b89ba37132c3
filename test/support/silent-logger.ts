import type { Logger } from '../../src/telemetry/log.ts';

/** Says nothing; tests put functions of their own in place of some. */
export const SILENT_LOGGER: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => SILENT_LOGGER,
};
