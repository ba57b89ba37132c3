/** Arguments -> one command -> exit code. What a command needs is loaded when it is asked for, so `--help` costs nothing. */
import type { Environment, Given } from './flags.ts';
import type { Command, CommandContext } from './command.ts';

import { AGENT_FLAGS, type AgentConfig, readAgentConfig } from './config.ts';
import { usageText } from './command.ts';
import { COMMANDS } from './commands.ts';
import { ASK, COMPLETION_COMMAND, completionLines } from './completion.ts';
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from './exit-codes.ts';
import { UsageProblem } from './flags.ts';

interface ProgramContext extends CommandContext {
  readonly load: CommandLoaders;
  /** Commands besides those of the product. */
  readonly more?: readonly Command[];
}

/** Each resolves to a module whose function carries the command out and resolves to its exit code. */
export interface CommandLoaders {
  readonly agent: () => Promise<{
    readonly runAgent: (config: AgentConfig, context: { readonly signal: AbortSignal }) => Promise<number>;
  }>;
}

export function agentCommand(load: CommandLoaders['agent']): Command {
  return {
    name: 'agent',
    summary: 'enforce the policies for the pods of one node',
    description: `Enforces the cluster's NetworkPolicies for the pods of one node, until stopped by SIGTERM or SIGINT.
The rules stay in the kernel when the agent ends. Needs root on Linux, and iptables and ipset.

A flag wins over its environment variable, the variable over the default.`,
    usage: '--node-name <name> [flags]',
    flags: Object.values(AGENT_FLAGS),
    run: async (given, { env, signal }) => {
      const config = readAgentConfig(given, env);
      const { runAgent } = await load();
      return runAgent(config, { signal });
    },
  };
}

/** Never rejects: whatever a command throws becomes one line on stderr and exit code 1. */
export async function runProgram(argv: readonly string[], context: ProgramContext): Promise<number> {
  const commands = [agentCommand(context.load.agent), ...COMMANDS, ...(context.more ?? []), COMPLETION_COMMAND];
  const carryOut = (command: Command, given: Given, operands: readonly string[]): Promise<number> =>
    carryOutIn(context, argv, command, given, operands);
  const [first, ...rest] = argv;
  if (first === ASK) {
    context.out(completionLines(commands, rest));
    return EXIT_OK;
  }
  // With its settings in the environment, as in a pod, there is nothing to parse, and no parser is loaded.
  const alone = argv.length === 1 ? commands.find(({ name, operands }) => name === first && !operands) : undefined;
  if (alone) return carryOut(alone, new Map(), []);
  const { runCommandLine } = await import('./command-line.ts');
  return runCommandLine(argv, commands, carryOut, context);
}

async function carryOutIn(
  context: CommandContext,
  argv: readonly string[],
  command: Command,
  given: Given,
  operands: readonly string[],
): Promise<number> {
  const path = `portcullis ${command.name}`;
  try {
    return await command.run(given, context, operands);
  } catch (error) {
    const isUsage = error instanceof UsageProblem;
    const crash = describeCrash(error, wantsStack(argv, context.env));
    context.err(isUsage ? usageText(path, error.message) : `${path}: ${crash}\n`);
    return isUsage ? EXIT_USAGE : EXIT_FAILURE;
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
