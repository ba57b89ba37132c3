import { stringify } from 'yaml';
import type { CommandContext } from '../command.ts';
import type { Inventory } from '../../cluster/inventory.ts';
import type { Observed } from '../render/observed.ts';
import type { ExplainOptions } from './options.ts';
import type { Answer, Answers } from './questions.ts';

import { resolveEnd } from '../../cluster/flow-ends.ts';
import { ASSUMED_NODE } from '../../cluster/inventory.ts';
import { EXIT_DISAGREES, EXIT_FAILURE, EXIT_OK, EXIT_UNKNOWN } from '../exit-codes.ts';
import { UsageProblem } from '../flags.ts';
import { paintFor } from '../paint.ts';
import { readObserved } from '../render/observed.ts';
import { withAgents } from '../source/agents.ts';
import { askAgents, askSaved } from './ask-traces.ts';
import { MAX_VERIFIED, programmedFor, type VerifiedAnswer, type VerifiedAnswers } from './programmed.ts';
import { answersFor } from './questions.ts';
import { readInventory } from '../source/read-objects.ts';
import { answersData, answersText } from './text.ts';

/** Throws `UsageProblem` for ends that are not there. */
export async function runExplain(options: ExplainOptions, context: CommandContext): Promise<number> {
  const inventory = await readInventory(options, context);
  if (!inventory) return EXIT_FAILURE;
  const endOf = (side: 'source' | 'destination') => {
    const resolved = resolveEnd(options[side], side, inventory, options.namespace);
    if ('problem' in resolved) throw new UsageProblem(`${side} ${JSON.stringify(options[side])}: ${resolved.problem}`);
    return resolved;
  };
  const [source, destination] = [endOf('source'), endOf('destination')];
  if (options.ports.length === 0 && !destination.service)
    throw new UsageProblem('--port: required, unless the destination is a Service');
  const asked = answersFor(inventory, source, destination, options.ports);
  if (asked.answers.length === 0) throw new UsageProblem(`nothing to ask about: ${asked.notes.join('; ')}`);
  const found = options.verify ? await verified(asked, inventory, options, context) : asked;
  const paint = paintFor(process.stdout, context.env);
  switch (options.output) {
    case 'text':
      context.out(answersText(found, inventory, paint));
      break;
    case 'json':
      context.out(`${JSON.stringify(answersData(found, inventory), undefined, 2)}\n`);
      break;
    case 'yaml':
      context.out(stringify(answersData(found, inventory)));
      break;
  }
  return exitCodeOf(found.answers);
}

function exitCodeOf(answers: readonly VerifiedAnswer[]): number {
  const outcomes = new Set(answers.flatMap(({ programmed = [] }) => programmed.map(({ outcome }) => outcome)));
  if (outcomes.has('disagrees')) return EXIT_DISAGREES;
  if (outcomes.has('unknown')) return EXIT_UNKNOWN;
  return answers.every(({ explanation }) => explanation.allowed) ? EXIT_OK : EXIT_FAILURE;
}

/** The answers with what the nodes' rules do. */
async function verified(
  asked: Answers,
  inventory: Inventory,
  options: ExplainOptions,
  context: CommandContext,
): Promise<VerifiedAnswers> {
  if (asked.answers.length > MAX_VERIFIED)
    throw new UsageProblem(`--verify: ${asked.answers.length} flows are more than ${MAX_VERIFIED}: ask about fewer`);
  const programmed = await programmedOf(asked.answers, inventory, options, context);
  return { ...asked, answers: asked.answers.map((answer, index) => ({ ...answer, programmed: programmed[index]! })) };
}

async function programmedOf(
  answers: readonly Answer[],
  inventory: Inventory,
  { against, agents, kubeconfig }: ExplainOptions,
  context: CommandContext,
): ReturnType<typeof programmedFor> {
  if (against.length === 0)
    return withAgents(agents, kubeconfig, context, (ask) => programmedFor(answers, askAgents(ask)));
  const observed = await readObserved(against);
  if ('problem' in observed) throw new UsageProblem(`--against: ${observed.problem}`);
  return programmedFor(answers, askSaved(savedNode(observed, answers), inventory, observed));
}

/** The node that was saved: as a bundle says, or the only one that judges. */
function savedNode({ settings }: Observed, answers: readonly Answer[]): string {
  const named = settings['node-name'];
  if (typeof named === 'string') return named;
  const nodes = new Set(
    answers.flatMap(({ source, destination }) => [source.pod?.nodeName, destination.pod?.nodeName]),
  );
  const known = [...nodes].filter((node) => node !== undefined && node !== ASSUMED_NODE);
  if (known.length === 1) return known[0]!;
  throw new UsageProblem(
    `--against: of which node? A bundle says so; the flow is judged on ${known.join(' and ') || 'none'}`,
  );
}
