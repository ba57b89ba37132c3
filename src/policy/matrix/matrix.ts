/**
 * Who may reach whom, in one cluster or in several states of it, for all flows at once:
 *
 *   ends in classes (ends.ts) x classes of ports (ports.ts) -> per direction, programs and their rows (programs.ts)
 *
 * The evaluator judges one flow of each row. Pairs of classes are put together from both directions when they are asked for.
 */
import type { Direction } from '../../core/vocabulary.ts';
import type { ClusterSnapshot, DirectionVerdict, Flow, Policy } from '../model.ts';
import type { DirectionTable } from './programs.ts';

import { letsPass } from '../evaluate.ts';
import { type EndClass, endClassesOf } from './ends.ts';
import { type AskedPort, type PortClass, PortClasses } from './ports.ts';
import { ProgramWriter, Verdicts } from './programs.ts';

/** Indexes into the matrix's verdicts. */
interface VerdictPair {
  readonly egress: number;
  readonly ingress: number;
}

/** By class of ports: indexes into the matrix's verdicts. */
export interface VerdictRows {
  readonly egress: readonly number[];
  readonly ingress: readonly number[];
}

export interface FlowVerdict {
  readonly egress: DirectionVerdict;
  readonly ingress: DirectionVerdict;
}

export interface MatrixOptions {
  readonly asked?: readonly AskedPort[];
  /** As if no policy were only audited. */
  readonly enforcesAudited?: boolean;
}

export class FlowMatrix {
  readonly classes: readonly EndClass[];
  readonly ports: readonly PortClass[];
  readonly verdicts: readonly DirectionVerdict[];
  /** By verdict: whether a packet passes. */
  readonly passes: readonly boolean[];
  /** By world. */
  readonly tables: readonly { readonly egress: DirectionTable; readonly ingress: DirectionTable }[];
  readonly #portClasses: PortClasses;
  /** The class of an address in one world; `isNode`: a flow comes from the node that has it. Undefined: there is no such end. */
  readonly endOf: (world: number, address: string, isNode: boolean) => number | undefined;

  /** `snapshots`: states of one cluster, which share classes of ends and of ports. */
  constructor(snapshots: readonly ClusterSnapshot[], { asked = [], enforcesAudited = false }: MatrixOptions = {}) {
    const worlds = snapshots.map((world) => ({ ...world, policies: parsedOnce(world.policies) }));
    const { classes, indexOf } = endClassesOf(worlds);
    this.classes = classes;
    this.endOf = indexOf;
    this.#portClasses = new PortClasses(worlds, asked);
    this.ports = this.#portClasses.classes;
    const verdicts = new Verdicts();
    this.tables = worlds.map((world, index) => {
      const writer = new ProgramWriter(world, index, classes, this.ports, verdicts, enforcesAudited);
      return { egress: writer.tableOf('egress'), ingress: writer.tableOf('ingress') };
    });
    this.verdicts = verdicts.list;
    this.passes = verdicts.list.map(letsPass);
  }

  /** Undefined: one of both ends is not there. Rows that say the same are one object. Of a pod and itself nothing is said: it always reaches itself. */
  rowsBetween(world: number, source: number, destination: number): VerdictRows | undefined {
    const { egress, ingress } = this.tables[world]!;
    const out = rowOf(egress, source, destination);
    const into = rowOf(ingress, destination, source);
    return out && into && { egress: out, ingress: into };
  }

  /** Whether another program judges a class in another world, or it is not in both. */
  differs(direction: Direction, index: number): boolean {
    const [first, ...others] = this.tables.map((table) => {
      const { programOf, programs } = table[direction];
      return programs[programOf[index]!];
    });
    return others.some((other) => other !== first);
  }

  /** Undefined: the ends of the flow are not there. A flow from a node to a pod of its own is not looked at. */
  judge(world: number, flow: Flow): FlowVerdict | undefined {
    const self = { kind: 'exempt', reason: 'self' } as const;
    if (flow.source === flow.destination) return { egress: self, ingress: self };
    const pair = this.#pairOf(world, flow);
    return pair && { egress: this.verdicts[pair.egress]!, ingress: this.verdicts[pair.ingress]! };
  }

  /** An index into `ports`. */
  portOf(protocolNumber: number, port: number): number {
    return this.#portClasses.indexOf(protocolNumber, port);
  }

  #pairOf(world: number, { source, destination, protocol, port, fromNode }: Flow): VerdictPair | undefined {
    const [from, to] = [this.endOf(world, source, fromNode !== undefined), this.endOf(world, destination, false)];
    const rows = from === undefined || to === undefined ? undefined : this.rowsBetween(world, from, to);
    const at = this.portOf(protocol, port);
    return rows && { egress: rows.egress[at]!, ingress: rows.ingress[at]! };
  }
}

function rowOf({ programOf, programs }: DirectionTable, judged: number, other: number): readonly number[] | undefined {
  if (programOf[other]! < 0) return undefined;
  const program = programs[programOf[judged]!];
  return program?.rows[program.rowOf.get(other) ?? 0];
}

/** Rules that are kept as text are parsed whenever they are asked for. */
function parsedOnce(policies: ReadonlyMap<string, Policy>): ReadonlyMap<string, Policy> {
  return new Map(
    [...policies].map(([key, policy]) => {
      const { namespace, name, uid, podSelector, isolates, mode, ingress, egress } = policy;
      const known = { namespace, name, uid, podSelector, isolates, ingress, egress };
      return [key, mode === undefined ? known : { ...known, mode }];
    }),
  );
}
