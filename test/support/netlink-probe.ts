/** A program for tests: tries what the agent tries of nftables, elements by netlink, in the network namespace it is started in. Prints JSON. */
import { NetlinkWriter } from '../../src/dataplane/nftables/kernel/netlink-writer.ts';
import { createNftKernel } from '../../src/dataplane/nftables/kernel/nft-kernel.ts';
import { NftSession } from '../../src/dataplane/nftables/kernel/nft-session.ts';
import { probe } from '../../src/dataplane/nftables/sync/probe.ts';
import { TableWriter } from '../../src/dataplane/nftables/table/write-table.ts';
import { runCommand } from '../../src/host/command.ts';
import { messageOf } from '../../src/core/error-text.ts';
import { versionedMap } from '../../src/core/versioned-map.ts';
import { LAYOUT } from './fake-cluster.ts';

const TABLE = 'tried';

const session = new NftSession();
const elements = new NetlinkWriter();
const written: boolean[] = [];
const kernel = createNftKernel({
  table: TABLE,
  run: runCommand,
  session,
  netlink: {
    settled: () => {},
    write: async (table, commands) => {
      const isWritten = await elements.write(table, commands);
      written.push(isWritten);
      return isWritten;
    },
  },
});
try {
  // As one that was killed may leave it.
  await runCommand({
    argv: ['nft', `add table inet ${TABLE}; add chain inet ${TABLE} sample; add rule inet ${TABLE} sample drop`],
    timeoutMs: 10_000,
  });
  const problem = await probe(kernel, TABLE, { ...LAYOUT, mode: 'enforce' });
  const byNetlink = written.filter((each) => each).length;
  const writer = new TableWriter(TABLE);
  const set = { name: 'pods', type: 'ipv4_addr', elements: versionedMap<string, true>() };
  await kernel.write([writer.addTable('inet'), writer.addSet(set)]);
  const there = writer.addElements(set, [['10.0.0.1', true]]);
  // Of one transaction nothing is done where something of it cannot be done.
  const refused = await kernel.write([...there, ...writer.deleteElements(set, ['10.0.0.2'])]).catch(messageOf);
  const left = (await kernel.read())!.sets.get('pods')!.elements.size;
  await kernel.write(there);
  const after = (await kernel.read())!.sets.get('pods')!.elements.size;
  console.log(JSON.stringify({ problem: problem ?? null, byNetlink, refused: refused ?? null, left, after }));
} finally {
  session.stop();
  elements.stop();
}
