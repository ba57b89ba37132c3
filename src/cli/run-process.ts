/** Wires the edges of the process (arguments, signals, crashes, streams) to `runProgram`, and ends it with the exit code. */
import manifest from '../../package.json' with { type: 'json' };
import type { Command } from './command.ts';
import { writeOnce } from '../telemetry/standard-streams.ts';
import { EXIT_FAILURE } from './exit-codes.ts';
import { describeCrash, runProgram, wantsStack } from './program.ts';

/** `more`: commands besides those of the product. */
export async function runProcess(more: readonly Command[] = []): Promise<never> {
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
    load: { agent: () => import('./run.ts') },
    more,
  });
  await written(process.stdout);
  process.exit(exitCode);
}

/** What a slow reader of a pipe has not taken yet would be lost. */
function written(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength === 0) return Promise.resolve();
  return new Promise((resolve) => stream.once('error', () => resolve()).write('', () => resolve()));
}
