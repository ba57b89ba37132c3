/**
 * Which policies an agent keeps with their rules, which without, and which not at all, so that no namespace's users can fill its memory.
 *
 *   rules of one policy over its limit              it isolates its pods and allows nothing
 *   rules of a namespace over its limit             likewise the policies that do not fit, the oldest come first
 *   records of a namespace over their limit         the newest are not kept; instead every pod of the namespace is isolated
 *   all namespaces together over their limit        the limit of a namespace is halved until all fit: one that asks for less never notices
 *
 * The answer depends on the objects alone (sizes, creation times, names), so every agent gives the same one, whatever it heard first. A
 * policy that is added is the newest, so it closes no other one. What was dropped and would fit again is missing until the next list.
 */
import type { Problem } from '../policy/model.ts';

import { fairShare } from '../core/fair-share.ts';
import { isOlder, placeByAge } from './by-age.ts';
import { closeNamespace, type StoredPolicy } from './stored-policy.ts';
import { bytesText, POLICY_LIMITS } from './limits.ts';
import type { Budget } from './store.ts';

export type PolicyLimits = Readonly<Record<keyof typeof POLICY_LIMITS, number>>;

/** Stands for the policies of a namespace that are not kept. No object can have this name: upper case. */
export const CROWDED = 'MORE-POLICIES-THAN-ARE-KEPT';
/** Of one namespace: the first ones tell the story. */
const MAX_NAMED = 10;
const MAX_NAMESPACES = 50;
/** A list costs every agent and the API server; until then what is missing stays closed. */
const MIN_LIST_GAP_MS = 60_000;

interface Tenant {
  /** Oldest first; among equals by name. */
  readonly order: StoredPolicy[];
  /** Of those that are within the limit of one policy, kept or not. */
  ruleBytes: number;
  recordBytes: number;
  /** Of those that are kept with their rules. */
  heldBytes: number;
  /** Policies without their rules. */
  closed: number;
  /** Of these, some would fit again; undefined: to be looked at. */
  missing: boolean | undefined;
  /** Some policies are not kept at all. */
  crowded: boolean;
  /** Seen to be so in the list that runs. */
  crowdedAgain: boolean;
}

type Changes = Map<string, StoredPolicy | undefined>;
type Share = Readonly<Record<'rules' | 'records', number>>;

export class PolicyBudget implements Budget<StoredPolicy> {
  readonly #limits: PolicyLimits;
  readonly #tenants = new Map<string, Tenant>();
  /** Those in which something is closed or crowded. */
  readonly #troubled = new Set<string>();
  /** What all namespaces ask for, each up to its limit. */
  readonly #asked = { rules: 0, records: 0 };
  /** What a namespace may have now. */
  #share: Share;
  #problems: { readonly all: readonly Problem[]; isOutdated: boolean } = { all: [], isOutdated: false };
  #listedAtMs = Number.NEGATIVE_INFINITY;

  constructor(limits: PolicyLimits = POLICY_LIMITS) {
    this.#limits = limits;
    this.#share = { rules: limits.rulesOfNamespace, records: limits.recordsOfNamespace };
  }

  isOwn(key: string): boolean {
    return key.endsWith(`/${CROWDED}`);
  }

