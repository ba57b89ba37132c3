/**
 * Random clusters in real labs, changed at random under the real agent, every packet compared with the reference evaluator.
 *   npm run torture -- --seconds 60                      as long, over every data plane, backend and wiring; prints its seed
 *   npm run torture -- --seed S --round R [--dataplane iptables] [--backend iptables-nft] [--wiring routed]     one round again
 * Exit code 0: no difference, or --help. 1: a difference, told on stdout with all it takes to understand it. 2: wrong arguments, or not root.
 */
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { labKinds, runTorture, type TortureOptions } from '../test/fuzz/torture/torture.ts';

const USAGE =
  'usage: npm run torture -- [--seconds N] [--seed S] [--round R] [--storms N] [--dataplane iptables|nftables] [--backend iptables-nft|iptables-legacy] [--wiring routed|bridge] [--tiers yes|no]\n' +
  '60 seconds, 4 storms a round, a new seed, and every data plane, backend and wiring in turn, and cluster-wide policies in some rounds if absent. Needs root on Linux.';

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

const options = readOptions(process.argv.slice(2));
if (options === 'help') {
  console.log(USAGE);
  process.exit(0);
}
if ('wrong' in options) {
  console.error(`${options.wrong}\n${USAGE}`);
  process.exit(2);
}
if (process.getuid?.() !== 0) {
  console.error('needs root: a lab is made of network namespaces');
  process.exit(2);
}
const found = await runTorture(options);
if (found === undefined) console.log('no difference');
process.exit(found === undefined ? 0 : 1);

function readOptions(args: readonly string[]): TortureOptions | 'help' | { readonly wrong: string } {
  const text = { type: 'string' } as const;
  let values: Partial<
    Record<'seconds' | 'seed' | 'round' | 'storms' | 'dataplane' | 'backend' | 'wiring' | 'tiers', string>
  >;
  try {
    const kind = { dataplane: text, backend: text, wiring: text };
    const names = { seconds: text, seed: text, round: text, storms: text, tiers: text, ...kind };
    const parsed = parseArgs({ args: [...args], options: { ...names, help: { type: 'boolean' } } }).values;
    if (parsed.help) return 'help';
    values = parsed;
  } catch (error) {
    return { wrong: (error as Error).message };
  }
  const numbers = { seconds: Number(values.seconds ?? 60), storms: Number(values.storms ?? 4) };
  const round = values.round === undefined ? undefined : Number(values.round);
  for (const [name, number] of Object.entries({ ...numbers, round: round ?? 1 })) {
    if (!Number.isInteger(number) || number < 1) return { wrong: `--${name}: not a positive whole number` };
  }
  const labs = labKinds(values);
  if (labs.length === 0) return { wrong: '--dataplane, --backend or --wiring: there is no such' };
  const { tiers } = values;
  if (tiers !== undefined && tiers !== 'yes' && tiers !== 'no') return { wrong: '--tiers: yes or no' };
  const seed = values.seed ?? randomBytes(4).toString('hex');
  return {
    ...numbers,
    seed,
    labs,
    ...(round === undefined ? {} : { round }),
    ...(tiers === undefined ? {} : { tiers: tiers === 'yes' }),
    print: (line) => console.log(line),
  };
}
