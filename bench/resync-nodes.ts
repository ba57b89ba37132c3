/** What suite *resync* does with each data plane: syncs of an agent's memory with this host, damage by somebody else, and an end to it. */
import type { NodeIntent } from '../src/compile/intent.ts';
import type { Backend } from '../src/core/vocabulary.ts';
import type { SyncFailure } from '../src/dataplane/dataplane.ts';

import { createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toolName, WRITE_SETS } from '../src/dataplane/iptables/kernel/linux-kernel.ts';
import type { Kernel } from '../src/dataplane/iptables/kernel/kernel.ts';
import { teardown } from '../src/dataplane/iptables/plan/teardown.ts';
import { NetlinkWriter } from '../src/dataplane/nftables/kernel/netlink-writer.ts';
import { createNftKernel } from '../src/dataplane/nftables/kernel/nft-kernel.ts';
import type { NftKernel } from '../src/dataplane/nftables/kernel/kernel.ts';
import { NftSession } from '../src/dataplane/nftables/kernel/nft-session.ts';
import { EpochKeeper } from '../src/dataplane/nftables/sync/epoch-keeper.ts';
import { NftSynchronizer } from '../src/dataplane/nftables/sync/synchronizer.ts';
import { runCommand } from '../src/host/command.ts';
import { NO_INTERFACES } from '../src/host/pod-interfaces.ts';
import { createOneVariantKernel } from '../test/support/one-variant-kernel.ts';
import { SnapshotSync } from '../test/support/snapshot-sync.ts';
import { isIptables, type MeasuredBackend } from './backends.ts';
import { LOCAL_NODE } from './cluster-model.ts';
import { LAYOUT } from './node-pass.ts';

const COMMAND_MS = 60_000;
const TABLE = 'portcullis';

export interface Synced {
  readonly failures: readonly SyncFailure[];
  readonly stepsApplied: number;
  /** Of both families. */
  readonly rules: number;
  readonly entries: number;
}

/** Compares with the kernel each time, and goes on until nothing is left for another sync. */
export type Resync = () => Promise<Synced>;

export interface ResyncNode {
  /** An agent that remembers nothing yet. */
  agent(): Resync;
  /** The commands that do what an agent does, and nothing else; they write what an agent would write into an empty kernel. */
  tools(folder: string): Promise<BareTools>;
  /** Takes out a rule and an entry. */
  tamper(): Promise<void>;
  clear(): Promise<void>;
}

export interface BareTools {
  write(): Promise<void>;
  /** Prints all that an agent reads. */
  read(): Promise<void>;
}

/** The intent is made already: compiling is measured by suite *compile*. */
export function openNode(backend: MeasuredBackend, intent: NodeIntent): ResyncNode {
  return isIptables(backend) ? openIptables(backend, intent) : openNftables(intent);
}

const NO_SNAPSHOT = { pods: new Map(), namespaces: new Map(), policies: new Map(), nodes: new Map(), problems: [] };

function openIptables(backend: Backend, intent: NodeIntent): ResyncNode {
  const host = createOneVariantKernel({ backend, families: [4, 6], run: runCommand, lockWaitSeconds: 5 });
  const agentOf = (kernel: Kernel): Resync => {
    const options = { nodeName: LOCAL_NODE, kernel, now: () => performance.now(), firstEpoch: 1 };
    const agent = new SnapshotSync({ ...options, compile: () => intent });
    return async () => {
      let steps = 0;
      for (let isFirst = true; ; isFirst = false) {
        const { failures, stepsApplied, plan } = await agent.sync(NO_SNAPSHOT, 'enforce', LAYOUT, isFirst);
        steps += stepsApplied;
        // Sets that are too large for one sync are filled by the next ones.
        if (failures.length === 0 && plan!.waiting.length > 0) continue;
        const { families, sets } = plan!.after;
        const chains = Object.values(families).flatMap((family) => [...family.chains.values()]);
        return {
          failures,
          stepsApplied: steps,
          rules: sum(chains.map(({ length }) => length)),
          entries: sum([...sets.values()].map(({ members }) => members.size)),
        };
      }
    };
  };
  return {
    agent: () => agentOf(host),
    tools: async (folder) => {
      const written: { readonly argv: Argv; readonly file: string }[] = [];
      const recording: Kernel = {
        ...host,
        apply: (step) => {
          const file = join(folder, `step-${written.length}`);
          writeFileSync(file, step.lines.map(({ text }) => `${text}\n`).join(''));
          const restore = 'family' in step ? [toolName(backend, step.family, 'restore'), '--noflush'] : WRITE_SETS;
          written.push({ argv: [...restore] as unknown as Argv, file });
          return host.apply(step);
        },
      };
      await agentOf(recording)();
      return {
        write: async () => {
          for (const { argv, file } of written) await bare(argv, file);
        },
        read: async () => {
          for (const family of [4, 6] as const) await bare([toolName(backend, family, 'save'), '-t', 'mangle']);
          await bare(['ipset', 'save']);
        },
      };
    },
    tamper: async () => {
      const { families, sets } = await host.readBack();
      const [chain] = [...families[4]!.chains].find(([name, lines]) => name.startsWith('PCL-I-') && lines.length > 1)!;
      const set = [...sets.values()].find(({ type, members }) => type === 'hash:ip' && members.size > 1)!;
      const rule = ['*mangle', `-D ${chain} 1`, 'COMMIT', ''].join('\n');
      await runCommand({
        argv: [toolName(backend, 4, 'restore'), '--noflush'],
        stdin: rule,
        timeoutMs: COMMAND_MS,
      });
      await runCommand({ argv: ['ipset', 'del', set.name, [...set.members.keys()][0]!], timeoutMs: COMMAND_MS });
    },
    clear: async () => {
      for (const step of teardown(await host.readBack()).steps) await host.apply(step);
    },
  };
}

