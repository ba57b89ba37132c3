/** The door of this stage: (Ruleset, ObservedState) -> Plan, steps in safe order. */
import type { Family } from '../net/ip.ts';
import type { Direction } from '../policy/model.ts';
import type { Chain, ClassChain, FamilyRules, IpSet, MarkBits, Ruleset } from '../render/ruleset.ts';
import type { TextContext } from '../render/write-text.ts';
import type { ObservedFamily, ObservedSet, ObservedState, Plan, PlanLine, PlanSummary, Step } from './plan.ts';

import { bucketChain, dispatchChain, FORWARD_CHAIN, INPUT_CHAIN } from '../render/names.ts';
import { bucketOf, closedClass, dispatchChains } from '../render/render-node.ts';
import {
  addMemberText,
  createSetText,
  deleteMemberText,
  destroySetText,
  generationCount,
  maxElements,
  ruleText,
  swapSetText,
} from '../render/write-text.ts';

export interface DiffOptions {
  /** Chains and sets the kernel refused: what depends on them is held back, everything else goes in. */
  readonly broken?: ReadonlySet<string>;
  /** The generation to start from when the kernel holds none, 1..generationCount. */
  readonly firstGeneration?: number;
}

const NOTHING: ReadonlySet<string> = new Set();

export function diff(desired: Ruleset, observed: ObservedState, options: DiffOptions = {}): Plan {
  const sets = diffSets(desired, observed, options.broken ?? NOTHING);
  const families = ([4, 6] as const).flatMap((family) => {
    const before = observed.families[family];
    return before ? [diffFamily(desired, before, desired.families[family], options)] : [];
  });
  const kept = new Set(families.flatMap((family) => [...family.referencedSets]));
  const destroyed = [...observed.sets.keys()].filter((name) => !desired.sets.has(name) && !kept.has(name)).sort();
  const bumps = families.filter((family) => sets.tightenedFamilies.has(family.family) && family.bump.length > 0);
  const steps: Step[] = [
    ...step('fill-sets', sets.fill),
    ...families.flatMap(({ family, lines }): Step[] => (lines.length > 0 ? [{ kind: 'rules', family, lines }] : [])),
    ...step('drain-sets', sets.drain),
    ...bumps.map(({ family, bump }): Step => ({ kind: 'bump-generation', family, lines: bump })),
    ...step(
      'destroy-sets',
      destroyed.map((name) => ({ text: destroySetText(name), object: name })),
    ),
  ];
  return {
    steps,
    summary: summarise(families, sets, destroyed.length, bumps.length),
    after: stateAfter(desired, observed, families, bumps, sets, kept),
    generations: Object.fromEntries(
      families.flatMap((f) =>
        f.generation === undefined ? [] : [[f.family, bumps.includes(f) ? f.bumped : f.generation]],
      ),
    ),
    heldBack: families.flatMap((family) => family.heldBack),
  };
}

function step(kind: 'fill-sets' | 'drain-sets' | 'destroy-sets', lines: readonly PlanLine[]): Step[] {
  return lines.length > 0 ? [{ kind, lines }] : [];
}

// ---------------------------------------------------------------------------------------------------------------- sets

interface SetsDiff {
  readonly fill: PlanLine[];
  readonly drain: PlanLine[];
  readonly created: Set<string>;
  readonly broken: ReadonlySet<string>;
  /** Families in which a live pod's address was taken out of an existing set. */
  readonly tightenedFamilies: Set<Family>;
  added: number;
  deleted: number;
}

function diffSets(desired: Ruleset, observed: ObservedState, broken: ReadonlySet<string>): SetsDiff {
  const result: SetsDiff = {
    fill: [],
    drain: [],
    created: new Set(),
    broken,
    tightenedFamilies: new Set(),
    added: 0,
    deleted: 0,
  };
  for (const name of [...desired.sets.keys()].sort()) {
    if (broken.has(name)) continue;
    const set = desired.sets.get(name)!;
    const before = observed.sets.get(name);
    if (!before) createSet(result, set);
    else if (before.type !== set.type || before.family !== set.family) replaceSet(result, set);
    else if (before.maxElements < set.members.size) growSet(result, set);
    else diffMembers(result, set, before, desired.isLiveAddress);
  }
  return result;
}

