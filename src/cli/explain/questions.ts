/** What was asked about -> flows, one for each pair of ends, port and family, with what the cluster says of each. */
import type { Family, Protocol } from '../../core/vocabulary.ts';
import type { FlowEnd, ResolvedEnds } from '../../cluster/flow-ends.ts';
import type { Inventory } from '../../cluster/inventory.ts';
import type { Pod } from '../../policy/model.ts';

import { FAMILIES, PROTOCOL_NUMBER } from '../../core/vocabulary.ts';
import { addressOwners } from '../../policy/address-owners.ts';
import { connectionOf } from '../../policy/connection.ts';
import type { PolicyWorld } from '../../policy/evaluate.ts';
import { explainFlow, type FlowExplanation } from '../../policy/explain-flow.ts';

/** As written: `80`, `53/UDP`, `http`. */
export interface AskedPort {
  readonly port: number | string;
  readonly protocol: Protocol | undefined;
}

export interface Answer {
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
  readonly protocol: Protocol;
  /** At the destination. */
  readonly port: number;
  /** Of the Service that was named. */
  readonly servicePort?: number;
  /** More than one where both give the same. */
  readonly families: readonly Family[];
  readonly explanation: FlowExplanation;
}

export interface Answers {
  readonly answers: readonly Answer[];
  /** What could not be asked, and why. */
  readonly notes: readonly string[];
}

/** More pairs than anybody reads. */
export const MAX_FLOWS = 50_000;

export function answersFor(
  inventory: Inventory,
  source: ResolvedEnds,
  destination: ResolvedEnds,
  asked: readonly AskedPort[],
): Answers {
  const notes = new Set([...source.notes, ...destination.notes]);
  const owners = addressOwners(inventory.snapshot.pods.values());
  const answers: Answer[] = [];
  for (const to of destination.ends) {
    for (const target of targetsAt(to, destination, asked, notes)) {
      for (const from of source.ends) {
        if (answers.length >= MAX_FLOWS) {
          notes.add(`more than ${MAX_FLOWS} flows: the rest is left out`);
          return { answers, notes: [...notes] };
        }
        answers.push(...answersBetween(inventory.snapshot, owners, from, to, target, notes));
      }
    }
  }
  return { answers, notes: [...notes] };
}

interface Target {
  readonly protocol: Protocol;
  readonly port: number;
  readonly servicePort?: number;
}

/** The ports at one destination that are meant. */
function targetsAt(
  { name, pod }: FlowEnd,
  { service }: ResolvedEnds,
  asked: readonly AskedPort[],
  notes: Set<string>,
): Target[] {
  const resolve = (port: number | string, protocol: Protocol): number[] => {
    if (typeof port === 'number') return [port];
    const found = portsNamed(pod, port, protocol);
    if (found.length === 0) notes.add(`${name} has no ${protocol} port named ${port}: it is left out (S-43)`);
    return found;
  };
  if (!service) {
    return asked.flatMap(({ port, protocol = 'TCP' }) =>
      resolve(port, protocol).map((each) => ({ protocol, port: each })),
    );
  }
  const meant = service.ports.filter(
    (each) =>
      asked.length === 0 ||
      asked.some(
        ({ port, protocol }) => [each.port, each.name].includes(port) && (protocol ?? each.protocol) === each.protocol,
      ),
  );
  if (meant.length === 0) {
    const there = service.ports.map((each) => `${each.port}/${each.protocol}`).join(', ');
    notes.add(`Service ${service.namespace}/${service.name} has no such port; it has ${there || 'none'}`);
  }
  return meant.flatMap(({ port, protocol, target }) =>
    resolve(target, protocol).map((each) => ({ protocol, port: each, servicePort: port })),
  );
}

function portsNamed(pod: Pod | undefined, name: string, protocol: Protocol): number[] {
  const declared = pod?.namedPorts.filter((each) => each.name === name && each.protocol === protocol) ?? [];
  return [...new Set(declared.map(({ port }) => port))];
}

/** One answer where both families give the same. */
function answersBetween(
  world: PolicyWorld,
  owners: ReadonlyMap<string, Pod>,
  source: FlowEnd,
  destination: FlowEnd,
  target: Target,
  notes: Set<string>,
): Answer[] {
  const found: Answer[] = [];
  for (const family of FAMILIES) {
    const [from, to] = [source.addresses[family], destination.addresses[family]];
    if (from === undefined || to === undefined) continue;
    const flow = {
      source: from,
      destination: to,
      protocol: PROTOCOL_NUMBER[target.protocol],
      port: target.port,
      ...(source.node === undefined ? {} : { fromNode: source.node }),
      // N-71: backends of a Service are reached through it, also by themselves.
      ...(from === to && target.servicePort !== undefined ? { viaService: true as const } : {}),
    };
    const explanation = explainFlow(world, connectionOf(owners, flow));
    const same = found.findIndex((each) => isSameVerdict(each.explanation, explanation));
    if (same >= 0) found[same] = { ...found[same]!, families: [...found[same]!.families, family] };
    else found.push({ source, destination, ...target, families: [family], explanation });
  }
  if (found.length === 0) notes.add(`${source.name} and ${destination.name} have no address family in common`);
  return found;
}

function isSameVerdict(one: FlowExplanation, other: FlowExplanation): boolean {
  const of = ({ directions }: FlowExplanation): string => JSON.stringify(directions.map(({ verdict }) => verdict));
  return of(one) === of(other);
}
