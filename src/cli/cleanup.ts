/** `portcullis cleanup`: takes every trace of ours off this node, in nftables, both iptables variants and families, and nothing else. */
import { rm } from 'node:fs/promises';
import type { ChangeCounts, SyncOutcome } from '../dataplane/dataplane.ts';
import type { CommandContext } from './command.ts';
import type { CleanupFlags } from './cleanup-flags.ts';

import { sleep } from '../core/clock.ts';
import { messageOf } from '../core/error-text.ts';
import { EXIT_FAILURE, EXIT_OK } from './exit-codes.ts';
import { NFT_TABLE } from '../dataplane/nftables/table/names.ts';
import { PROBE_TABLE } from './nftables-node.ts';
import { hostIptables, leftInNftables } from './other-dataplanes.ts';
import { answersAt } from './running-agent.ts';

/** A set that the kernel still uses for a moment, a chain that a rule of others leads to. */
const TRIES = 5;
const BETWEEN_MS = 1_000;

export async function runCleanup(flags: CleanupFlags, { out, err, signal }: CommandContext): Promise<number> {
  const fail = (problem: string): number => {
    err(`portcullis cleanup: ${problem}\n`);
    return EXIT_FAILURE;
  };
  if (process.getuid?.() !== 0) return fail('needs root: it changes the rules of this node');
  if (!flags.force && flags.httpAddress !== null && (await answersAt(flags.httpAddress, signal)))
    return fail(
      'an agent runs on this node and would write its rules again: stop it first (annotate the node with portcullis.dev/mode=off, ' +
        'or delete the DaemonSet); --force: go on all the same',
    );
  const removed = await removeRules(flags.lockWaitSeconds, signal).catch(unread);
  out(countsText(removed.counts));
  const tables = await removeTables([NFT_TABLE, PROBE_TABLE]);
  for (const table of tables.removed) out(`removed table inet ${table} of nftables\n`);
  const files = await removeFiles([flags.endpointsFile, flags.countersFile]);
  for (const file of files.removed) out(`removed ${file}\n`);
  const left = [...removed.left, ...tables.left, ...files.left];
  if (left.length > 0) return fail(`not all is gone:\n  ${left.join('\n  ')}`);
  out('nothing of Portcullis is left on this node\n');
  return EXIT_OK;
}

interface Removed {
  readonly counts: Readonly<Record<'chains' | 'sets', number>>;
  /** What could not be removed, and why. */
  readonly left: readonly string[];
}

/** The rest goes all the same: a host whose agents used nftables may have no such programs. */
function unread(error: unknown): Removed {
  const why = `iptables and IP sets were not looked at: ${messageOf(error)}`;
  return { counts: { chains: 0, sets: 0 }, left: [why] };
}

/** Read back and removed until a look finds nothing. */
async function removeRules(lockWaitSeconds: number, signal: AbortSignal): Promise<Removed> {
  const { kernel, dataplane } = hostIptables(lockWaitSeconds);
  await kernel.open();
  const counts = { chains: 0, sets: 0 };
  for (let tries = 1; ; tries++) {
    const outcome = await dataplane.remove({ resync: true });
    const { chainsDeleted = 0, setsDestroyed = 0 }: Partial<ChangeCounts> = outcome.change?.counts ?? {};
    if (outcome.change?.isEmpty) return { counts, left: [] };
    if (outcome.failures.length === 0) {
      counts.chains += chainsDeleted - outcome.busyChains.length;
      counts.sets += setsDestroyed - outcome.busySets.length;
    }
    if (tries === TRIES || signal.aborted) return { counts, left: leftOf(outcome) };
    if (leftOf(outcome).length > 0) await sleep(BETWEEN_MS, signal);
  }
}

async function removeTables(
  tables: readonly string[],
): Promise<{ readonly removed: readonly string[]; readonly left: readonly string[] }> {
  const removed: string[] = [];
  const left: string[] = [];
  for (const table of tables) {
    const other = leftInNftables(table);
    try {
      if (!(await other.stands())) continue;
      await other.remove();
      removed.push(table);
    } catch (error) {
      left.push(`table inet ${table}: ${messageOf(error)}`);
    }
  }
  return { removed, left };
}

function leftOf({ failures, busySets, busyChains }: SyncOutcome): readonly string[] {
  return [
    ...failures.map(
      ({ message }) => `${message.trim()} (a rule of others that leads into a chain of ours must go first)`,
    ),
    ...busyChains.map((chain) => `chain ${chain}: a rule of others leads there; remove that rule`),
    ...busySets.map((set) => `set ${set}: a rule of others uses it; remove that rule`),
  ];
}

/** Empty: there was nothing. */
function countsText({ chains, sets }: Removed['counts']): string {
  return chains + sets === 0 ? '' : `removed ${chains} chains and ${sets} sets\n`;
}

async function removeFiles(
  files: readonly (string | null)[],
): Promise<{ readonly removed: readonly string[]; readonly left: readonly string[] }> {
  const removed: string[] = [];
  const left: string[] = [];
  for (const file of files) {
    if (file === null) continue;
    for (const each of [file, `${file}.new`])
      try {
        await rm(each);
        removed.push(each);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== 'ENOENT' && code !== 'ENOTDIR') left.push(`${each}: ${messageOf(error)}`);
      }
  }
  return { removed, left };
}
