/** The plan that removes everything of ours: jumps first, so that no packet meets half a layout. */
import type { Family } from '../net/ip.ts';
import type { ObservedFamily, ObservedState, Plan, PlanLine, Step } from './plan.ts';

import { isOurChain } from '../render/names.ts';
import { HOOKS } from '../render/ruleset.ts';
import { destroySetText } from '../render/write-text.ts';

export function teardown(observed: ObservedState): Plan {
  const families = ([4, 6] as const).flatMap((family) => {
    const before = observed.families[family];
    return before ? [{ family, before, lines: removalLines(before) }] : [];
  });
  const destroyed = [...observed.sets.keys()].sort();
  const steps: Step[] = families
    .filter(({ lines }) => lines.length > 0)
    .map(({ family, lines }) => ({ kind: 'rules', family, lines }));
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
      generationBumps: 0,
    },
    after: {
      families: Object.fromEntries(families.map(({ family, before }) => [family, emptied(before)])),
      sets: new Map(),
    },
    generations: {},
    departed: {},
    heldBack: [],
  };
}

function isOurJump(line: string): boolean {
  const target = / -[jg] (\S+)$/.exec(` ${line}`)?.[1];
  return target !== undefined && isOurChain(target);
}

function removalLines(before: ObservedFamily): PlanLine[] {
  const jumps = HOOKS.flatMap((hook) =>
    before.hooks[hook].filter(isOurJump).map((line) => ({ text: `-D ${hook} ${line}`, object: hook })),
  );
  const chains = [...before.chains.keys()];
  if (jumps.length === 0 && chains.length === 0) return [];
  return [
    { text: '*mangle', object: 'mangle' },
    ...chains.map((name) => ({ text: `:${name} - [0:0]`, object: name })),
    ...jumps,
    ...chains.map((name) => ({ text: `-X ${name}`, object: name })),
    { text: 'COMMIT', object: 'mangle' },
  ];
}

function emptied(before: ObservedFamily): ObservedFamily {
  const hooks = { ...before.hooks };
  for (const hook of HOOKS) hooks[hook] = before.hooks[hook].filter((line) => !isOurJump(line));
  return { chains: new Map(), hooks };
}

/** `Partial<Record<Family, ...>>` keys, for callers that list what teardown left. */
export function familiesOf(state: ObservedState): readonly Family[] {
  return ([4, 6] as const).filter((family) => state.families[family] !== undefined);
}
