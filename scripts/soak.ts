/**
 * Random changes and random faults at once, for as long as one likes, under probes.
 *   npm run soak -- --minutes 30 [--seed S] [--rate 100] [--dataplane nftables] [--backend iptables-legacy] [--wiring bridge] [--without FAULT]...
 *   npm run soak -- --list              the faults, and how long packets may be wrong after each
 * Exit code 0: nothing found, or --help. 1: something wrong, told with the directory of its evidence. 2: wrong arguments, or not root.
 */
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runSoak, type SoakOptions } from '../test/fuzz/torture/soak.ts';
import { ENGINES, faultsOf, SOAK_FAULTS } from '../test/fuzz/torture/soak-faults.ts';
import { kindText, LAB_KINDS, labKinds } from '../test/fuzz/torture/torture.ts';

const USAGE = `usage: npm run soak -- [--minutes N] [--seed S] [--rate N] [--dataplane iptables|nftables] [--backend iptables-nft|iptables-legacy] [--wiring routed|bridge] [--without FAULT]...
       npm run soak -- --list     the faults, and how long packets may be wrong after each
30 minutes, 100 events/s, a new seed, ${kindText(LAB_KINDS[0]!)} if absent. Needs root on Linux.`;

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

const options = readOptions(process.argv.slice(2));
if (typeof options === 'object' && 'wrong' in options) {
  console.error(`${options.wrong}\n${USAGE}`);
  process.exit(2);
}
if (options === 'help') {
  console.log(USAGE);
  process.exit(0);
}
if (options === 'list') {
  for (const { name } of SOAK_FAULTS) {
    const windows = ENGINES.flatMap((engine) => {
      const fault = faultsOf(engine).find((each) => each.name === name);
      return fault ? [`${engine}: open ${fault.opensMs(engine)} ms, closed ${fault.closesMs(engine)} ms`] : [];
    });
    console.log(`${name.padEnd(56)}${windows.join('; ')}`);
  }
  process.exit(0);
}
if (process.getuid?.() !== 0) {
  console.error('needs root: a lab is made of network namespaces');
  process.exit(2);
}
console.log(
  `soak of ${options.seconds / 60} minutes, seed ${options.seed}, ${kindText(options)}, ${options.rate} events/s`,
);
const { stats, found } = await runSoak(options);
for (const [name, count] of stats.faults) console.log(`  ${String(count).padStart(4)} x ${name}`);
for (const story of found) console.log(story);
const { events, probes, cells, wrong, starved, unresolved, excused } = stats;
console.log(
  `${events} events; ${probes + cells} probes, ${wrong} wrong, ${excused} within windows, ${starved} starved (${unresolved} never answered); ${found.length} found`,
);
process.exit(found.length > 0 ? 1 : 0);

function readOptions(args: readonly string[]): SoakOptions | 'help' | 'list' | { readonly wrong: string } {
  let values: ReturnType<typeof parse>;
  try {
    values = parse(args);
  } catch (error) {
    return { wrong: (error as Error).message };
  }
  if (values.help) return 'help';
  if (values.list) return 'list';
  const [minutes, rate] = [Number(values.minutes ?? 30), Number(values.rate ?? 100)];
  if (!(minutes > 0)) return { wrong: '--minutes: not a positive number' };
  if (!(rate > 0)) return { wrong: '--rate: not a positive number' };
  const [kind] = labKinds(values);
  if (!kind) return { wrong: '--dataplane, --backend or --wiring: there is no such' };
  const without = values.without ?? [];
  const unknown = without.find((name) => !SOAK_FAULTS.some((fault) => fault.name === name));
  if (unknown !== undefined) return { wrong: `--without: no fault is called ${JSON.stringify(unknown)}; see --list` };
  const seed = values.seed ?? randomBytes(4).toString('hex');
  return {
    seconds: minutes * 60,
    seed,
    rate,
    without,
    ...kind,
    evidenceDir: join(tmpdir(), `portcullis-soak-${process.pid}`),
    print: (line) => console.log(line),
  };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const names = { minutes: text, seed: text, rate: text, dataplane: text, backend: text, wiring: text };
  const lists = {
    without: { type: 'string', multiple: true },
    list: { type: 'boolean' },
    help: { type: 'boolean' },
  } as const;
  return parseArgs({ args: [...args], options: { ...names, ...lists } }).values;
}