function createSet(result: SetsDiff, set: IpSet): void {
  result.created.add(set.name);
  result.fill.push({ text: createSetText(set), object: set.name });
  fillMembers(result, set, set.name);
}

function fillMembers(result: SetsDiff, set: IpSet, into: string): void {
  for (const [member, match] of set.members) {
    result.fill.push({ text: addMemberText(into, member, match), object: set.name });
    result.added++;
  }
}

/** Somebody else made a set of another type under our name. Only possible while no rule refers to it. */
function replaceSet(result: SetsDiff, set: IpSet): void {
  result.fill.push({ text: destroySetText(set.name), object: set.name });
  createSet(result, set);
}

/** A set's capacity is fixed when it is made: fill a larger one beside it and swap, which no packet notices. */
function growSet(result: SetsDiff, set: IpSet): void {
  const larger = `${set.name}+`;
  result.created.add(set.name);
  result.fill.push({ text: createSetText(set, larger), object: set.name });
  fillMembers(result, set, larger);
  result.fill.push({ text: swapSetText(set.name, larger), object: set.name });
  result.fill.push({ text: destroySetText(larger), object: set.name });
}

/** What loosens goes in before the rules, what tightens comes out after them. */
function diffMembers(result: SetsDiff, set: IpSet, before: ObservedSet, isLive: (address: string) => boolean): void {
  if (before.members === set.members) return;
  const { name: object } = set;
  const tighten = (text: string, member: string): void => {
    result.drain.push({ text, object });
    if (isLive(member.split(/[,/]/, 1)[0]!)) result.tightenedFamilies.add(set.family);
  };
  for (const [member, match] of set.members) {
    if (before.members.get(member) === match) continue;
    result.added++;
    const text = addMemberText(object, member, match);
    if (match) result.fill.push({ text, object });
    else tighten(text, member);
  }
  for (const [member, match] of before.members) {
    if (set.members.has(member)) continue;
    result.deleted++;
    const text = deleteMemberText(object, member);
    if (match) tighten(text, member);
    else result.fill.push({ text, object });
  }
}

// --------------------------------------------------------------------------------------------------------------- rules

interface FamilyDiff {
  readonly family: Family;
  readonly lines: readonly PlanLine[];
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly hooks: ObservedFamily['hooks'];
  readonly referencedSets: ReadonlySet<string>;
  readonly generation: number | undefined;
  /** The generation, and the lines that set it, should a later step have to bump it once more. */
  readonly bumped: number | undefined;
  readonly bump: readonly PlanLine[];
  readonly heldBack: Plan['heldBack'];
  readonly chainsWritten: number;
  readonly chainsDeleted: number;
  readonly jumpsRepaired: number;
  readonly tightened: boolean;
}

