/**
 * The difference -> transactions. Each is taken whole or not at all, so a packet meets what was or what will be, and so does whoever finds
 * the table after this process was killed.
 *
 *   prepare   objects that nothing leads to yet, where they are too many for one transaction; as often as it takes
 *   commit    all that packets can notice, at once
 *   tidy      objects that nothing leads to any more; the kernel takes longer for it, so it is done when nobody waits
 */
import type { Sliced } from '../../../core/sliced.ts';
import { runSync } from '../../../core/sliced.ts';
import { sortedInSteps } from '../../../core/sort-in-steps.ts';
import type { ChangeCounts } from '../../dataplane.ts';
import type { NftSet } from '../table/table.ts';
import { type Command, MAX_ELEMENTS, type TableWriter } from '../table/write-table.ts';
import { FIRST_HOOK, TABLE_FAMILIES, type TableFamily, familyOfName } from '../table/families.ts';
import { byKey, type Difference, type Leftovers, type WholeTable } from './compare.ts';

import { isSameButEpoch } from './epochs.ts';

export interface Step {
  readonly kind: 'prepare' | 'commit' | 'tidy';
  readonly commands: readonly Command[];
}

/** What the kernel holds, as far as it is ours. */
export interface Held extends WholeTable {
  readonly left: Leftovers;
}

export interface Plan {
  readonly steps: readonly Step[];
  readonly counts: ChangeCounts;
  /** After every step. */
  readonly after: Held | undefined;
  /** In force afterwards; absent without marks. */
  readonly epoch: number | undefined;
}

/** So many elements and rules are a transaction of about 100 ms, in which nobody else's commit goes in. */
const MAX_COMMANDS = 2_000;

export interface PlanRequest {
  readonly desired: WholeTable;
  readonly difference: Difference;
  readonly left: Leftovers;
  readonly writer: TableWriter;
  /** Of the tables. `unusable`: those that there are have to go for others. */
  readonly before: 'missing' | 'usable' | { readonly unusable: readonly TableFamily[] };
  /** Take out what nothing leads to. */
  readonly tidies: boolean;
  readonly epoch: number | undefined;
  readonly isAnotherEpoch: boolean;
}

/** As `planInSteps`. */
export function makePlan(request: PlanRequest): Plan {
  return runSync(planInSteps(request));
}

export function* planInSteps(request: PlanRequest): Sliced<Plan> {
  const { desired, difference, writer, before, tidies } = request;
  const left = leftAfter(request);
  const fresh = yield* freshCommands(difference, writer);
  const live = [...liveCommands(difference, writer), ...goneCommands(request)];
  const isUnusable = typeof before === 'object';
  const table = [
    ...(isUnusable ? before.unusable.map((family) => writer.deleteTable(family)) : []),
    ...TABLE_FAMILIES.filter((family) => isNewTable(family, request)).map((family) => writer.addTable(family)),
  ];
  const isLong = !isUnusable && weightOf(fresh) > MAX_COMMANDS;
  yield;
  const prepare = isLong ? portions([...table, ...fresh]) : [];
  yield;
  const steps: Step[] = [
    ...prepare.map((commands): Step => ({ kind: 'prepare', commands })),
    { kind: 'commit', commands: isLong ? live : [...table, ...fresh, ...live] },
    ...(tidies ? [{ kind: 'tidy', commands: tidyCommands(left, writer) } as const] : []),
  ];
  return {
    steps: steps.filter(({ commands }) => commands.length > 0),
    counts: countsOf(request, left),
    after: { ...desired, left: tidies ? { chains: new Map(), sets: new Map() } : left },
    epoch: request.epoch,
  };
}

function isNewTable(family: TableFamily, { before, difference: { newChains } }: PlanRequest): boolean {
  if (family === 'inet' && before !== 'usable') return true;
  return newChains.some(({ name }) => name === FIRST_HOOK[family]);
}

/** Something of the table of family bridge is there, and nothing of it is desired. */
function isBridgeLeft({ desired, difference: { goneChains, goneSets }, left }: PlanRequest): boolean {
  if (goneChains.length + goneSets.length + left.chains.size + left.sets.size === 0) return false;
  if (desired.rendered.chains.has(FIRST_HOOK.bridge)) return false;
  const isOfBridge = (name: string): boolean => familyOfName(name) === 'bridge';
  return (
    [...goneChains, ...goneSets].some(({ name }) => isOfBridge(name)) ||
    [...left.chains.keys(), ...left.sets.keys()].some(isOfBridge)
  );
}

/** Packets come to a base chain until it is deleted; nothing else of what is gone does anything. */
function goneCommands(request: PlanRequest): Command[] {
  const { difference, writer } = request;
  const hooks = difference.goneChains.filter(({ hook }) => hook !== '').map(({ name }) => name);
  const isLeft = isBridgeLeft(request);
  const names = isLeft ? hooks.filter((name) => familyOfName(name) !== 'bridge') : hooks;
  return [
    ...names.flatMap((name) => [writer.flushChain(name), writer.deleteChain(name)]),
    ...(isLeft ? [writer.deleteTable('bridge')] : []),
  ];
}

