/** Tables of nftables in memory. */
import { versionedMap } from '../../src/core/versioned-map.ts';
import type { MarkBits } from '../../src/dataplane/mark-bits.ts';
import { epochTable } from '../../src/dataplane/nftables/plan/epochs.ts';
import type { Table } from '../../src/dataplane/nftables/table/table.ts';

/** The rendered table with an epoch in force. */
export function inForce(table: Table, epoch: number, marks: MarkBits): Table {
  const epochs = epochTable({ 4: epoch, 6: epoch }, new Set(), { marks });
  return {
    chains: versionedMap([...table.chains, ...epochs.chains]),
    sets: versionedMap([...table.sets, ...epochs.sets]),
  };
}
