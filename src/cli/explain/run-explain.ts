import { stringify } from 'yaml';
import type { CommandContext } from '../command.ts';
import type { ExplainOptions } from './options.ts';

import { resolveEnd } from '../../cluster/flow-ends.ts';
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.ts';
import { UsageProblem } from '../flags.ts';
import { paintFor } from '../paint.ts';
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
  const found = answersFor(inventory, source, destination, options.ports);
  if (found.answers.length === 0) throw new UsageProblem(`nothing to ask about: ${found.notes.join('; ')}`);
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
  return found.answers.every(({ explanation }) => explanation.allowed) ? EXIT_OK : EXIT_FAILURE;
}
