/**
 * A commit of nf_tables that deletes a rule or chain holds its tool up for 12 ms after packets follow, until the kernel has let go of
 * what was deleted. So a change goes in as rules above those it replaces, and these are deleted when nobody waits:
 *
 *   PCL-IN-a    -g PCL-O-<hash>     put in ahead of the rules before, which no packet comes to any more
 *   PCL-O-<hash>                    the rules of PCL-IN-a as they are now; a RETURN goes where one of PCL-IN-a would
 *   FORWARD     1 as it was   2 the jump for packets of another epoch than the new one   3 the same of the epoch before
 *   PCL-FWD-RECHECK -g PCL-O-<hash> which first lets through what carries the new epoch: rule 3 must not have it judged once more
 *
 * The planner sees each chain as it judges, whatever stands below; `DeadRules` is the rest of what the kernel holds. Whoever reads the
 * kernel sees the same (`asItJudges`), so a process that comes after a kill goes on from the verdicts that are in force.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { Rule } from '../rules/rule.ts';
import type { Hook } from '../rules/ruleset.ts';
import type { TextContext } from '../rules/write-text.ts';
import type { HookLines } from './hooks.ts';
import type { DeadRules, ObservedFamily, PlanLine } from './plan.ts';

import { type ChainText, ownRule, sameLines } from '../rules/chain.ts';
import { isOverlay, overlayChain } from '../rules/names.ts';
import { leadsTo, parseRule } from '../rules/parse-rule.ts';
import { HOOKS } from '../rules/ruleset.ts';
import { EVERY_PACKET } from '../../mark-bits.ts';
import { restoreLines } from './diff-rules.ts';
import { isHookLine } from './hooks.ts';

type Lines = readonly string[];

/** What a commit changes; see `restoreLines`. */
export interface RulesChange {
  readonly chains: ReadonlyMap<string, Pick<ChainText, 'lines'>>;
  readonly stale: Lines;
  /** Absent: the jumps stay. */
  readonly hooks?: HookLines;
}

/** Ahead of the rules of a chain for packets of other epochs: what carries this one was judged. */
const GUARD: Rule = { matches: [{ kind: 'current-mark' }], target: { kind: 'return' } };

/** Adds change by change to what the kernel holds. */
export class AddOnly {
  readonly #before: ObservedFamily;
  /** With the epoch that `hooks` begin. */
  readonly #context: TextContext;
  readonly #grown: Map<string, Lines>;
  readonly #dead: Map<string, Lines>;
  readonly #hooks: Partial<Record<Hook, Lines>>;
  /** Chains made by the changes before. */
  readonly #made = new Map<string, Lines>();

  constructor(before: ObservedFamily, context: TextContext) {
    this.#before = before;
    this.#context = context;
    this.#grown = new Map(before.dead?.grown);
    this.#dead = new Map(before.dead?.chains);
    this.#hooks = { ...before.dead?.hooks };
  }

