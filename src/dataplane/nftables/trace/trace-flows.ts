/**
 * The door of this folder: first packets of flows, traced through our table as the kernel holds it now. Rules are read once for all of them,
 * sets as they are met, so a node with large sets reads what decides and no more.
 */
import type { TracedDecision, TracedFlow, TracedVerdict, TracePlace } from '../../dataplane.ts';
import type { FirstPacket } from '../../first-packet.ts';
import type { Chain, NftSet, Table } from '../table/table.ts';
import type { Walk, WalkedPacket, WalkedRule } from './walk-table.ts';

import { PROTOCOL_NUMBER } from '../../../core/vocabulary.ts';
import { SOURCE_PORT } from '../../first-packet.ts';
import { NOTHING, traceEach } from '../../trace-each.ts';
import { legendOf } from '../table/legend.ts';
import { walkTable } from './walk-table.ts';

/** Each reads the kernel; rejects where that cannot be done. */
export interface TraceReads {
  /** Undefined: there is no table. Elements of its sets need not be there. */
  table(): Promise<Table | undefined>;
  /** The same sets with their elements, by name. */
  elements(sets: readonly NftSet[]): Promise<ReadonlyMap<string, NftSet>>;
}

/** Chains as they were written, by name: they know for whom a rule stands. */
export type Written = (chain: string) => Chain | undefined;

/** `written`: undefined where nothing was written; comments tell then. Never rejects. */
export function traceFlows(
  reads: TraceReads,
  written: Written,
  flows: readonly TracedFlow[],
  place: TracePlace,
): Promise<readonly TracedVerdict[]> {
  return traceEach(flows, place, () => {
    const kept = new Kept(reads);
    return (packet) => traceOne(kept, written, packet);
  });
}

const NO_TABLE = 'our table is not there';

async function traceOne(kept: Kept, written: Written, packet: FirstPacket): Promise<TracedVerdict> {
  const table = await kept.table();
  if (!table) return { kind: 'passes', why: NO_TABLE, ...NOTHING };
  const { verdict, path } = await kept.walk(table, walkedPacket(packet));
  const told = {
    path: path.map(({ chain, line }) => `${chain} ${line}`),
    others: [],
    decided: path.flatMap((step) => decisions(step, written)),
  };
  return typeof verdict === 'string' ? { kind: verdict, ...told } : { kind: 'unknown', why: verdict.unknown, ...told };
}

function walkedPacket({ family, hook, protocol, port, source, destination }: FirstPacket): WalkedPacket {
  return {
    family,
    hook: hook === 'INPUT' ? 'input' : 'forward',
    source: source.text,
    destination: destination.text,
    protocol: PROTOCOL_NUMBER[protocol],
    port,
    sourcePort: SOURCE_PORT,
    state: 'new',
    isReply: false,
    connection: { mark: 0 },
    inInterface: source.device,
    outInterface: hook === 'INPUT' ? undefined : destination.device,
    inPort: source.bridgePort,
    outPort: destination.bridgePort,
    sourceIsLocal: source.isLocal,
    destinationIsLocal: destination.isLocal,
    hopLimit: HOP_LIMIT,
    hasExtension: false,
  };
}

/** Of a packet that was sent with 64. */
const HOP_LIMIT = 63;

/** What was read for one question. */
class Kept {
  readonly #reads: TraceReads;
  readonly #sets = new Map<string, NftSet>();
  #table: Promise<Table | undefined> | undefined;

  constructor(reads: TraceReads) {
    this.#reads = reads;
  }

  table(): Promise<Table | undefined> {
    this.#table ??= this.#reads.table();
    return this.#table;
  }

  async walk({ chains, sets }: Table, packet: WalkedPacket): Promise<Walk> {
    const walking = walkTable(chains, this.#sets, packet);
    for (let next = walking.next(); ; next = walking.next()) {
      if (next.done) return next.value;
      const wanted = next.value.flatMap((name) => sets.get(name) ?? []);
      if (wanted.length === 0) continue;
      for (const [name, set] of await this.#reads.elements(wanted)) this.#sets.set(name, set);
    }
  }
}

/** What the rule counts, and for whom: that is what it decides. */
function decisions({ chain, line, rule }: WalkedRule, written: Written): readonly TracedDecision[] {
  const known = written(chain);
  const index = known?.lines.indexOf(line) ?? -1;
  const ours = index < 0 ? undefined : known?.rules?.[index];
  if (!ours) return legendOf(chain, line, rule);
  const { counts, by = [] } = ours;
  if (!counts) return [];
  return [counts, ...(counts.also ? [{ ...counts, ...counts.also }] : [])].map(({ action, direction, of }) => ({
    action,
    direction,
    policies: of.kind === 'policies' ? of.policies : [],
    rules: action === 'allow' || action === 'would-allow' ? by : [],
  }));
}
