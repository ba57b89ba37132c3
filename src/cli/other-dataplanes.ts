/** What another data plane left on this host, to be found and taken out. */
import { type Backend, FAMILIES, type Family } from '../core/vocabulary.ts';
import type { Dataplane, SyncFailure } from '../dataplane/dataplane.ts';
import type { RuleCounts } from './count-rules.ts';
import type { OtherDataplane } from './take-over.ts';

import { systemClock } from '../core/clock.ts';
import { createIptablesDataplane } from '../dataplane/iptables/iptables-dataplane.ts';
import { createHostKernel, type HostKernel } from '../dataplane/iptables/kernel/host-kernel.ts';
import { isNoTable } from '../dataplane/nftables/kernel/nft-kernel.ts';
import { TABLE_FAMILIES, type TableFamily } from '../dataplane/nftables/table/families.ts';
import { hostHasIpv6, readTableNames } from '../dataplane/iptables/kernel/list-rules.ts';
import { CommandFailed, runCommand } from '../host/command.ts';
import { AGENT_FLAGS } from './config.ts';
import { countIptables, countNftables } from './count-rules.ts';

const NFT_MS = 30_000;

/** `table`: the name of ours, of either family. */
export function leftInNftables(table: string, counts?: RuleCounts): OtherDataplane {
  const nft = (...words: readonly string[]) => runCommand({ argv: ['nft', ...words], timeoutMs: NFT_MS });
  const standing = async (): Promise<readonly TableFamily[]> => {
    const found: TableFamily[] = [];
    for (const family of TABLE_FAMILIES) {
      try {
        await nft('-t', 'list', 'table', family, table);
        found.push(family);
      } catch (error) {
        if (!isNoTable(error, family) && !isAbsent(error)) throw error;
      }
    }
    return found;
  };
  return {
    name: 'nftables',
    stands: async () => (await standing()).length > 0,
    lastReading: async () => (counts ? countNftables(counts).lastReading() : undefined),
    remove: async () => {
      // One transaction: what one of them tells the other is understood as long as it is told.
      const deletions = (await standing()).map((family) => `delete table ${family} ${table}`);
      if (deletions.length > 0) await nft(...deletions.join(' ; ').split(' '));
      return [];
    },
  };
}

/** No nft, no table; no iptables, no chains. */
function isAbsent(error: unknown): boolean {
  if (!(error instanceof CommandFailed)) return false;
  return error.reason === 'not-found' || /No such file or directory/.test(error.stderr);
}

/** Whatever of ours stands in iptables on this host, to be read and taken out: in both variants and families. */
export function hostIptables(lockWaitSeconds: number): { readonly kernel: HostKernel; readonly dataplane: Dataplane } {
  const kernel = createHostKernel({
    choice: 'auto',
    run: runCommand,
    read: runCommand,
    readTableNames,
    hasIpv6: hostHasIpv6,
    lockWaitSeconds,
    onBackend: () => {},
  });
  const dataplane = createIptablesDataplane({
    kernel,
    layout: { trunkInterfacePrefix: AGENT_FLAGS.trunkInterfacePrefix.defaultText! },
    now: () => systemClock.now(),
    firstEpoch: 1,
  });
  return { kernel, dataplane };
}

/** The kernel still uses a set for a moment after the last rule that named it. */
const TRIES = 5;
const BETWEEN_MS = 50;

async function removeAll(dataplane: Dataplane): Promise<readonly SyncFailure[]> {
  for (let tries = 1; ; tries++) {
    const { failures, busySets, busyChains } = await dataplane.remove({ resync: true });
    const busy = [...busySets, ...busyChains];
    if (failures.length > 0 || busy.length === 0) return failures;
    if (tries === TRIES)
      return busy.map((object) => ({
        object,
        tool: '',
        reason: 'refused' as const,
        message: `${object} is used by a rule of others`,
        policies: [],
      }));
    await new Promise<void>((resolve) => systemClock.after(BETWEEN_MS, resolve));
  }
}

export function leftInIptables(lockWaitSeconds: number, counts?: RuleCounts): OtherDataplane {
  const { kernel, dataplane } = hostIptables(lockWaitSeconds);
  let opened: ReturnType<HostKernel['open']> | undefined;
  let standing: readonly Standing[] = [];
  return {
    name: 'iptables',
    stands: async () => {
      try {
        opened ??= kernel.open();
        await opened;
        const { families, sets, other } = await kernel.readBack();
        standing = [{ variant: kernel.backend, families }, ...(other ? [other] : [])]
          .map((one) => ({
            variant: one.variant,
            families: FAMILIES.filter((family) => one.families[family]?.chains.size),
          }))
          .filter((one) => one.families.length > 0);
        return standing.length > 0 || sets.size > 0;
      } catch (error) {
        opened = undefined;
        if (isAbsent(error)) return false;
        throw error;
      }
    },
    lastReading: async () => {
      if (counts) for (const each of standing) await countIptables(counts, () => each).lastReading();
    },
    remove: () => removeAll(dataplane),
  };
}

interface Standing {
  readonly variant: Backend;
  readonly families: readonly Family[];
}
