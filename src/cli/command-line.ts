/**
 * The one place that reads command lines, by commander: commands, their flags, help, and what was probably meant. Loaded only if there is
 * something to read: an agent whose settings are all in its environment needs none of it (docs/decisions/one-command-line.md).
 */
import { Argument, Command as Parser, CommanderError, Option } from 'commander';
import type { Command } from './command.ts';
import type { Flag, Given } from './flags.ts';

import { usageText } from './command.ts';
import { EXIT_DISAGREES, EXIT_FAILURE, EXIT_OK, EXIT_UNKNOWN, EXIT_USAGE } from './exit-codes.ts';

interface CommandLineContext {
  readonly version: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** Resolves to the exit code. */
export type CarryOut = (command: Command, given: Given, operands: readonly string[]) => Promise<number>;

const HELP_WIDTH = 100;
const NEEDS_VALUE = 'needs a value';

export async function runCommandLine(
  argv: readonly string[],
  commands: readonly Command[],
  carryOut: CarryOut,
  context: CommandLineContext,
): Promise<number> {
  let exitCode = EXIT_OK;
  const program = parserOf('portcullis', 'portcullis', context)
    .helpCommand('help [command]', 'tell of a command')
    .usage('<command> [flags]')
    .description('Kubernetes NetworkPolicy enforcement with iptables, ipset and conntrack')
    .version(context.version, '-V, --version', 'the version')
    .addHelpText('after', `\nportcullis help <command> tells of a command's flags.\n\n${exitCodesText({})}`);
  for (const command of commands) {
    const { parser, given } = parserFor(command, program, context);
    parser.action(async () => {
      exitCode = await carryOut(command, given, parser.args);
    });
  }
  try {
    await program.parseAsync(argv.flatMap(parted), { from: 'user' });
    return exitCode;
  } catch (error) {
    // What it says was said by then.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    throw error;
  }
}

/** `--mode=audit` is two words, so that what was meant by an unknown flag is found without its value. */
function parted(word: string): readonly string[] {
  const [, flag, value] = /^(--[^=]+)=(.*)$/s.exec(word) ?? [];
  return flag === undefined ? [word] : [flag, value!];
}

/** `path`: as it is called. */
function parserOf(name: string, path: string, { out, err }: CommandLineContext): Parser {
  return new Parser(name)
    .helpOption('-h, --help', 'this text')
    .allowExcessArguments(false)
    .exitOverride()
    .configureHelp({
      helpWidth: HELP_WIDTH,
      styleTitle: (title) => (title === 'Options:' ? 'Flags:' : title),
      subcommandTerm: (command) => command.name(),
    })
    .configureOutput({
      writeOut: out,
      writeErr: err,
      outputError: (text) => err(usageText(path, inOurWords(text))),
    });
}

/** `error: unknown option '--moed'\n(Did you mean --mode?)` -> one line, where an option is a flag as everywhere else. */
function inOurWords(text: string): string {
  const line = text.replace(/^error: /, '').trim();
  const unfinished = /^option '(?:-\w, )?(--\S+) .*' argument missing$/.exec(line)?.[1];
  if (unfinished !== undefined) return `${unfinished}: ${NEEDS_VALUE}`;
  return line.replaceAll('\n', ' ').replace(/\boption\b/, 'flag');
}

function parserFor(
  command: Command,
  program: Parser,
  context: CommandLineContext,
): { readonly parser: Parser; readonly given: Map<string, string[]> } {
  const parser = parserOf(command.name, `portcullis ${command.name}`, context)
    .summary(command.summary)
    .description(command.description)
    .addHelpText('after', `\n${exitCodesText(command.exitCodes ?? {})}`);
  const operands = command.operands ?? [];
  const forms = operands.map(({ name }) => `<${name}>`);
  parser.usage(command.usage ?? [...forms, ...(command.flags.length > 0 ? ['[flags]'] : [])].join(' '));
  for (const { name, help, choices } of operands) {
    const argument = new Argument(`<${name}>`, help);
    parser.addArgument(choices ? argument.choices(choices) : argument);
  }
  const given = new Map<string, string[]>();
  for (const flag of command.flags) {
    parser.addOption(optionOf(flag));
    parser.on(`option:${flag.name}`, (text: string | undefined) => {
      // A flag followed by the next flag was left without its value.
      if (text === '' || text?.startsWith('--')) parser.error(`--${flag.name}: ${NEEDS_VALUE}`);
      given.set(flag.name, [...(given.get(flag.name) ?? []), text ?? 'true']);
    });
  }
  program.addCommand(parser);
  return { parser, given };
}

function optionOf({ name, short, placeholder, defaultText, env, help }: Flag<unknown>): Option {
  const forms = `${short === undefined ? '' : `-${short}, `}--${name}`;
  const origin = [
    ...(defaultText === undefined || placeholder === undefined ? [] : [`default ${defaultText}`]),
    ...(env === undefined ? [] : [`environment ${env}`]),
  ];
  const suffix = origin.length === 0 ? '' : ` (${origin.join('; ')})`;
  return new Option(placeholder === undefined ? forms : `${forms} ${placeholder}`, `${help}${suffix}`);
}

function exitCodesText(own: NonNullable<Command['exitCodes']>): string {
  const texts: readonly (readonly [code: number, meaning: string])[] = [
    [EXIT_OK, own.ok ?? 'success'],
    [EXIT_FAILURE, own.failure ?? 'failure, or a difference where one was asked about'],
    [EXIT_USAGE, own.usage ?? 'wrong usage: unknown command or flag, missing or bad value'],
    ...(own.disagrees === undefined ? [] : [[EXIT_DISAGREES, own.disagrees] as const]),
    ...(own.unknown === undefined ? [] : [[EXIT_UNKNOWN, own.unknown] as const]),
  ];
  return `Exit codes:\n${texts.map(([code, meaning]) => `  ${code}  ${meaning}`).join('\n')}`;
}
