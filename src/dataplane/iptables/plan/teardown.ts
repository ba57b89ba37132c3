/** The plan that removes everything of ours: jumps first, so that no packet meets half a layout. */
import { FAMILIES } from '../../../core/vocabulary.ts';
import type { ObservedFamily, ObservedState, Plan, PlanLine, Step } from './plan.ts';

import { HOOKS } from '../rules/ruleset.ts';
import { destroySetText } from '../rules/write-text.ts';
import { type InKernel, asInKernel } from './add-only.ts';
import { isHookLine, removeElsewhere } from './hooks.ts';

export function teardown(observed: ObservedState): Plan {
  const families = FAMILIES.flatMap((family) => {
    const before = observed.families[family];
    return before ? [{ family, before, lines: removalLines(asInKernel(before)) }] : [];
  });
  const destroyed = [...observed.sets.keys()].sort();
  const steps: Step[] = [
    ...families
      .filter(({ lines }) => lines.length > 0)
      .map(({ family, lines }): Step => ({ kind: 'rules', family, lines })),
    ...removeLeftovers(observed),
  ];
  if (destroyed.length > 0) {
    steps.push({
      kind: 'destroy-sets',
      lines: destroyed.map((name) => ({ text: destroySetText(name), object: name })),
    });
  }
  return {
    steps,
    summary: {
      chainsWritten: 0,
      chainsDeleted: families.reduce((sum, { before }) => sum + before.chains.size, 0),
      jumpsRepaired: 0,
      setsCreated: 0,
      setsDestroyed: destroyed.length,
      membersAdded: 0,
      membersDeleted: 0,
      epochsAdvanced: 0,
    },
    after: {
      families: Object.fromEntries(families.map(({ family, before }) => [family, emptied(before)])),
      sets: new Map(),
      ...(observed.variant ? { variant: observed.variant } : {}),
    },
    epochs: {},
    released: {},
    revokesLate: [],
    revokesNext: [],
    degraded: [],
    waiting: [],
  };
}

/** One step for each table of a family and variant that this layout does not write to and that holds something of ours. */
export function removeLeftovers({ other, otherTables = [] }: ObservedState): Step[] {
  const tables = [
    ...FAMILIES.flatMap((family) => {
      const rules = other?.families[family];
      return other && rules ? [{ variant: other.variant, family, table: 'mangle', rules }] : [];
    }),
    ...otherTables,
  ];
  return tables.flatMap(({ variant, family, table, rules }): Step[] => {
    const lines = removalLines(rules, table);
    return lines.length > 0 ? [{ kind: 'leftovers', variant, family, lines }] : [];
  });
}

function removalLines(before: InKernel, table = 'mangle'): PlanLine[] {
  const jumps = [
    ...removeElsewhere(before),
    ...HOOKS.flatMap((hook) =>
      before.hooks[hook].filter(isHookLine).map((line) => ({ text: `-D ${hook} ${line}`, object: hook })),
    ),
  ];
  const chains = [...before.chains.keys()];
  if (jumps.length === 0 && chains.length === 0) return [];
  return [
    { text: `*${table}`, object: table },
    ...chains.map((name) => ({ text: `:${name} - [0:0]`, object: name })),
    ...jumps,
    ...chains.map((name) => ({ text: `-X ${name}`, object: name })),
    { text: 'COMMIT', object: table },
  ];
}

function emptied(before: ObservedFamily): ObservedFamily {
  const hooks = { ...before.hooks };
  for (const hook of HOOKS) hooks[hook] = before.hooks[hook].filter((line) => !isHookLine(line));
  return { chains: new Map(), hooks };
}
