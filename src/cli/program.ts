/** Arguments -> one command -> exit code. Commands are loaded when they are asked for, so `--help` costs nothing. */
import { type AgentConfig, type Environment, parseAgentConfig } from './config.ts';
import { agentHelp, EXIT_FAILURE, EXIT_OK, EXIT_USAGE, programHelp } from './help.ts';

/** What the program touches besides its arguments. */
interface ProgramContext extends CommandContext {
  readonly env: Environment;
  readonly version: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly load: CommandLoaders;
  /** Commands besides those of the product. */
  readonly more?: readonly Command[];
}

interface CommandContext {
  /** Aborted by the first SIGTERM or SIGINT. */
  readonly signal: AbortSignal;
}

/** Each resolves to a module whose function carries the command out and resolves to its exit code. */
export interface CommandLoaders {
  readonly agent: () => Promise<{
    readonly runAgent: (config: AgentConfig, context: CommandContext) => Promise<number>;
  }>;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  readonly run: (argv: readonly string[], context: ProgramContext) => Promise<number>;
}

const COMMANDS: readonly Command[] = [
  { name: 'agent', summary: 'enforce the policies for the pods of one node', run: runAgentCommand },
];

/** Never rejects: whatever a command throws becomes one line on stderr and exit code 1. */
export async function runProgram(argv: readonly string[], context: ProgramContext): Promise<number> {
  const [first, ...rest] = argv;
  const commands = [...COMMANDS, ...(context.more ?? [])];
  if (first === '--version') return print(context, `${context.version}\n`);
  if (first === '--help' || first === '-h') return print(context, programHelp(commands));
  if (first === undefined) {
    context.err(programHelp(commands));
    return EXIT_USAGE;
  }
  const command = commands.find((one) => one.name === first);
  if (!command) return unknownCommand(first, commands, context);
  try {
    return await command.run(rest, context);
  } catch (error) {
    context.err(`portcullis ${command.name}: ${describeCrash(error, wantsStack(rest, context.env))}\n`);
    return EXIT_FAILURE;
  }
}

/** One line; the stack follows only where debugging was asked for. */
export function describeCrash(error: unknown, withStack: boolean): string {
  if (!(error instanceof Error)) return String(error);
  return withStack && error.stack ? error.stack : error.message;
}

/** Whether the flag `--log-level debug` or its variable was given, told without parsing the rest. */
export function wantsStack(argv: readonly string[], env: Environment): boolean {
  const debugAsked = argv.some(
    (text, index) => text === '--log-level=debug' || (text === 'debug' && argv[index - 1] === '--log-level'),
  );
  return debugAsked || env.PORTCULLIS_LOG_LEVEL === 'debug';
}

async function runAgentCommand(argv: readonly string[], context: ProgramContext): Promise<number> {
  if (asksForHelp(argv)) return print(context, agentHelp());
  const parsed = parseAgentConfig(argv, context.env);
  if ('error' in parsed) {
    context.err(`portcullis agent: ${parsed.error}\nSee portcullis agent --help\n`);
    return EXIT_USAGE;
  }
  const { runAgent } = await context.load.agent();
  return runAgent(parsed.config, { signal: context.signal });
}

function unknownCommand(name: string, commands: readonly Command[], context: ProgramContext): number {
  const names = commands.map((command) => command.name).join(', ');
  context.err(`portcullis: no command ${JSON.stringify(name)}; there are ${names}\nSee portcullis --help\n`);
  return EXIT_USAGE;
}

function asksForHelp(argv: readonly string[]): boolean {
  return argv.includes('--help') || argv.includes('-h');
}

function print(context: ProgramContext, text: string): number {
  context.out(text);
  return EXIT_OK;
}