  settle(key: string, before: StoredPolicy | undefined, arrived: StoredPolicy | undefined): Changes {
    const after = arrived && !this.#fitsAlone(arrived) ? arrived.withoutRules() : arrived;
    const namespace = key.slice(0, key.indexOf('/'));
    const changes: Changes = new Map([[key, after]]);
    const tenant = this.#tenants.get(namespace) ?? newTenant();
    this.#tenants.set(namespace, tenant);
    if (after && !before && this.#isTooMany(tenant, after)) {
      tenant.crowdedAgain = true;
      return changes.set(key, undefined);
    }
    this.#recount(tenant, () => {
      if (before) this.#take(tenant, before);
      if (after) this.#put(tenant, after);
    });
    this.#fitAll(namespace, changes, after);
    return changes;
  }

  /** It would be the one to go. */
  #isTooMany(tenant: Tenant, policy: StoredPolicy): boolean {
    const newest = tenant.order.at(-1);
    if (!tenant.crowded || !newest || isOlder(policy, newest)) return false;
    return tenant.recordBytes + policy.recordBytes > this.#share.records;
  }

  beginList(): void {
    for (const namespace of this.#troubled) this.#tenants.get(namespace)!.crowdedAgain = false;
  }

  endList(nowMs: number, complete: boolean): Changes {
    this.#listedAtMs = nowMs;
    const changes: Changes = new Map();
    for (const namespace of complete ? [...this.#troubled] : []) {
      const tenant = this.#tenants.get(namespace)!;
      if (!tenant.crowded || tenant.crowdedAgain) continue;
      this.#recount(tenant, () => this.#crowd(namespace, tenant, false, changes));
      this.#fitAll(namespace, changes);
    }
    return changes;
  }

  /** There is room for what was dropped, and the last list is not too near. */
  wantsList(nowMs: number): boolean {
    if (this.#troubled.size === 0 || nowMs - this.#listedAtMs < MIN_LIST_GAP_MS) return false;
    return [...this.#troubled].some((namespace) => {
      const tenant = this.#tenants.get(namespace)!;
      tenant.missing ??= this.#isMissing(tenant);
      return tenant.missing || (tenant.crowded && tenant.recordBytes < this.#share.records / 2);
    });
  }

  /** The same array until a problem comes or goes. */
  get problems(): readonly Problem[] {
    if (this.#problems.isOutdated) {
      const all = this.#allProblems();
      const isSame = JSON.stringify(all) === JSON.stringify(this.#problems.all);
      this.#problems = { all: isSame ? this.#problems.all : all, isOutdated: false };
    }
    return this.#problems.all;
  }

  // ------------------------------------------------------------------------------------------------------------- fitting

  /** After a change in one namespace; where that changes what each may have, in all. */
  #fitAll(namespace: string, changes: Changes, arrived?: StoredPolicy): void {
    const { rules, records } = this.#share;
    this.#share = {
      rules: this.#shareOf('rules', this.#limits.rulesOfNamespace, this.#limits.rules),
      records: this.#shareOf('records', this.#limits.recordsOfNamespace, this.#limits.records),
    };
    const isSame = this.#share.rules === rules && this.#share.records === records;
    for (const each of isSame ? [namespace] : [...this.#tenants.keys()]) this.#fit(each, changes, arrived);
  }

  #shareOf(what: keyof Share, perNamespace: number, together: number): number {
    if (this.#asked[what] <= together) return perNamespace;
    const demands = [...this.#tenants.values()].map((tenant) => this.#demand(tenant)[what]);
    return fairShare(demands, perNamespace, together);
  }

  /** How much more is not kept of a crowded namespace is not known. */
  #demand({ ruleBytes, recordBytes, crowded }: Tenant): Share {
    const { rulesOfNamespace, recordsOfNamespace } = this.#limits;
    return {
      rules: Math.min(ruleBytes, rulesOfNamespace),
      records: crowded ? recordsOfNamespace : Math.min(recordBytes, recordsOfNamespace),
    };
  }

  /** Keeps what all ask for up to date over a change of one. */
  #recount(tenant: Tenant, change: () => void): void {
    const before = this.#demand(tenant);
    change();
    const after = this.#demand(tenant);
    this.#asked.rules += after.rules - before.rules;
    this.#asked.records += after.records - before.records;
  }

  #fit(namespace: string, changes: Changes, arrived: StoredPolicy | undefined): void {
    const tenant = this.#tenants.get(namespace)!;
    if (tenant.recordBytes > this.#share.records) this.#evict(namespace, tenant, changes);
    if (tenant.heldBytes > this.#share.rules) this.#close(tenant, changes, arrived);
    tenant.missing = undefined;
    const isTroubled = tenant.closed > 0 || tenant.crowded;
    if (isTroubled || this.#troubled.has(namespace)) this.#problems.isOutdated = true;
    if (isTroubled) this.#troubled.add(namespace);
    else this.#troubled.delete(namespace);
    if (tenant.order.length === 0 && !tenant.crowded) this.#tenants.delete(namespace);
  }

  /** The newest go. */
  #evict(namespace: string, tenant: Tenant, changes: Changes): void {
    this.#recount(tenant, () => {
      while (tenant.recordBytes > this.#share.records && tenant.order.length > 0) {
        const newest = tenant.order.at(-1)!;
        this.#take(tenant, newest);
        changes.set(keyOf(newest), undefined);
      }
      this.#crowd(namespace, tenant, true, changes);
    });
  }

  #crowd(namespace: string, tenant: Tenant, crowded: boolean, changes: Changes): void {
    tenant.crowdedAgain = crowded;
    if (tenant.crowded === crowded) return;
    tenant.crowded = crowded;
    changes.set(`${namespace}/${CROWDED}`, crowded ? closeNamespace(namespace, CROWDED) : undefined);
  }

  /** The oldest stay. A policy that does not fit is passed over: a smaller one after it may. */
  #close(tenant: Tenant, changes: Changes, arrived: StoredPolicy | undefined): void {
    const { order } = tenant;
    const last = order.length - 1;
    // The newest takes nothing from any other: it alone does not fit.
    if (order[last] === arrived && tenant.heldBytes - arrived!.ruleBytes <= this.#share.rules) {
      this.#closeOne(tenant, last, changes);
      return;
    }
    let used = 0;
    for (let place = 0; place <= last; place++) {
      const policy = order[place]!;
      if (this.#fits(policy, used)) used += policy.ruleBytes;
      else if (policy.text) this.#closeOne(tenant, place, changes);
    }
  }

  #closeOne(tenant: Tenant, place: number, changes: Changes): void {
    const policy = tenant.order[place]!;
    const closed = policy.withoutRules();
    tenant.order[place] = closed;
    tenant.heldBytes -= policy.ruleBytes;
    tenant.closed++;
    changes.set(keyOf(policy), closed);
  }

  #isMissing({ order, closed }: Tenant): boolean {
    if (closed === 0) return false;
    let used = 0;
    for (const policy of order) {
      if (!this.#fits(policy, used)) continue;
      if (!policy.text) return true;
      used += policy.ruleBytes;
    }
    return false;
  }

  #fits(policy: StoredPolicy, used: number): boolean {
    return this.#fitsAlone(policy) && used + policy.ruleBytes <= this.#share.rules;
  }

  #fitsAlone(policy: StoredPolicy): boolean {
    return policy.ruleBytes <= this.#limits.rulesOfPolicy;
  }

  #put(tenant: Tenant, policy: StoredPolicy): void {
    tenant.order.splice(placeByAge(tenant.order, policy), 0, policy);
    this.#add(tenant, policy, 1);
  }

  #take(tenant: Tenant, policy: StoredPolicy): void {
    tenant.order.splice(placeByAge(tenant.order, policy), 1);
    this.#add(tenant, policy, -1);
  }

  #add(tenant: Tenant, policy: StoredPolicy, sign: 1 | -1): void {
    if (this.#fitsAlone(policy)) tenant.ruleBytes += sign * policy.ruleBytes;
    tenant.recordBytes += sign * policy.recordBytes;
    if (policy.text) tenant.heldBytes += sign * policy.ruleBytes;
    else tenant.closed += sign;
  }

  // ------------------------------------------------------------------------------------------------------------ problems

  #allProblems(): readonly Problem[] {
    const namespaces = [...this.#troubled].sort();
    const problems = namespaces.slice(0, MAX_NAMESPACES).flatMap((namespace) => this.#problemsOf(namespace));
    const more = namespaces.length - MAX_NAMESPACES;
    if (more <= 0) return problems;
    const object = { kind: 'Namespace', name: namespaces[MAX_NAMESPACES]! };
    return [...problems, { object, field: '', message: `and ${more - 1} more have policies over a limit` }];
  }

  #problemsOf(namespace: string): readonly Problem[] {
    const { order, crowded, closed } = this.#tenants.get(namespace)!;
    const problems: Problem[] = [];
    if (crowded) problems.push(this.#crowdedProblem(namespace));
    for (const policy of order) {
      if (problems.length === MAX_NAMED) break;
      if (!policy.text) problems.push(this.#closedProblem(policy));
    }
    if (closed > MAX_NAMED) {
      const object = { kind: 'Namespace', name: namespace };
      problems.push({ object, field: '', message: `has more policies that allow nothing as they are over a limit` });
    }
    return problems;
  }

  #closedProblem(policy: StoredPolicy): Problem {
    const { namespace, name, ruleBytes } = policy;
    const object = { kind: 'NetworkPolicy', namespace, name };
    return { object, field: 'spec', message: `has ${bytesText(ruleBytes)} of rules${this.#whyClosed(policy)}` };
  }

  #whyClosed(policy: StoredPolicy): string {
    const effect = 'it isolates the pods it selects and allows nothing';
    const share = bytesText(this.#share.rules);
    if (!this.#fitsAlone(policy))
      return `, and ${bytesText(this.#limits.rulesOfPolicy)} is the most of one policy: ${effect}; split it, or use fewer, wider ipBlocks`;
    return (
      `, which do not fit into the ${share} that are kept of one namespace's policies, the oldest first: ${effect}; ` +
      'delete policies or make them shorter (once there is room, rules are used from the next list on)'
    );
  }

  #crowdedProblem(namespace: string): Problem {
    const message =
      `has more policies than the ${bytesText(this.#share.records)} kept of one namespace hold: every pod of it is isolated in both ` +
      'directions and only the oldest policies allow anything; delete policies';
    return { object: { kind: 'Namespace', name: namespace }, field: '', message };
  }
}

function newTenant(): Tenant {
  return {
    order: [],
    ruleBytes: 0,
    recordBytes: 0,
    heldBytes: 0,
    closed: 0,
    missing: false,
    crowded: false,
    crowdedAgain: false,
  };
}

function keyOf({ namespace, name }: StoredPolicy): string {
  return `${namespace}/${name}`;
}