function diffFamily(desired: Ruleset, before: ObservedFamily, rules: FamilyRules, options: DiffOptions): FamilyDiff {
  const { layout } = desired;
  const { family } = rules;
  const marks = layout.mode === 'enforce' ? layout.marks : undefined;
  const { dispatch, heldBack, closed } = effectiveDispatch(desired, rules, before, options.broken ?? NOTHING);
  const current = marks && (readGeneration(before, marks) ?? options.firstGeneration ?? 1);
  const context = (generation: number | undefined): TextContext => ({
    family,
    generation: generation ?? 0,
    ...(marks ? { marks } : {}),
  });
  const own = [...dispatchChains(dispatch, layout), ...classesInUse(desired, rules, dispatch, closed)];
  const chains = new Map<string, readonly string[]>(
    own.map((chain) => [chain.name, chainLines(chain, context(current))]),
  );
  for (const name of chainsTargeted(dispatch)) if (!chains.has(name)) chains.set(name, before.chains.get(name) ?? []);
  const entryAt = (generation: number | undefined) =>
    rules.entry.map((chain) => [chain.name, chainLines(chain, context(generation))] as const);
  const jumps = misplacedJumps(rules, before);
  const tightened =
    jumps.length > 0 ||
    entryAt(current).some(([name, lines]) => !sameLines(lines, before.chains.get(name))) ||
    tightens(dispatch, chains, before);
  const generation =
    marks && current !== undefined ? (tightened ? nextGeneration(current, marks, before) : current) : undefined;
  for (const [name, lines] of entryAt(generation)) chains.set(name, lines);
  const bumped = marks && generation !== undefined ? nextGeneration(generation, marks, before) : undefined;
  const changed = [...chains]
    .filter(([name, lines]) => !sameLines(lines, before.chains.get(name)))
    .map(([name]) => name);
  const stale = [...before.chains.keys()].filter((name) => !chains.has(name));
  return {
    family,
    lines: ruleLines(chains, changed, stale, jumps, before),
    chains,
    hooks: hooksAfter(before, jumps),
    referencedSets: setsReferenced(chains),
    generation,
    bumped,
    bump: bumped === undefined ? [] : chainReplacement(new Map(entryAt(bumped))),
    heldBack,
    chainsWritten: changed.length,
    chainsDeleted: stale.length,
    jumpsRepaired: jumps.length,
    tightened,
  };
}

function chainLines(chain: Chain, context: TextContext): string[] {
  return chain.rules.map((rule) => ruleText(rule, context));
}

/** The dispatch with broken chains replaced: by the chain the address has now, else by one that denies everything. */
function effectiveDispatch(
  desired: Ruleset,
  rules: FamilyRules,
  before: ObservedFamily,
  broken: ReadonlySet<string>,
): { dispatch: Record<Direction, Map<string, string>>; heldBack: Plan['heldBack']; closed: Set<Direction> } {
  const dispatch = { egress: new Map<string, string>(), ingress: new Map<string, string>() };
  const heldBack: { address: string; wanted: string; got: string }[] = [];
  const closed = new Set<Direction>();
  for (const direction of ['egress', 'ingress'] as const) {
    for (const [address, wanted] of rules.dispatch[direction]) {
      const chain = rules.classes.get(wanted)!;
      if (!broken.has(wanted) && !chain.sets.some((set) => broken.has(set))) {
        dispatch[direction].set(address, wanted);
        continue;
      }
      const now = currentTarget(before, direction, address);
      const usable = now !== undefined && before.chains.has(now) && !broken.has(now);
      const got = usable ? now : closedClass(direction, desired.layout).name;
      if (!usable) closed.add(direction);
      dispatch[direction].set(address, got);
      heldBack.push({ address, wanted, got });
    }
  }
  return { dispatch, heldBack, closed };
}

function classesInUse(
  desired: Ruleset,
  rules: FamilyRules,
  dispatch: FamilyRules['dispatch'],
  closed: ReadonlySet<Direction>,
): ClassChain[] {
  const targeted = chainsTargeted(dispatch);
  return [
    ...[...rules.classes.values()].filter((chain) => targeted.has(chain.name)),
    ...[...closed].map((direction) => closedClass(direction, desired.layout)),
  ];
}

function chainsTargeted(dispatch: FamilyRules['dispatch']): Set<string> {
  return new Set([...dispatch.egress.values(), ...dispatch.ingress.values()]);
}

/** The class chain an address is sent to now, read from our own bucket chain. */
function currentTarget(before: ObservedFamily, direction: Direction, address: string): string | undefined {
  const flag = direction === 'egress' ? '-s' : '-d';
  const start = `${flag} ${address}/${address.includes(':') ? 128 : 32} -g `;
  const rule = before.chains.get(bucketChain(direction, bucketOf(address)))?.find((line) => line.startsWith(start));
  return rule?.slice(start.length);
}

