/** The faults of a soak: each breaks something on one node, heals it again, and says how long packets may be wrong because of it. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../../../lab/lab.ts';
import type { Dice } from './dice.ts';
import { onNode } from './evidence.ts';
import { BACKENDS, FAMILIES } from '../../../src/core/vocabulary.ts';
import { dispatchMap, NFT_TABLE } from '../../../src/dataplane/nftables/table/names.ts';

/** What enforces policies. */
export const ENGINES = [...BACKENDS, 'nftables'] as const;
type Engine = (typeof ENGINES)[number];

export interface SoakFault {
  readonly name: string;
  /** How long after the fault packets may still pass, or be dropped, that must not; 0: never. */
  readonly opensMs: (engine: Engine) => number;
  readonly closesMs: (engine: Engine) => number;
  /** Absent: it can be made whatever enforces policies. */
  readonly only?: Engine;
  /** Breaks and heals. */
  readonly act: (lab: Lab, node: string, dice: Dice) => Promise<void>;
}

const NEVER = (): number => 0;
/** nft tells of a change at once; legacy tables and sets have to be looked at. Rules of nftables are not concerned. */
const NOTICED = (engine: Engine): number => WINDOWS_MS[engine];
const WINDOWS_MS = { 'iptables-nft': 1_500, 'iptables-legacy': 6_000, nftables: 0 } as const;
const LOOKED_AT = (engine: Engine): number => (engine === 'nftables' ? 0 : 6_000);
/** Told at once, and compared once a second at most. */
const COMPARED = (): number => 2_500;

const away = async (lab: Lab, node: string, ms: number): Promise<void> => {
  await lab.publication.pause(node);
  await sleep(ms);
  await lab.publication.resume(node);
};

const iptables = (lab: Lab, node: string, ...args: string[]): Promise<string> =>
  onNode(lab, node, [lab.options.backend, '-w', '5', ...args]);

/** Fails for what nft refuses. */
async function ourTable(lab: Lab, node: string, ...words: readonly string[]): Promise<void> {
  const said = await onNode(lab, node, ['nft', ...words]);
  if (said !== '' && !said.includes('No such file or directory')) throw new Error(`nft ${words.join(' ')}: ${said}`);
}

const holding = (name: string, act: SoakFault['act']): SoakFault => ({ name, act, opensMs: NEVER, closesMs: NEVER });

export const SOAK_FAULTS: readonly SoakFault[] = [
  holding('the agent is killed', async ({ agents }, node) => {
    await agents.kill(node);
    agents.start(node);
  }),
  holding('the agent is told to end', async ({ agents }, node, dice) => {
    await agents.stop(node);
    await sleep(dice.below(500));
    agents.start(node);
  }),
  holding('the agent stands still', async ({ agents }, node) => {
    const pid = agents.pid(node);
    if (pid === undefined) return;
    process.kill(pid, 'SIGSTOP');
    await sleep(1_500);
    process.kill(pid, 'SIGCONT');
  }),
  holding('the API server is away', async (lab, node) => await away(lab, node, 2_000)),
  holding('watches end in the middle of a line', async ({ server }) => server.faults.endWatches('reset-mid-line')),
  holding('watches end', async ({ server }) => server.faults.endWatches('end')),
  holding('watches are told 410 Gone', async ({ server }) => server.faults.failWatches(410)),
  holding('all connections are cut', async ({ server }) => server.faults.dropConnections()),
  ...[401, 403, 429, 500].map((code) =>
    holding(`the next requests are answered with ${code}`, async ({ server }) => {
      server.faults.add({ times: 4, action: { kind: 'status', code } });
      server.faults.endWatches('reset');
    }),
  ),
  holding('the API server is slow', async ({ server }) => {
    const stop = server.faults.add({ action: { kind: 'delay', ms: 400 } });
    server.faults.endWatches('reset');
    await sleep(1_500);
    stop();
  }),
  holding('the API server takes requests and says nothing', async ({ server }) => {
    const stop = server.faults.add({ times: 2, action: { kind: 'hang' } });
    server.faults.endWatches('reset');
    await sleep(1_000);
    stop();
    server.faults.dropConnections();
  }),
  holding('watches are stalled', async ({ server }) => {
    server.faults.stalled = true;
    await sleep(1_000);
    server.faults.stalled = false;
  }),
  holding('the history is compacted', async ({ server }) => {
    server.store.storage.compact();
    server.faults.endWatches('reset');
  }),
  holding('the xtables lock is held', async (lab, node) => await holdLock(lab, node, 1_500)),
  holding('a neighbour writes rules of its own', async (lab, node) => {
    const rule = ['-p', 'tcp', '--dport', '9', '-j', 'RETURN'];
    await iptables(lab, node, '-t', 'mangle', '-A', 'FORWARD', ...rule);
    await iptables(lab, node, '-t', 'mangle', '-D', 'FORWARD', ...rule);
  }),
  {
    name: 'a neighbour flushes mangle FORWARD',
    opensMs: NOTICED,
    closesMs: NEVER,
    act: async (lab, node) => void (await iptables(lab, node, '-t', 'mangle', '-F', 'FORWARD')),
  },
  {
    name: 'a neighbour accepts everything before our rules',
    opensMs: NOTICED,
    closesMs: NEVER,
    act: async (lab, node) => void (await iptables(lab, node, '-t', 'mangle', '-I', 'FORWARD', '-j', 'ACCEPT')),
  },
  {
    name: 'a neighbour flushes all sets',
    opensMs: LOOKED_AT,
    closesMs: LOOKED_AT,
    act: async (lab, node) => void (await onNode(lab, node, ['ipset', 'flush'])),
  },
  {
    name: 'a neighbour deletes our table',
    only: 'nftables',
    opensMs: COMPARED,
    closesMs: NEVER,
    act: async (lab, node) => await ourTable(lab, node, 'delete', 'table', 'inet', NFT_TABLE),
  },
  {
    name: 'a neighbour empties the chain that leads to our rules',
    only: 'nftables',
    opensMs: COMPARED,
    closesMs: NEVER,
    act: async (lab, node) => await ourTable(lab, node, 'flush', 'chain', 'inet', NFT_TABLE, 'forward'),
  },
  {
    name: 'a neighbour empties the map that finds our pods',
    only: 'nftables',
    opensMs: COMPARED,
    closesMs: NEVER,
    act: async (lab, node, dice) => {
      const family = dice.pick(FAMILIES);
      await ourTable(lab, node, 'flush', 'map', 'inet', NFT_TABLE, dispatchMap('ingress', false, family));
    },
  },
];

export function faultsOf(engine: Engine): readonly SoakFault[] {
  return SOAK_FAULTS.filter(({ only = engine }) => only === engine);
}

/** Faults that an agent can only notice by looking: not in the short soak of the tests. */
export const NEIGHBOURS = SOAK_FAULTS.filter(({ opensMs, closesMs }) =>
  ENGINES.some((engine) => opensMs(engine) > 0 || closesMs(engine) > 0),
).map(({ name }) => name);

/** As another program that writes iptables rules, and takes its time. */
function holdLock(lab: Lab, node: string, ms: number): Promise<void> {
  const file = lab.network.nodes().find(({ name }) => name === node)!.xtablesLockFile;
  return new Promise((resolve) => {
    const child = spawn('flock', [file, 'sleep', String(ms / 1_000)], { stdio: 'ignore' });
    child.on('error', () => resolve());
    child.on('close', () => resolve());
  });
}
