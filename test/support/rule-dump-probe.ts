/**
 * A program for tests: tells counters of chains as netlink dumps have them, in the network namespace it is started in. Arguments: family,
 * table, how often, names of chains. Prints JSON.
 */
import { runSync } from '../../src/core/sliced.ts';
import { type DumpFamily, RuleDumps } from '../../src/dataplane/rule-dump.ts';
import { openDumpSocket } from '../../src/host/netlink-dump.ts';

const [family = '', table = '', rounds = '', ...chains] = process.argv.slice(2);
const dumps = new RuleDumps(openDumpSocket);
const found = [];
for (let round = 0; round < Number(rounds); round++) {
  const rules = runSync(dumps.read({ family: family as DumpFamily, table, chains }));
  found.push(rules ? [...rules] : null);
}
dumps.stop();
console.log(JSON.stringify(found));
