/** What suite *resync* does with each data plane: syncs of an agent's memory with this host, damage by somebody else, and an end to it. */
import type { NodeIntent } from '../src/compile/intent.ts';
import type { Backend } from '../src/core/vocabulary.ts';
import type { SyncFailure } from '../src/dataplane/dataplane.ts';

import { toolName } from '../src/dataplane/iptables/kernel/linux-kernel.ts';
import { teardown } from '../src/dataplane/iptables/plan/teardown.ts';
import { createNftKernel } from '../src/dataplane/nftables/kernel/nft-kernel.ts';
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

/** Compares with the kernel each time. */
export type Resync = () => Promise<Synced>;

export interface ResyncNode {
  /** An agent that remembers nothing yet. */
  agent(): Resync;
  /** Takes out a rule and an entry. */
  tamper(): Promise<void>;
  clear(): Promise<void>;
}

/** The intent is made already: compiling is measured by suite *compile*. */
export function openNode(backend: MeasuredBackend, intent: NodeIntent): ResyncNode {
  return isIptables(backend) ? openIptables(backend, intent) : openNftables(intent);
}

const NO_SNAPSHOT = { pods: new Map(), namespaces: new Map(), policies: new Map(), nodes: new Map(), problems: [] };

function openIptables(backend: Backend, intent: NodeIntent): ResyncNode {
  const kernel = createOneVariantKernel({ backend, families: [4, 6], run: runCommand, lockWaitSeconds: 5 });
  return {
    agent: () => {
      const options = { nodeName: LOCAL_NODE, kernel, now: () => performance.now(), firstEpoch: 1 };
      const agent = new SnapshotSync({ ...options, compile: () => intent });
      return async () => {
        const { failures, stepsApplied, plan } = await agent.sync(NO_SNAPSHOT, 'enforce', LAYOUT, true);
        const { families, sets } = plan!.after;
        const chains = Object.values(families).flatMap((family) => [...family.chains.values()]);
        return {
          failures,
          stepsApplied,
          rules: sum(chains.map(({ length }) => length)),
          entries: sum([...sets.values()].map(({ members }) => members.size)),
        };
      };
    },
    tamper: async () => {
      const { families, sets } = await kernel.readBack();
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
      for (const step of teardown(await kernel.readBack()).steps) await kernel.apply(step);
    },
  };
}

function openNftables(intent: NodeIntent): ResyncNode {
  const session = new NftSession();
  const kernel = createNftKernel({ table: TABLE, run: runCommand, session });
  const { marks } = LAYOUT;
  const now = (): number => performance.now();
  return {
    agent: () => {
      const epochs = marks && new EpochKeeper({ marks, firstEpoch: 1, now });
      const agent = new NftSynchronizer({ kernel, table: TABLE, layout: LAYOUT, now, ...(epochs ? { epochs } : {}) });
      return async () => {
        const request = { mode: 'enforce', resync: true, interfaces: NO_INTERFACES } as const;
        const { failures, stepsApplied, size } = await agent.sync(intent, request);
        const { rules, setEntries } = size!();
        return { failures, stepsApplied, rules, entries: setEntries };
      };
    },
    tamper: async () => {
      const { chains, sets } = (await kernel.read())!;
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
      if (await kernel.read())
        await runCommand({ argv: ['nft', 'delete', 'table', 'inet', TABLE], timeoutMs: COMMAND_MS });
    },
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