/** Nothing leads to these before the commit: chains at no hook, and all sets. */
function* freshCommands({ newSets, newChains }: Difference, writer: TableWriter): Sliced<Command[]> {
  const chains = newChains.filter(({ hook }) => hook === '');
  const commands = newSets.map((set) => writer.addSet(set));
  yield;
  yield* fillSets(
    newSets.filter(({ isMap }) => !isMap),
    writer,
    commands,
  );
  for (const chain of chains) commands.push(writer.addChain(chain));
  yield;
  for (const chain of chains) {
    for (const command of writer.addRules(chain)) commands.push(command);
    yield;
  }
  yield* fillSets(
    newSets.filter(({ isMap }) => isMap),
    writer,
    commands,
  );
  return commands;
}

function* fillSets(sets: readonly NftSet[], writer: TableWriter, commands: Command[]): Sliced<void> {
  for (const set of sets) {
    const elements = yield* sortedInSteps(set.elements, byKey);
    for (let at = 0; at < elements.length; at += MAX_ELEMENTS) {
      commands.push(...writer.addElements(set, elements.slice(at, at + MAX_ELEMENTS)));
      yield;
    }
  }
}

function liveCommands({ newChains, changedChains, changedSets }: Difference, writer: TableWriter): Command[] {
  const hooks = newChains.filter(({ hook }) => hook !== '');
  return [
    ...changedChains.flatMap(({ after }) => [writer.flushChain(after.name), ...writer.addRules(after)]),
    ...changedSets.flatMap(({ after, leaving, joining }) => [
      ...writer.deleteElements(
        after,
        leaving.map(([element]) => element),
      ),
      ...writer.addElements(after, joining),
    ]),
    ...hooks.map((chain) => writer.addChain(chain)),
    ...hooks.flatMap((chain) => writer.addRules(chain)),
  ];
}

function tidyCommands({ chains, sets }: Leftovers, writer: TableWriter): Command[] {
  return [
    ...[...chains.keys()].map((name) => writer.flushChain(name)),
    // An element of a map leads to a chain until it is deleted with the map.
    ...[...sets.values()].filter(({ isMap }) => isMap).map((set) => writer.deleteSet(set)),
    ...[...chains.keys()].map((name) => writer.deleteChain(name)),
    ...[...sets.values()].filter(({ isMap }) => !isMap).map((set) => writer.deleteSet(set)),
  ];
}

function leftAfter(request: PlanRequest): Leftovers {
  const { desired, difference, left } = request;
  if (left.chains.size + left.sets.size + difference.goneChains.length + difference.goneSets.length === 0) return left;
  const isDeleted = isBridgeLeft(request) ? (name: string) => familyOfName(name) === 'bridge' : () => false;
  const isWanted = (name: string, of: 'chains' | 'sets'): boolean =>
    isDeleted(name) || desired.rendered[of].has(name) || desired.epochs[of].has(name);
  const gone = <T extends { readonly name: string }>(
    before: ReadonlyMap<string, T>,
    more: readonly T[],
    of: 'chains' | 'sets',
  ): ReadonlyMap<string, T> => {
    if (before.size + more.length === 0) return before;
    const all = [...before.values(), ...more].filter(({ name }) => !isWanted(name, of));
    return new Map(all.map((each) => [each.name, each]));
  };
  return {
    chains: gone(
      left.chains,
      difference.goneChains.filter(({ hook }) => hook === ''),
      'chains',
    ),
    sets: gone(left.sets, difference.goneSets, 'sets'),
  };
}

/** Elements are many to a command. */
function weightOf(commands: readonly Command[]): number {
  return commands.reduce((sum, { text }) => sum + 1 + text.length / 100, 0);
}

function portions(commands: readonly Command[]): Command[][] {
  const found: Command[][] = [[]];
  let weight = 0;
  for (const command of commands) {
    weight += weightOf([command]);
    if (weight > MAX_COMMANDS) {
      found.push([]);
      weight = 0;
    }
    found.at(-1)!.push(command);
  }
  return found;
}

function countsOf({ difference, tidies, isAnotherEpoch }: PlanRequest, left: Leftovers): ChangeCounts {
  const { newSets, newChains, changedSets, changedChains } = difference;
  const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);
  return {
    chainsWritten: newChains.length + changedChains.length,
    chainsDeleted: tidies ? left.chains.size : 0,
    jumpsRepaired: changedChains.filter(({ before, after }) => after.hook !== '' && !isSameButEpoch(before, after))
      .length,
    setsCreated: newSets.length,
    setsDestroyed: tidies ? left.sets.size : 0,
    membersAdded:
      sum(newSets.map(({ elements }) => elements.size)) + sum(changedSets.map(({ joining }) => joining.length)),
    membersDeleted: sum(changedSets.map(({ leaving }) => leaving.length)),
    epochsAdvanced: Number(isAnotherEpoch),
  };
}

export function planText({ steps }: Plan): string {
  if (steps.length === 0) return 'nothing to do\n';
  return steps.map(({ kind, commands }) => `# ${kind}\n${commands.map(({ text }) => `${text}\n`).join('')}`).join('');
}
