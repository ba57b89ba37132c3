/** Who is judged by which endpoint chain, where some chains or sets are refused or not full yet: decided on values, before any chain is made. */
import type { Direction } from '../../../core/vocabulary.ts';
import type { Targets } from '../render/assemble.ts';
import type { EndpointChain, FamilyRules, Layout, PortGuard } from '../rules/ruleset.ts';
import type { ChainText } from '../rules/chain.ts';
import type { ChainReading } from './chain-reading.ts';
import type { Degraded } from '../../dataplane.ts';

import { partOf } from '../../chain-names.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { closedEndpoint } from '../render/assemble.ts';
import { isGuard } from '../rules/ruleset.ts';

export interface Unusable {
  /** Chains and sets the kernel refused. */
  readonly rejected: ReadonlySet<string>;
  /** Sets that are not full yet. */
  readonly waiting: Pick<ReadonlySet<string>, 'has' | 'size'>;
}

export interface EffectiveTargets extends Targets {
  readonly degraded: readonly Degraded[];
  /** Addresses that wait for their sets to be filled. */
  readonly waiting: number;
}

/** An address whose chain cannot be used stays with the one it has, if that is of the mode in force; else it is closed. */
export function effectiveTargets(
  layout: Layout,
  rules: FamilyRules,
  actual: ChainReading,
  unusable: Unusable,
): EffectiveTargets {
  const uncounted = withoutUnusableAudits(rules, unusable);
  const { dispatch, degraded, waiting, closed } = effectiveDispatch(layout, uncounted.rules, actual, unusable);
  const { guards, closed: closedGuards } = usableGuards(layout, uncounted.rules, unusable.rejected);
  const guarded = guards.flatMap(({ targets }) => Object.values(targets));
  const targeted = new Set([...dispatch.egress.values(), ...dispatch.ingress.values(), ...guarded]);
  const endpoints = [
    ...[...rules.endpointChains.values()].filter(({ name }) => targeted.has(name)),
    ...[...new Set([...closed, ...closedGuards])].map((direction) => closedEndpoint(direction, layout)),
  ];
  return {
    dispatch,
    guards,
    offered: rules.guards,
    endpoints,
    degraded,
    waiting: waiting + uncounted.addresses,
  };
}

/**
 * What is audited must not keep what is enforced from going in: where the chain that counts cannot be used, the one that only judges is, or
 * none. `addresses`: of so many.
 */
function withoutUnusableAudits(
  rules: FamilyRules,
  { rejected, waiting }: Unusable,
): { readonly rules: FamilyRules; readonly addresses: number } {
  const instead = new Map<string, string | undefined>();
  for (const { name, sets, audit } of rules.endpointChains.values())
    if (audit && (rejected.has(name) || sets.some((set) => rejected.has(set) || waiting.has(set))))
      instead.set(name, audit.without);
  if (instead.size === 0) return { rules, addresses: 0 };
  let addresses = 0;
  const usable = <K>(targets: Iterable<readonly [K, string]>): Map<K, string> => {
    const found = new Map<K, string>();
    for (const [key, desired] of targets) {
      const target = instead.has(desired) ? instead.get(desired) : desired;
      if (target !== desired) addresses++;
      if (target !== undefined) found.set(key, target);
    }
    return found;
  };
  const dispatch = { egress: usable(rules.dispatch.egress), ingress: usable(rules.dispatch.ingress) };
  const guards = rules.guards.map((guard): PortGuard => {
    const targets = usable(Object.entries(guard.targets) as [Direction, string][]);
    return { ...guard, targets: Object.fromEntries(targets) };
  });
  const endpointChains = new Map([...rules.endpointChains].filter(([name]) => !instead.has(name)));
  return { rules: { ...rules, dispatch, guards, endpointChains }, addresses };
}

type EffectiveDispatch = Pick<EffectiveTargets, 'dispatch' | 'degraded' | 'waiting'> & {
  readonly closed: ReadonlySet<Direction>;
};