/** Whether some packet that passes now would be judged anew: an address newly isolated, or a chain that lost a RETURN. */
function tightens(
  dispatch: FamilyRules['dispatch'],
  chains: ReadonlyMap<string, readonly string[]>,
  before: ObservedFamily,
): boolean {
  const loosens = new Map<string, boolean>();
  for (const direction of ['egress', 'ingress'] as const) {
    const targets = currentTargets(before, direction);
    for (const [address, target] of dispatch[direction]) {
      const now = targets.get(address);
      if (now === undefined) return true;
      const pair = `${now} ${target}`;
      let loose = loosens.get(pair);
      if (loose === undefined) {
        loose = onlyLoosens(before.chains.get(now), chains.get(target));
        loosens.set(pair, loose);
      }
      if (!loose) return true;
    }
  }
  return false;
}

function currentTargets(before: ObservedFamily, direction: Direction): Map<string, string> {
  const targets = new Map<string, string>();
  for (let bucket = 0; bucket < 16; bucket++) {
    for (const line of before.chains.get(bucketChain(direction, bucket)) ?? []) {
      const found = /^-[sd] ([^ /]+)\/\d+ -g (\S+)$/.exec(line);
      if (found) targets.set(found[1]!, found[2]!);
    }
  }
  const reached = before.chains.get(dispatchChain(direction)) ?? [];
  // A bucket nobody jumps to judges nobody.
  for (const [address] of targets) {
    const bucket = bucketChain(direction, bucketOf(address));
    if (!reached.some((line) => line.endsWith(` -g ${bucket}`))) targets.delete(address);
  }
  return targets;
}

/** True if every packet the chain `from` lets through, `to` lets through as well, as far as its text can show. */
function onlyLoosens(from: readonly string[] | undefined, to: readonly string[] | undefined): boolean {
  if (!from || !to) return false;
  const allowed = new Set(to.filter((line) => line.endsWith('-j RETURN')));
  return (
    from.every((line) => !line.endsWith('-j RETURN') || allowed.has(line)) && from.some((line) => line === '-j DROP')
  );
}

/** The generation in force, from the live stamp rule; undefined if there is none under this mask. */
export function readGeneration(before: ObservedFamily, marks: MarkBits): number | undefined {
  const entries = [FORWARD_CHAIN, INPUT_CHAIN].flatMap((chain) => before.chains.get(chain) ?? []);
  const stamp = entries.find((line) => line.startsWith('-j CONNMARK --set-xmark '));
  const found = stamp && /^-j CONNMARK --set-xmark 0x([0-9a-f]+)\/0x([0-9a-f]+)$/.exec(stamp);
  if (!found || Number.parseInt(found[2]!, 16) !== marks.mask >>> 0) return undefined;
  const generation = Number.parseInt(found[1]!, 16) / (((marks.mask & -marks.mask) >>> 0) * 2);
  return Number.isInteger(generation) && generation >= 1 && generation <= generationCount(marks)
    ? generation
    : undefined;
}

function nextGeneration(current: number, marks: MarkBits, before: ObservedFamily): number {
  // Nothing was stamped yet: the first generation is as good as the next.
  if (readGeneration(before, marks) === undefined && before.chains.size === 0) return current;
  return (current % generationCount(marks)) + 1;
}

function misplacedJumps(rules: FamilyRules, before: ObservedFamily): FamilyRules['jumps'] {
  return rules.jumps.filter(({ hook, chain }) => {
    const positions = before.hooks[hook].flatMap((line, index) => (line === `-j ${chain}` ? [index] : []));
    return positions.length !== 1 || positions[0] !== 0;
  });
}

function hooksAfter(before: ObservedFamily, jumps: FamilyRules['jumps']): ObservedFamily['hooks'] {
  const hooks = { ...before.hooks };
  for (const { hook, chain } of jumps)
    hooks[hook] = [`-j ${chain}`, ...before.hooks[hook].filter((line) => line !== `-j ${chain}`)];
  return hooks;
}

