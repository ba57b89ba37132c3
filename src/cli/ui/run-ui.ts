import type { Inventory } from '../../cluster/inventory.ts';
import type { CommandContext } from '../command.ts';
import type { AgentFacts } from './agent-data.ts';
import type { UiOptions } from './options.ts';

import { aborted, systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/error-text.ts';
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.ts';
import { uiPage } from '../page/ui-page.ts';
import { withAgents } from '../source/agents.ts';
import { readInventory } from '../source/read-objects.ts';
import { askAgents } from './agent-data.ts';
import { matrixOf, policiesOf, whatIf } from './cluster-data.ts';
import { kept } from './kept.ts';
import { serveUi, type UiData } from './ui-server.ts';

/** However often the page asks, a cluster is read this often. */
const OBJECTS_MS = 10_000;
const AGENTS_MS = 3_000;

export async function runUi(options: UiOptions, context: CommandContext): Promise<number> {
  const first = await readInventory(options, context);
  if (!first) return EXIT_FAILURE;
  try {
    const server = await serveUi(options.port, uiPage(), dataOf(options, context, first));
    context.out(`${server.url}\n`);
    await aborted(context.signal);
    await server.close();
    return EXIT_OK;
  } catch (error) {
    context.err(`portcullis ui: ${messageOf(error)}; choose another with --port\n`);
    return EXIT_FAILURE;
  }
}

function dataOf(options: UiOptions, context: CommandContext, first: Inventory): UiData {
  const isLive = options.files.length === 0;
  // What is wrong with objects was said once, and is on the page.
  const quiet = { ...context, err: () => {} };
  const readAgain = async (): Promise<Inventory> => (isLive ? ((await readInventory(options, quiet)) ?? first) : first);
  const objects = kept(readAgain, OBJECTS_MS, systemClock, first);
  const agents = kept(async () => agentsOf(options, quiet, await objects()), AGENTS_MS, systemClock);
  return {
    '/api/cluster': async () => ({
      source: isLive ? 'the cluster of your kubeconfig' : options.files.join(', '),
      isLive,
      policies: policiesOf(await objects(), options),
    }),
    '/api/matrix': async () => matrixOf(await objects()),
    '/api/agents': agents,
    '/api/what-if': async (body) => whatIf(await objects(), options, body),
  };
}

const NO_AGENTS: AgentFacts = { nodes: [], drops: [], counts: {}, problems: [] };

/** A cluster without agents, or whose agents may not be asked, has its other pages all the same. */
async function agentsOf(options: UiOptions, context: CommandContext, inventory: Inventory): Promise<AgentFacts> {
  if (options.files.length > 0) return NO_AGENTS;
  try {
    return await withAgents(options.agents, options.kubeconfig, context, (ask) => askAgents(ask, inventory));
  } catch (error) {
    return { ...NO_AGENTS, problems: [messageOf(error)] };
  }
}
