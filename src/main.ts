/** The program's entry: wires the process's edges to `runProgram`. */
import manifest from '../package.json' with { type: 'json' };
import { writeOnce } from './status/standard-streams.ts';
import { EXIT_FAILURE } from './cli/help.ts';
import { describeCrash, runProgram, wantsStack } from './cli/program.ts';

const argv = process.argv.slice(2);
const stop = new AbortController();

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    // The second one means: do not wait for the orderly end.
    if (stop.signal.aborted) process.exit(EXIT_FAILURE);
    stop.abort();
  });
}
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    // Not by the stream: where nobody reads standard error, it would wait for ever.
    writeOnce(2, `portcullis: ${describeCrash(error, wantsStack(argv, process.env))}\n`);
    process.exit(EXIT_FAILURE);
  });
}

const exitCode = await runProgram(argv, {
  env: process.env,
  version: manifest.version,
  signal: stop.signal,
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  load: {
    agent: () => import('./cli/run.ts'),
    lab: () => import('./cli/lab.ts'),
  },
});
process.exit(exitCode);
