/** A packet of a test traced through a table of nftables by the product. Throws on what it does not know. */
import type { Table } from '../../src/dataplane/nftables/table/table.ts';
import { walkTable, type WalkedPacket } from '../../src/dataplane/nftables/trace/walk-table.ts';
import type { Packet, Trace } from './tracer.ts';

export function traceTable({ chains, sets }: Pick<Table, 'chains' | 'sets'>, packet: Packet): Trace {
  const walking = walkTable(chains, sets, walked(packet));
  let step = walking.next();
  while (!step.done) step = walking.next();
  const { verdict, path } = step.value;
  if (typeof verdict === 'object') throw new Error(verdict.unknown);
  return {
    verdict: verdict === 'dropped' ? 'dropped' : 'passed',
    logged: path.flatMap(({ rule: { target } }) => (target.kind === 'log' ? [target.prefix] : [])),
    matched: path.map(({ chain, rule }) => `${chain} ${JSON.stringify(rule)}`),
  };
}

function walked(packet: Packet): WalkedPacket {
  const { family, source, destination, protocol, port } = packet;
  const isInput = packet.hook === 'INPUT';
  return {
    ...{ family, source, destination, protocol, port },
    hook: isInput ? 'input' : 'forward',
    sourcePort: packet.sourcePort ?? 40_001,
    state: (packet.state ?? 'NEW').toLowerCase() as WalkedPacket['state'],
    isReply: packet.direction === 'REPLY',
    connection: packet.connection ?? { mark: 0 },
    inInterface: packet.inInterface ?? 'eth0',
    outInterface: isInput ? '' : (packet.outInterface ?? 'eth0'),
    inPort: packet.inPort,
    outPort: packet.outPort,
    sourceIsLocal: packet.sourceIsLocal ?? false,
    destinationIsLocal: packet.destinationIsLocal ?? false,
    hopLimit: packet.hopLimit ?? 64,
    hasExtension: packet.extension !== undefined,
  };
}
