/** Local endpoints with cluster-wide policies: those of NetworkPolicy, with programs that have their tiers as well, and pods only they concern. */
import type { Direction } from '../../core/vocabulary.ts';
import type { Pod } from '../../policy/model.ts';
import type { AddressSet, LocalEndpoint, Program } from '../intent.ts';
import type { ClusterTiers, Composition } from './cluster-tiers.ts';

import { compareText } from '../../core/compare.ts';
import { DIRECTIONS } from '../../core/vocabulary.ts';
import { isSameValue } from '../../core/same-value.ts';
import { objectKey } from '../../policy/model.ts';
import { unlikeProgram } from './cluster-tiers.ts';

interface Given {
  /** As NetworkPolicies have them, sorted by pod; and all their programs. */
  readonly endpoints: readonly LocalEndpoint[];
  readonly programs: readonly Program[];
  /** Pods of this node with the addresses they own. */
  readonly locals: readonly { readonly pod: Pod; readonly addresses: ReadonlySet<string> }[];
  /** Addresses that several pods show. */
  readonly contested: readonly { readonly address: string; readonly pod: string; readonly claimants: readonly Pod[] }[];
  /** The endpoints of the last intent: what is the same stays the same object. */
  readonly before: readonly LocalEndpoint[];
  readonly hasDoubts: boolean;
}

export interface TieredEndpoints {
  /** Sorted by pod. */
  readonly endpoints: readonly LocalEndpoint[];
  readonly programs: readonly Program[];
  /** Those that are of no policies in particular. */
  readonly closed: readonly Program[];
  readonly setKeys: readonly string[];
  /** Keys of sets that were made, perhaps in vain. */
  readonly made: readonly string[];
  readonly nodeSets: ReadonlyMap<string, AddressSet>;
}

/** Addresses of one pod, or of several that show the same. */
interface Group {
  readonly pod: string;
  readonly addresses: readonly string[];
  readonly pods: readonly Pod[];
}

export function tieredEndpoints(tiers: ClusterTiers, given: Given): TieredEndpoints {
  const { endpoints, programs } = given;
  if (tiers.isEmpty) return { ...tiers.compose(false).done(), endpoints, programs, closed: [] };
  const composition = tiers.compose(given.hasDoubts);
  const byKey = new Map(programs.map((program) => [program.key, program]));
  const byAddress = new Map(endpoints.flatMap((endpoint) => endpoint.addresses.map((address) => [address, endpoint])));
  const closed = new Map<string, Program>();
  const all = groupsOf(given).flatMap((group): LocalEndpoint[] => {
    const own = group.addresses.flatMap((address) => byAddress.get(address) ?? [])[0];
    const made = Object.fromEntries(
      DIRECTIONS.flatMap((direction) => {
        const program = programFor(tiers, composition, direction, group, byKey.get(own?.programs[direction] ?? ''));
        if (program && !byKey.has(program.key) && group.pods.length > 1) closed.set(program.key, program);
        return program ? [[direction, program.key]] : [];
      }),
    );
    const audits = own?.audits ?? {};
    if (Object.keys(made).length + Object.keys(audits).length === 0) return [];
    return [{ pod: group.pod, addresses: [...group.addresses].sort(), programs: made, audits }];
  });
  const known = new Map(given.before.map((endpoint) => [`${endpoint.pod} ${endpoint.addresses[0]}`, endpoint]));
  const same = all.map((endpoint) => {
    const before = known.get(`${endpoint.pod} ${endpoint.addresses[0]}`);
    return before && isSameValue(before, endpoint) ? before : endpoint;
  });
  const { programs: composed, ...sets } = composition.done();
  const used = new Set(same.flatMap((endpoint) => Object.values(endpoint.programs)));
  const every = new Map([...programs, ...closed.values(), ...composed].map((program) => [program.key, program]));
  return {
    endpoints: same.toSorted((a, b) => compareText(a.pod, b.pod)),
    programs: [...every.values()].filter(({ key }) => used.has(key)),
    closed: [...closed.values()],
    ...sets,
  };
}

/** One by one of the addresses that nobody else shows, then of the others. */
function groupsOf({ locals, contested }: Given): readonly Group[] {
  const others = new Set(contested.map(({ address }) => address));
  const alone = locals.flatMap(({ pod, addresses }): Group[] => {
    const own = [...addresses].filter((address) => !others.has(address));
    return own.length === 0 ? [] : [{ pod: objectKey(pod), addresses: own, pods: [pod] }];
  });
  const groups = Map.groupBy(contested, ({ claimants }) => JSON.stringify(claimants.map(objectKey)));
  const shared = [...groups.values()].map((all): Group => {
    return { pod: all[0]!.pod, addresses: all.map(({ address }) => address), pods: all[0]!.claimants };
  });
  return [...alone, ...shared];
}

function programFor(
  tiers: ClusterTiers,
  composition: Composition,
  direction: Direction,
  { pods }: Group,
  own: Program | undefined,
): Program | undefined {
  const applied = tiers.concerning(pods, direction);
  if (applied === undefined) return own;
  return applied === 'unlike' ? unlikeProgram(direction, pods, own) : composition.program(direction, applied, own);
}
