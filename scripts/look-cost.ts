/**
 * What one look at the kernel costs (src/dataplane/iptables/drift/looks.ts): CPU of the agent's process and of the tools, user and system, per look.
 * Root, Linux: `unshare -n node scripts/look-cost.ts`, for a small node and a large one.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import type { Backend } from '../src/core/vocabulary.ts';
import { createLooks } from '../src/dataplane/iptables/drift/looks.ts';

const NODES = [
  { name: 'small node', rules: 100, sets: 20, members: 20 },
  { name: 'large node', rules: 3_000, sets: 300, members: 100 },
] as const;
const BACKENDS: readonly Backend[] = ['iptables-nft', 'iptables-legacy'];
const LOOKS = 200;
const WARM_UP = 30;
/** As large as an agent in a large cluster. */
const BALLAST = Buffer.alloc(64 * 1024 * 1024, 1);
/** USER_HZ. */
const TICK_MS = 10;

const keepAlive = setInterval(() => BALLAST.length, 60_000);
for (const node of NODES) {
  fill(node);
  console.log(`${node.name}: ${node.rules} rules, ${node.sets} sets of ${node.members}`);
  const looks = createLooks();
  for (const backend of BACKENDS) {
    await measure(`${backend}: a hook`, () => looks.hook(backend, 4, 'FORWARD'));
    await measure(`${backend}: all rules`, () => looks.rules(backend, 4));
  }
  await measure('headers of sets', () => looks.setHeaders());
  looks.stop();
}
clearInterval(keepAlive);

async function measure(name: string, look: () => Promise<unknown>): Promise<void> {
  for (let i = 0; i < WARM_UP; i++) if ((await look()) === undefined) throw new Error(`${name}: no answer`);
  const [agent, tools] = [agentMs(), toolsMs()];
  for (let i = 0; i < LOOKS; i++) await look();
  const cost = [(agentMs() - agent) / LOOKS, (toolsMs() - tools) / LOOKS] as const;
  const total = cost[0] + cost[1];
  console.log(`  ${name.padEnd(28)} ${total.toFixed(2)} ms (agent ${cost[0].toFixed(2)}, tools ${cost[1].toFixed(2)})`);
}

function agentMs(): number {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  return (userCPUTime + systemCPUTime) / 1000;
}

/** Of the shell, with the tools that ended in it. */
function toolsMs(): number {
  let ticks = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const fields = statOf(pid);
    if (Number(fields[1]) !== process.pid) continue;
    for (const index of [11, 12, 13, 14]) ticks += Number(fields[index]);
  }
  return ticks * TICK_MS;
}

/** Fields of /proc/PID/stat behind the name, from the state on. */
function statOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  } catch {
    return [];
  }
}

function fill(node: (typeof NODES)[number]): void {
  const set = (index: number): string => `PCL4-${String(index % node.sets).padStart(16, 'a')}`;
  const chain = (index: number): string => `PCL-I-${String(Math.floor(index / 10)).padStart(16, 'a')}`;
  const each = (count: number): readonly number[] => [...Array(count).keys()];
  const sets = each(node.sets).flatMap((index) => [
    `create ${set(index)} hash:ip family inet hashsize 64 maxelem 65536`,
    ...each(node.members).map((member) => `add ${set(index)} 10.${index % 250}.${member >> 8}.${member & 255}`),
  ]);
  run(['ipset', 'restore', '-exist'], sets);
  const rules = each(node.rules).map(
    (index) => `-A ${chain(index)} -p 6 -m set --match-set ${set(index)} src -j RETURN`,
  );
  const chains = new Set(['PCL-FWD', ...each(node.rules).map(chain)]);
  const lines = [
    '*mangle',
    ...[...chains].map((name) => `:${name} - [0:0]`),
    ...rules,
    '-I FORWARD 1 -j PCL-FWD',
    'COMMIT',
  ];
  for (const backend of BACKENDS) run([`${backend}-restore`, '--noflush'], lines);
}

function run([program, ...args]: readonly [string, ...string[]], lines: readonly string[]): void {
  const { status, stderr } = spawnSync(program, args, { input: `${lines.join('\n')}\n`, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program}: ${stderr}`);
}
