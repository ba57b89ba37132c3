/** Command lines as the program reads them. */
import type { Command } from '../../src/cli/command.ts';
import type { Given } from '../../src/cli/flags.ts';

import { runCommandLine } from '../../src/cli/command-line.ts';
import { runProgram } from '../../src/cli/program.ts';
import { UsageProblem } from '../../src/cli/flags.ts';

export interface CommandRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command of the program, in this process and without colours. */
export async function runCommand(
  argv: readonly [command: string, ...string[]],
  env: Readonly<Record<string, string>> = {},
  signal: AbortSignal = new AbortController().signal,
): Promise<CommandRun> {
  const written = { out: '', err: '' };
  const code = await runProgram(argv, {
    env: { NO_COLOR: '1', ...env },
    version: '1.2.3',
    signal,
    out: (text) => {
      written.out += text;
    },
    err: (text) => {
      written.err += text;
    },
    load: { agent: () => Promise.reject(new Error('not asked for')) },
  });
  return { code, ...written };
}

/** What `argv` gives `command`; throws `UsageProblem` with what the program says of it, without the name of the command. */
export async function givenBy(command: Command, argv: readonly string[]): Promise<Given> {
  let found: Given | undefined;
  let said = '';
  const carryOut = async (_: Command, given: Given): Promise<number> => {
    found = given;
    return 0;
  };
  const err = (text: string): void => {
    said += text;
  };
  await runCommandLine([command.name, ...argv], [command], carryOut, { version: '1.2.3', out: () => {}, err });
  if (found) return found;
  const [line] = said.split('\n');
  throw new UsageProblem(line!.replace(`portcullis ${command.name}: `, ''));
}