/** One `iptables-restore --noflush` input: declare (which empties), fill, place the jumps, then delete what nothing uses. */
function ruleLines(
  chains: ReadonlyMap<string, readonly string[]>,
  changed: readonly string[],
  stale: readonly string[],
  jumps: FamilyRules['jumps'],
  before: ObservedFamily,
): PlanLine[] {
  if (changed.length === 0 && stale.length === 0 && jumps.length === 0) return [];
  const body = [
    ...[...changed, ...stale].map((name) => ({ text: `:${name} - [0:0]`, object: name })),
    ...changed.flatMap((name) => chains.get(name)!.map((line) => ({ text: `-A ${name} ${line}`, object: name }))),
    ...jumps.flatMap(({ hook, chain }) => [
      ...before.hooks[hook]
        .filter((line) => line === `-j ${chain}`)
        .map(() => ({ text: `-D ${hook} -j ${chain}`, object: chain })),
      { text: `-I ${hook} 1 -j ${chain}`, object: chain },
    ]),
    ...stale.map((name) => ({ text: `-X ${name}`, object: name })),
  ];
  return inTable(body, FORWARD_CHAIN);
}

function chainReplacement(chains: ReadonlyMap<string, readonly string[]>): PlanLine[] {
  const body = [...chains].flatMap(([name, lines]) => [
    { text: `:${name} - [0:0]`, object: name },
    ...lines.map((line) => ({ text: `-A ${name} ${line}`, object: name })),
  ]);
  return inTable(body, FORWARD_CHAIN);
}

function inTable(body: readonly PlanLine[], object: string): PlanLine[] {
  return [{ text: '*mangle', object }, ...body, { text: 'COMMIT', object }];
}

function sameLines(a: readonly string[], b: readonly string[] | undefined): boolean {
  return b !== undefined && a.length === b.length && a.every((line, index) => line === b[index]);
}

function setsReferenced(chains: ReadonlyMap<string, readonly string[]>): Set<string> {
  const sets = new Set<string>();
  for (const lines of chains.values()) {
    for (const line of lines) for (const found of line.matchAll(/--match-set (\S+) /g)) sets.add(found[1]!);
  }
  return sets;
}

// ------------------------------------------------------------------------------------------------------------- outcome

function summarise(families: readonly FamilyDiff[], sets: SetsDiff, destroyed: number, bumps: number): PlanSummary {
  const total = (pick: (family: FamilyDiff) => number): number =>
    families.reduce((sum, family) => sum + pick(family), 0);
  return {
    chainsWritten: total((family) => family.chainsWritten),
    chainsDeleted: total((family) => family.chainsDeleted),
    jumpsRepaired: total((family) => family.jumpsRepaired),
    setsCreated: sets.created.size,
    setsDestroyed: destroyed,
    membersAdded: sets.added,
    membersDeleted: sets.deleted,
    generationBumps: bumps + total((family) => (family.tightened && family.generation !== undefined ? 1 : 0)),
  };
}

function stateAfter(
  desired: Ruleset,
  observed: ObservedState,
  families: readonly FamilyDiff[],
  bumps: readonly FamilyDiff[],
  setsDiff: SetsDiff,
  kept: ReadonlySet<string>,
): ObservedState {
  const sets = new Map<string, ObservedSet>();
  for (const [name, set] of desired.sets) {
    if (setsDiff.broken.has(name)) continue;
    const created = setsDiff.created.has(name);
    const capacity = created ? maxElements(set.members.size) : observed.sets.get(name)!.maxElements;
    sets.set(name, { name, family: set.family, type: set.type, maxElements: capacity, members: set.members });
  }
  for (const name of kept) {
    const old = observed.sets.get(name);
    if (!sets.has(name) && old) sets.set(name, old);
  }
  const after: Partial<Record<Family, ObservedFamily>> = {};
  for (const family of families) {
    const chains = new Map(family.chains);
    if (bumps.includes(family)) {
      for (const line of family.bump) if (line.text.startsWith(':')) chains.set(line.object, []);
      for (const { text, object } of family.bump) {
        if (text.startsWith('-A ')) (chains.get(object) as string[]).push(text.slice(`-A ${object} `.length));
      }
    }
    after[family.family] = { chains, hooks: family.hooks };
  }
  return { families: after, sets };
}
