/** Where commands that look at objects find the agents of a cluster: their pages are asked for by the API server's pod proxy. */
import { readFile } from 'node:fs/promises';
import type { AskOptions } from '../ask-nodes.ts';
import type { CommandContext } from '../command.ts';
import type { Environment, Flag, Given } from '../flags.ts';

import { loadConnection } from '../../cluster/connection.ts';
import { messageOf } from '../../core/error-text.ts';
import { CannotAsk } from '../ask-nodes.ts';
import { optionalValue, requiredValue, UsageProblem } from '../flags.ts';
import { STATUS_FLAGS } from '../status-flags.ts';

/** As those of `status`, under names of their own: `--namespace` is that of objects. */
export const AGENT_POD_FLAGS = {
  agentNamespace: renamed('agent-namespace', STATUS_FLAGS.namespace),
  agentSelector: renamed('agent-selector', STATUS_FLAGS.selector),
  agentPort: renamed('agent-port', STATUS_FLAGS.port),
  tokenFile: STATUS_FLAGS.tokenFile,
  timeout: STATUS_FLAGS.timeout,
} as const;

function renamed<T>(name: string, flag: Flag<T>): Flag<T> {
  const { short: _, ...rest } = flag;
  return { ...rest, name };
}

export type AgentPods = Pick<AskOptions, 'namespace' | 'selector' | 'port' | 'timeoutMs'> & {
  readonly tokenFile: string | undefined;
};

/** Throws `UsageProblem`. */
export function readAgentPods(given: Given, env: Environment): AgentPods {
  return {
    namespace: requiredValue(AGENT_POD_FLAGS.agentNamespace, given, env),
    selector: requiredValue(AGENT_POD_FLAGS.agentSelector, given, env),
    port: requiredValue(AGENT_POD_FLAGS.agentPort, given, env),
    tokenFile: optionalValue(AGENT_POD_FLAGS.tokenFile, given, env),
    timeoutMs: requiredValue(AGENT_POD_FLAGS.timeout, given, env) * 1000,
  };
}

/** Throws `UsageProblem` where the cluster cannot be asked, or has no agent. */
export async function withAgents<T>(
  { tokenFile, ...agents }: AgentPods,
  kubeconfig: string | undefined,
  { env, signal }: CommandContext,
  ask: (options: AskOptions) => Promise<T>,
): Promise<T> {
  const token = tokenFile === undefined ? undefined : await readToken(tokenFile);
  const connection = await loadConnection({ env, ...(kubeconfig === undefined ? {} : { kubeconfig }) });
  try {
    return await ask({ ...agents, connection, token, signal });
  } catch (error) {
    if (error instanceof CannotAsk) throw new UsageProblem(error.message);
    throw error;
  } finally {
    connection.close();
  }
}

async function readToken(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    throw new UsageProblem(`--token-file: ${messageOf(error)}`);
  }
}
