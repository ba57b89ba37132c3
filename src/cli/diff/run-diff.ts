import { stringify } from 'yaml';
import type { Inventory } from '../../cluster/inventory.ts';
import type { EndGroup } from '../../policy/matrix/groups.ts';
import type { FlowChange } from '../../policy/matrix/changes.ts';
import type { CommandContext } from '../command.ts';
import type { MatrixView } from '../matrix/view.ts';
import type { LiveConnections } from './live-connections.ts';
import type { DiffOptions, Failure } from './options.ts';

import { inventoryOf } from '../../cluster/inventory.ts';
import { mergeObjects } from '../../cluster/merge-objects.ts';
import { changesBetween } from '../../policy/matrix/changes.ts';
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.ts';
import { UsageProblem } from '../flags.ts';
import { titleOf, viewOf } from '../matrix/view.ts';
import { pageData } from '../page/page-data.ts';
import { matrixPage } from '../page/matrix-page.ts';
import { paintFor } from '../paint.ts';
import { readObjects, tellProblems } from '../source/read-objects.ts';
import { judgeConnections, readConnections } from './live-connections.ts';
import { type DiffFacts, diffData, diffMarkdown, diffText, summaryOf } from './report.ts';

const TITLE = 'What changes';

/** Throws `UsageProblem`. */
export async function runDiff(options: DiffOptions, context: CommandContext): Promise<number> {
  const inventories = await readBoth(options, context);
  if (!inventories) return EXIT_FAILURE;
  const view = viewOf(inventories, options);
  if (!view.groups.some(({ type }) => type === 'pod'))
    throw new UsageProblem('there is no pod or workload in what was given: its flows cannot be told');
  const changes = [...changesBetween(view.matrix, view.sources, view.destinations, view.ports)];
  const isAsked = options.connections.length > 0 || options.agents !== undefined;
  const connections = isAsked
    ? judgeConnections(await readConnections(options, context), view, inventories)
    : undefined;
  const failed = options.failOn.flatMap((failure) => failureOf(failure, changes, connections));
  const facts = { view, changes, connections, failed, added: onlyIn(view, 1), removed: onlyIn(view, 0) };
  context.out(textOf(facts, options, context));
  return failed.length > 0 ? EXIT_FAILURE : EXIT_OK;
}

/** Before and after. Undefined: something cannot be read, which was said. */
async function readBoth(
  { base, coming, as }: DiffOptions,
  context: CommandContext,
): Promise<readonly [Inventory, Inventory] | undefined> {
  const there = await readObjects(base, context);
  const next = there && (await readObjects(coming, context));
  if (!next) return undefined;
  const settings = { defaultNamespace: base.namespace, podCidr: base.podCidr };
  const before = inventoryOf(there, settings);
  const after = inventoryOf(mergeObjects(there, next, as, base.namespace), { ...settings, before });
  tellProblems(after, context);
  return [before, after];
}

function textOf(facts: DiffFacts, { output }: DiffOptions, context: CommandContext): string {
  switch (output) {
    case 'text':
      return diffText(facts, paintFor(process.stdout, context.env));
    case 'markdown':
      return diffMarkdown(facts);
    case 'json':
      return `${JSON.stringify(diffData(facts), undefined, 2)}\n`;
    case 'yaml':
      return stringify(diffData(facts));
    case 'html':
      return matrixPage(TITLE, pageData(facts.view, TITLE, summaryOf(facts)));
  }
}

function onlyIn({ matrix, groups }: MatrixView, world: number): readonly EndGroup[] {
  const isIn = ({ parts }: EndGroup, where: number): boolean =>
    parts.some(({ index }) => matrix.classes[index]!.values[where] !== undefined);
  return groups.filter((group) => group.type === 'pod' && isIn(group, world) && !isIn(group, 1 - world));
}

/** What of it is true, in words. */
function failureOf(
  failure: Failure,
  changes: readonly FlowChange[],
  connections: LiveConnections | undefined,
): string[] {
  switch (failure.kind) {
    case 'newly-allowed':
    case 'newly-denied': {
      const { length } = changes.filter(({ change }) => change === failure.kind);
      return length > 0 ? [`${failure.kind}: ${length} ${length === 1 ? 'change' : 'changes'}`] : [];
    }
    case 'cut':
      return connections && connections.cut > 0 ? [`cut: ${connections.cut} live connections`] : [];
    case 'exposed': {
      const exposed = changes.filter(
        ({ change, from, to }) =>
          change === 'newly-allowed' &&
          from.type === 'outside' &&
          to.type === 'pod' &&
          (failure.namespace === undefined || to.namespace === failure.namespace),
      );
      const names = [...new Set(exposed.map(({ to }) => titleOf(to)))];
      return names.length > 0 ? [`exposed: ${names.join(', ')} can newly be reached from outside`] : [];
    }
  }
}