  /** Lines of one restore; undefined: the change cannot be made so. */
  commit({ chains, stale, hooks }: RulesChange): readonly PlanLine[] | undefined {
    const rechecked = hooks ? this.#recheckedFrom(hooks) : new Map<Hook, string>();
    if (!rechecked) return undefined;
    const made = new Map<string, { readonly lines: Lines }>();
    const inserted: PlanLine[] = [];
    const cover = (name: string, lines: Lines): void => {
      const overlay = overlayChain(lines);
      if (!this.#dead.has(overlay)) made.set(overlay, { lines });
      this.#dead.set(overlay, lines);
      inserted.push({ text: `-I ${name} -g ${overlay}`, object: name });
      this.#grown.set(name, [`-g ${overlay}`, ...this.#lines(name)!]);
    };
    const again = new Set(rechecked.values());
    for (const [name, { lines }] of chains) {
      if (again.has(name)) continue;
      const left = this.#dead.get(name);
      this.#dead.delete(name);
      if (left !== undefined && sameLines(left, lines)) this.#made.set(name, lines);
      else if (left === undefined && this.#lines(name) !== undefined) cover(name, lines);
      else {
        made.set(name, { lines });
        this.#made.set(name, lines);
      }
    }
    for (const name of again)
      cover(name, [this.#guard(), ...(chains.get(name)?.lines ?? this.#before.chains.get(name)!)]);
    for (const [hook] of rechecked) inserted.push(this.#insertJump(hook, hooks![hook][1]!));
    for (const name of stale) {
      this.#dead.set(name, this.#lines(name)!);
      this.#grown.delete(name);
    }
    return restoreLines({ chains: made, hooks: inserted });
  }

  /** Undefined: there are none. */
  dead(): DeadRules | undefined {
    const [grown, chains, hooks] = [this.#grown, this.#dead, this.#hooks];
    return grown.size === 0 && chains.size === 0 ? undefined : { grown, chains, hooks };
  }

  #insertJump(hook: Hook, line: string): PlanLine {
    this.#hooks[hook] = (this.#hooks[hook] ?? this.#before.hooks[hook]).toSpliced(1, 0, line);
    return { text: `-I ${hook} 2 ${line}`, object: hook };
  }

  #guard(): string {
    return ownRule(GUARD, this.#context).line;
  }

  #lines(name: string): Lines | undefined {
    return this.#grown.get(name) ?? this.#made.get(name) ?? this.#before.chains.get(name);
  }

  /** Hooks whose second jump alone changes, to the epoch of `context`, and the chain it leads to. Undefined: they change in another way. */
  #recheckedFrom(hooks: HookLines): ReadonlyMap<Hook, string> | undefined {
    const rechecked = new Map<Hook, string>();
    for (const hook of HOOKS) {
      const [desired, actual] = [hooks[hook], this.#before.hooks[hook].slice(0, hooks[hook].length)];
      if (sameLines(desired, actual)) continue;
      const [again, before] = [desired[1], actual[1]].map((line) => (line === undefined ? line : leadsTo(line)));
      const isEpochAlone = desired.length === 2 && desired[0] === actual[0] && again !== undefined && again === before;
      if (!isEpochAlone || this.#context.epoch === EVERY_PACKET || !this.#before.chains.has(again)) return undefined;
      rechecked.set(hook, again);
    }
    return rechecked;
  }
}

/** A family as it was read, each chain as it judges. */
export function asItJudges(found: ObservedFamily, family: Family): ObservedFamily {
  const chains = new Map(found.chains);
  const grown = new Map<string, Lines>();
  for (const [name, lines] of found.chains) {
    const overlay = lines[0]?.startsWith('-g ') ? leadsTo(lines[0]) : undefined;
    const judging = overlay !== undefined && isOverlay(overlay) ? found.chains.get(overlay) : undefined;
    if (!judging) continue;
    grown.set(name, lines);
    chains.set(name, judging[0] !== undefined && isGuard(judging[0], family) ? judging.slice(1) : judging);
  }
  if (grown.size === 0) return found;
  const hooks = { ...found.hooks };
  const besides: Partial<Record<Hook, Lines>> = {};
  for (const hook of HOOKS) {
    const first = withoutRepeated(found.hooks[hook], grown);
    if (first.length === found.hooks[hook].length) continue;
    hooks[hook] = first;
    besides[hook] = found.hooks[hook];
  }
  return { ...found, chains, hooks, dead: { grown, chains: new Map(), hooks: besides } };
}

function isGuard(line: string, family: Family): boolean {
  const parsed = parseRule(line, family);
  if (parsed.kind === 'foreign' || parsed.rule.target.kind !== 'return') return false;
  return parsed.rule.matches.length === 1 && parsed.rule.matches[0]!.kind === 'current-mark';
}

/** Without the jumps to a grown chain that stand below another one to it. */
function withoutRepeated(lines: Lines, grown: ReadonlyMap<string, Lines>): Lines {
  const seen = new Set<string>();
  return lines.filter((line) => {
    const to = leadsTo(line) ?? '';
    const isRepeated = seen.has(to);
    seen.add(to);
    return !isRepeated || !grown.has(to);
  });
}

/** A family with the dead rules where they are. */
export type InKernel = Pick<ObservedFamily, 'chains' | 'hooks' | 'elsewhere'>;

export function asInKernel(family: ObservedFamily): InKernel {
  const { chains, dead, hooks, elsewhere } = family;
  if (!dead) return family;
  return {
    chains: new Map([...chains, ...dead.grown, ...dead.chains]),
    hooks: { ...hooks, ...dead.hooks },
    ...(elsewhere ? { elsewhere } : {}),
  };
}

/** Every packet of live flows meets a dead jump, and nearly none the other dead rules. */
const RULES_PER_JUMP = 100;

/** How many rules there are that judge nothing, a jump counted as so many as it is a burden. */
export function deadRules({ dead, hooks }: Pick<ObservedFamily, 'dead' | 'hooks'>): number {
  let count = 0;
  for (const hook of HOOKS) count += ((dead?.hooks[hook] ?? hooks[hook]).length - hooks[hook].length) * RULES_PER_JUMP;
  for (const lines of [...(dead?.grown.values() ?? []), ...(dead?.chains.values() ?? [])]) count += lines.length;
  return count;
}

/** The change, and with it an end of all dead rules. `chainOf`: a chain as it is to be from this change on. */
export function withoutDead(
  change: RulesChange,
  before: ObservedFamily,
  chainOf: (name: string) => ChainText | undefined,
): RulesChange {
  const { dead } = before;
  if (!dead) return change;
  const chains = new Map(change.chains);
  for (const name of dead.grown.keys()) {
    const text = chainOf(name);
    if (text && !chains.has(name)) chains.set(name, text);
  }
  const gone = [...dead.chains.keys()].filter((name) => !chainOf(name));
  const ours = (hook: Hook): Lines => before.hooks[hook].filter(isHookLine);
  return {
    chains,
    stale: [...change.stale, ...gone],
    hooks: change.hooks ?? { FORWARD: ours('FORWARD'), INPUT: ours('INPUT') },
  };
}