function openNftables(intent: NodeIntent): ResyncNode {
  const session = new NftSession();
  const netlink = new NetlinkWriter();
  const host = createNftKernel({ table: TABLE, run: runCommand, session, netlink });
  const { marks } = LAYOUT;
  const now = (): number => performance.now();
  const agentOf = (kernel: NftKernel): Resync => {
    const epochs = marks && new EpochKeeper({ marks, firstEpoch: 1, now });
    const agent = new NftSynchronizer({ kernel, table: TABLE, layout: LAYOUT, now, ...(epochs ? { epochs } : {}) });
    return async () => {
      const request = { mode: 'enforce', resync: true, interfaces: NO_INTERFACES } as const;
      const { failures, stepsApplied, size } = await agent.sync(intent, request);
      const { rules, setEntries } = size!();
      return { failures, stepsApplied, rules, entries: setEntries };
    };
  };
  return {
    agent: () => agentOf(host),
    tools: async (folder) => {
      const file = join(folder, 'transactions');
      const stream = createWriteStream(file);
      const recording: NftKernel = {
        read: (known) => host.read(known),
        write: async (commands) => {
          stream.write(commands.map(({ text }) => `${text}\n`).join(''));
          await host.write(commands);
        },
      };
      await agentOf(recording)();
      await new Promise((resolve) => void stream.end(resolve));
      return {
        write: () => bare(['nft', '-f', file]),
        read: () => bare(['nft', '-p', '-s', 'list', 'table', 'inet', TABLE]),
      };
    },
    tamper: async () => {
      const { chains, sets } = (await host.read())!;
      const chain = [...chains.values()].find(({ name, lines }) => name.startsWith('PCL-I-') && lines.length > 1)!;
      const set = [...sets.values()].find(({ name, elements }) => name.startsWith('pods') && elements.size > 1)!;
      const listed = ['nft', '-a', 'list', 'chain', 'inet', TABLE, chain.name] as const;
      const { stdout } = await runCommand({ argv: [...listed], timeoutMs: COMMAND_MS });
      const handle = /# handle (\d+)$/m.exec(stdout.slice(stdout.indexOf(`chain ${chain.name}`)).split('\n')[1]!)![1]!;
      const [element] = set.elements.keys();
      const lines = [
        `delete rule inet ${TABLE} ${chain.name} handle ${handle}`,
        `delete element inet ${TABLE} ${set.name} { ${element} }`,
      ];
      await runCommand({ argv: ['nft', '-f', '-'], stdin: `${lines.join('\n')}\n`, timeoutMs: COMMAND_MS });
    },
    clear: async () => {
      session.stop();
      netlink.stop();
      if (await host.read())
        await runCommand({ argv: ['nft', 'delete', 'table', 'inet', TABLE], timeoutMs: COMMAND_MS });
    },
  };
}

/** Somebody else's commit to the table, which leaves it as it is. */
export async function touchTable(): Promise<void> {
  const chain = `inet ${TABLE} theirs`;
  await runCommand({ argv: ['nft', `add chain ${chain}; delete chain ${chain}`], timeoutMs: COMMAND_MS });
}

type Argv = readonly [string, ...string[]];

/** Nobody reads what it prints. */
async function bare(argv: Argv, input = '/dev/null'): Promise<void> {
  const shell = ['sh', '-c', 'exec "$@" <"$0" >/dev/null', input, ...argv] as const;
  await runCommand({ argv: [...shell], timeoutMs: COMMAND_MS });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