function effectiveDispatch(
  layout: Layout,
  rules: FamilyRules,
  actual: ChainReading,
  { rejected, waiting }: Unusable,
): EffectiveDispatch {
  const dispatch = { egress: new Map<string, string>(), ingress: new Map<string, string>() };
  const degraded: Degraded[] = [];
  const closed = new Set<Direction>();
  let count = 0;
  // All of a namespace or nothing: half of a change could let through what neither the old nor the new policies do.
  const unready = new Set(
    [...rules.endpointChains.values()].filter(({ sets }) => sets.some((set) => waiting.has(set))).flatMap(namespacesOf),
  );
  for (const direction of JUDGING_ORDER) {
    const current = actual.targets(direction);
    for (const [address, desired] of rules.dispatch[direction]) {
      const endpoint = rules.endpointChains.get(desired)!;
      const isRefused = isRejected(endpoint, rejected);
      const isUnready = isolates(endpoint) && namespacesOf(endpoint).some((namespace) => unready.has(namespace));
      if (!isRefused && !isUnready) {
        dispatch[direction].set(address, desired);
        continue;
      }
      const now = current.get(address);
      const text = now === undefined ? undefined : actual.text(now);
      // What is refused may stay so for long: it must not keep a pod in a mode that was left. What waits will not.
      const isOfMode = text !== undefined && (!isRefused || drops(text) === (layout.mode === 'enforce'));
      const isUsable = now !== undefined && isOfMode && !rejected.has(now);
      const fallback = isUsable ? now : closedEndpoint(direction, layout).name;
      if (!isUsable) closed.add(direction);
      dispatch[direction].set(address, fallback);
      if (isRefused) degraded.push({ address, desired, actual: fallback });
      else count++;
    }
  }
  return { dispatch, degraded, waiting: count, closed };
}

/** In audit mode no endpoint chain does; else each one that isolates does at its end, and others where their rules deny. */
function drops({ rules }: ChainText): boolean {
  return rules.some(({ kind, ...parsed }) => {
    if (kind !== 'own' || !('rule' in parsed)) return false;
    const { target } = parsed.rule;
    return target.kind === 'drop' || (target.kind === 'goto' && partOf(target.chain) === 'denied');
  });
}

function isRejected({ name, sets }: EndpointChain, rejected: ReadonlySet<string>): boolean {
  return rejected.has(name) || sets.some((set) => rejected.has(set));
}

/** Else the chain only counts, and its pods are as open as pods without a chain. */
function isolates({ audit }: EndpointChain): boolean {
  return !audit || audit.without !== undefined;
}

/** Of NetworkPolicies all are of one namespace; cluster-wide policies come ahead of them, and are of none. */
function namespacesOf({ policies }: EndpointChain): string[] {
  const [first, last] = [policies[0], policies.at(-1)];
  return first && last ? [...new Set([first.namespace, last.namespace])] : [];
}

/** Interfaces whose endpoint chain is rejected are closed: what is at no listed address has no claim to the rules before. */
function usableGuards(
  layout: Layout,
  rules: FamilyRules,
  rejected: ReadonlySet<string>,
): { guards: readonly PortGuard[]; closed: readonly Direction[] } {
  const { guards, endpointChains } = rules;
  if (rejected.size === 0 || guards.length === 0) return { guards, closed: [] };
  // The kernel cannot match by interface: all else goes in without it.
  if ([...rejected].some((name) => isGuard(rules, name)))
    return { guards: guards.map((guard) => ({ ...guard, targets: {} })), closed: [] };
  const closed = new Set<Direction>();
  const usable = guards.map((guard): PortGuard => {
    const targets: Partial<Record<Direction, string>> = {};
    for (const direction of JUDGING_ORDER) {
      const desired = guard.targets[direction];
      if (desired === undefined) continue;
      const isClosed = isRejected(endpointChains.get(desired)!, rejected);
      if (isClosed) closed.add(direction);
      targets[direction] = isClosed ? closedEndpoint(direction, layout).name : desired;
    }
    return { ...guard, targets };
  });
  return { guards: usable, closed: [...closed] };
}
