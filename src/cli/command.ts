/** A command of the program, as the list in cli/commands.ts has it. */
import type { Environment, Flag, Given } from './flags.ts';

/** What the program touches besides its arguments. */
export interface CommandContext {
  readonly env: Environment;
  readonly version: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Aborted by the first SIGTERM or SIGINT. */
  readonly signal: AbortSignal;
}

export interface Command {
  readonly name: string;
  /** One line, lower case, without a full stop. */
  readonly summary: string;
  /** Before the list of flags. */
  readonly description: string;
  /** What follows the name in the first line of the help; absent: flags, and the operand. */
  readonly usage?: string;
  readonly flags: readonly Flag<unknown>[];
  /** What must follow besides flags, in this order. */
  readonly operands?: readonly Operand[];
  /** Where they mean more than elsewhere. */
  readonly exitCodes?: {
    readonly ok?: string;
    readonly failure?: string;
    readonly usage?: string;
    readonly disagrees?: string;
    readonly unknown?: string;
  };
  /** Resolves to the exit code. May throw `UsageProblem`. */
  readonly run: (given: Given, context: CommandContext, operands: readonly string[]) => Promise<number>;
}

export interface Operand {
  readonly name: string;
  readonly help: string;
  /** Absent: any text. */
  readonly choices?: readonly string[];
}

/** The error of a command line, and where help is. `path`: the command as it is called. */
export function usageText(path: string, problem: string): string {
  return `${path}: ${problem}\nSee ${path} --help\n`;
}
