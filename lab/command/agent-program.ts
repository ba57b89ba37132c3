/** The command line that starts the product, as far as its first argument: what the image starts, from the sources. */
import { fileURLToPath } from 'node:url';

export const AGENT_PROGRAM = [
  process.execPath,
  ...process.execArgv,
  fileURLToPath(new URL('../../src/main.ts', import.meta.url)),
] as const satisfies readonly [string, ...string[]];
