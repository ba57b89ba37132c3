/** Local endpoints for addresses of which it cannot be told whose they are (S-73). */
import type { Direction } from '../core/vocabulary.ts';
import type { Problem } from '../policy/model.ts';
import type { Program, LocalEndpoint } from './intent.ts';

import { type ContestedPod, isContested } from '../policy/address-owners.ts';
import { DIRECTIONS } from '../core/vocabulary.ts';
import { networkPolicyStage } from './program.ts';
import { type Pod, objectKey } from '../policy/model.ts';

/** An address with those of its claimants that are endpoints, at least one of them local. */
interface ContestedEndpoint {
  readonly address: string;
  /** `namespace/name` of the local endpoint that the address is listed under. */
  readonly pod: string;
  readonly claimants: readonly Pod[];
}

/** What is known of the pods' own programs. */
export interface KnownPrograms {
  of(pod: Pod): LocalEndpoint['programs'];
  byKey(key: string): Program | undefined;
}

export class ContestedAddresses {
  readonly #owners = new Map<string, ContestedPod>();

  get size(): number {
    return this.#owners.size;
  }

  has(address: string): boolean {
    return this.#owners.has(address);
  }

  /** Returns whether the address is contested or was. */
  ownerChanged(address: string, owner: Pod | undefined): boolean {
    const was = this.#owners.delete(address);
    if (!isContested(owner)) return was;
    this.#owners.set(address, owner);
    return true;
  }

  endpoints(nodeName: string): readonly ContestedEndpoint[] {
    return [...this.#owners.keys()].sort().flatMap((address) => {
      const claimants = endpointsOf(this.#owners.get(address), nodeName);
      const local = claimants.find((pod) => pod.nodeName === nodeName);
      return local ? [{ address, pod: objectKey(local), claimants }] : [];
    });
  }

  /** One for each group of pods, with all addresses they contest. */
  problems(): readonly Problem[] {
    const groups = Map.groupBy([...this.#owners.keys()].sort(), (address) => this.#owners.get(address)!.name);
    return [...groups.values()].map((addresses) => problemOf(this.#owners.get(addresses[0]!)!, addresses));
  }
}

function problemOf({ claimants, name }: ContestedPod, addresses: readonly string[]): Problem {
  const [first] = claimants;
  return {
    object: { kind: 'Pod', namespace: first!.namespace, name: first!.name },
    field: 'status.podIPs',
    message:
      `${addresses.join(' and ')} is shown by pods ${name}, and nothing tells which of them got it last: it is isolated where one of them ` +
      'is; if they are isolated by different policies, nothing is allowed to it; as a peer it matches only what matches all of them. ' +
      'Delete the pod that does not have the address any more (compare `ip address` inside of the pods)',
  };
}

/** The pods that the owner of an address stands for, if one of them is an endpoint of this node; without those that are on no node. */
export function endpointsOf(owner: Pod | undefined, nodeName: string): readonly Pod[] {
  if (!isContested(owner)) return owner?.nodeName === nodeName ? [owner] : [];
  const endpoints = owner.claimants.filter((pod) => pod.nodeName !== undefined);
  return endpoints.some((pod) => pod.nodeName === nodeName) ? endpoints : [];
}

/**
 * Isolated where one of the claimants is: by its program if that is the only one, else by a program that allows nothing. Programs of pods that
 * are isolated differently are not intersected, and nothing is audited: what enforcing would do depends on whose the address is.
 */
export function contestedLocalEndpoints(
  contested: readonly ContestedEndpoint[],
  known: KnownPrograms,
): { readonly endpoints: readonly LocalEndpoint[]; readonly closed: readonly Program[] } {
  const endpoints = new Map<string, LocalEndpoint>();
  const closed = new Map<string, Program>();
  for (const { address, pod, claimants } of contested) {
    const group = JSON.stringify(claimants.map(objectKey));
    const before = endpoints.get(group);
    if (before) {
      endpoints.set(group, { ...before, addresses: [...before.addresses, address] });
      continue;
    }
    const programs: Partial<Record<Direction, string>> = {};
    for (const direction of DIRECTIONS) {
      const keys = [...new Set(claimants.flatMap((each) => known.of(each)[direction] ?? []))].sort();
      const one = keys.length > 1 ? closedProgram(direction, keys, known) : undefined;
      if (one) closed.set(one.key, one);
      const key = one?.key ?? keys[0];
      if (key !== undefined) programs[direction] = key;
    }
    if (Object.keys(programs).length > 0) endpoints.set(group, { pod, addresses: [address], programs, audits: {} });
  }
  return { endpoints: [...endpoints.values()], closed: [...closed.values()] };
}

function closedProgram(direction: Direction, keys: readonly string[], known: KnownPrograms): Program {
  const policies = new Map(
    keys.flatMap((key) => known.byKey(key)?.policies ?? []).map((policy) => [objectKey(policy), policy]),
  );
  return {
    key: JSON.stringify([direction, 'contested', ...keys]),
    direction,
    policies: [...policies.keys()].sort().map((key) => policies.get(key)!),
    stages: [networkPolicyStage([])],
  };
}
