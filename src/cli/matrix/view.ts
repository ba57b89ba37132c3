/** What of a cluster's flows was asked for: rows, columns and ports. */
import type { Inventory } from '../../cluster/inventory.ts';
import type { EndKind } from '../../policy/matrix/ends.ts';
import type { AskedPort, PortClass } from '../../policy/matrix/ports.ts';
import type { Grouping, ViewOptions } from './options.ts';

import { type PodOwner, podOwners } from '../../cluster/pod-owners.ts';
import { type EndGroup, type GroupName, groupEnds } from '../../policy/matrix/groups.ts';
import { FlowMatrix } from '../../policy/matrix/matrix.ts';
import { UsageProblem } from '../flags.ts';

export interface MatrixView {
  readonly matrix: FlowMatrix;
  /** Rows and columns. */
  readonly groups: readonly EndGroup[];
  readonly sources: readonly EndGroup[];
  readonly destinations: readonly EndGroup[];
  /** Of `matrix.ports`, as indexes. */
  readonly ports: readonly number[];
}

/** Throws `UsageProblem`. `inventories`: states of one cluster, the one whose owners count last. */
export function viewOf(inventories: readonly Inventory[], options: ViewOptions): MatrixView {
  const asked = [...inventories.flatMap(portsOf), ...options.ports];
  const matrix = new FlowMatrix(
    inventories.map(({ snapshot }) => snapshot),
    { asked, enforcesAudited: options.enforcesAudited },
  );
  return regrouped(matrix, inventories, options, options.group ?? 'workload');
}

export function regrouped(
  matrix: FlowMatrix,
  inventories: readonly Inventory[],
  options: ViewOptions,
  grouping: Grouping,
): MatrixView {
  const owners = new Map(inventories.flatMap((each) => [...podOwners(each)]));
  const groups = groupEnds(matrix, (type, member) => nameOf(type, member, owners, grouping));
  return {
    matrix,
    groups,
    sources: chosen(groups, options.from, '--from'),
    destinations: chosen(groups, options.to, '--to'),
    ports: matrix.ports.flatMap((port, index) => (isAsked(port, options.ports) ? [index] : [])),
  };
}

/** Target ports of Services are ports that somebody names. */
function portsOf({ services }: Inventory): AskedPort[] {
  return services.flatMap(({ ports }) =>
    ports.flatMap(({ protocol, target }) => (typeof target === 'number' ? [{ protocol, port: target }] : [])),
  );
}

function isAsked({ protocol, ranges, isRest }: PortClass, asked: readonly AskedPort[]): boolean {
  if (asked.length === 0) return true;
  return !isRest && asked.some((each) => each.protocol === protocol && ranges.some(([first]) => first === each.port));
}

function nameOf(type: EndKind, member: string, owners: ReadonlyMap<string, PodOwner>, grouping: Grouping): GroupName {
  switch (type) {
    case 'outside':
      return { kind: 'outside', namespace: '', name: member };
    case 'node':
      return { kind: 'nodes', namespace: '', name: 'nodes' };
    case 'pod': {
      const [namespace = '', name = member] = member.includes(' and ') ? [] : member.split('/');
      const owner = owners.get(member);
      if (grouping === 'pod' || !owner) return { kind: owner ? 'Pod' : 'Address', namespace, name };
      return grouping === 'namespace' ? { kind: 'Namespace', namespace, name: '*' } : owner;
    }
  }
}

export function titleOf({ type, kind, namespace, name }: EndGroup): string {
  switch (type) {
    case 'pod':
      if (kind === 'Namespace') return namespace;
      return namespace === '' ? name : `${namespace}/${name}`;
    case 'node':
      return name;
    case 'outside':
      return OUTSIDE[name] ?? `outside ${name}`;
  }
}

/** What is in none of the blocks that policies name. */
const OUTSIDE: Readonly<Record<string, string>> = { '0.0.0.0/0': 'outside', '::/0': 'outside IPv6' };

function chosen(groups: readonly EndGroup[], wanted: readonly string[], flag: string): readonly EndGroup[] {
  if (wanted.length === 0) return groups;
  for (const text of wanted) {
    if (groups.some((group) => isMeant(group, text))) continue;
    const known = [...new Set(groups.map(({ type, namespace }) => (type === 'pod' ? namespace : kindWord(type))))];
    throw new UsageProblem(
      `${flag} ${JSON.stringify(text)}: nothing there has that name; there are ${known.slice(0, 20).join(', ')}`,
    );
  }
  return groups.filter((group) => wanted.some((text) => isMeant(group, text)));
}

function isMeant(group: EndGroup, text: string): boolean {
  if (group.type !== 'pod') return text === kindWord(group.type) || text === group.name;
  const { namespace, name, members } = group;
  return text === namespace || text === `${namespace}/${name}` || members.includes(text);
}

function kindWord(type: 'node' | 'outside' | 'pod'): string {
  return type === 'node' ? 'nodes' : type;
}
