/** The table of this host, by `nft`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from '../table/write-table.ts';
import type { Known, Table } from '../table/table.ts';

import { runSliced } from '../../../core/run-sliced.ts';
import { CommandFailed, type RunCommand } from '../../../host/command.ts';
import { type NftKernel, NftFailed } from './kernel.ts';
import type { NetlinkWriter } from './netlink-writer.ts';
import type { NftSession, SessionOutcome } from './nft-session.ts';
import { MAX_LINE_BYTES } from './nft-session.ts';
import { TABLE_FAMILIES, type TableFamily } from '../table/families.ts';
import { mergeTables, readTableInSteps } from '../table/read-table.ts';

const READ_MS = 30_000;
const WRITE_MS = 60_000;

export interface HostNftOptions {
  readonly table: string;
  /** Runs what reads. */
  readonly run: RunCommand;
  readonly session: NftSession;
  /** Of this process's network namespace. Absent: everything is given to nft. */
  readonly netlink?: Pick<NetlinkWriter, 'write' | 'settled'>;
}

export function createNftKernel({ table, run, session, netlink }: HostNftOptions): NftKernel {
  return {
    read: async (known) => {
      netlink?.settled();
      return read(table, run, known);
    },
    write: async (commands) => {
      if (await netlink?.write(table, commands)) return;
      const line = commands.map(({ text }) => text).join('; ');
      if (line.length <= MAX_LINE_BYTES) {
        const outcome = await session.transact(line);
        // What was refused is tried once more from a file, which tells the command that it was.
        if (!failureOf(outcome, commands)) return;
      }
      await writeFile(commands, session);
    },
  };
}

async function read(table: string, run: RunCommand, known: Known | undefined): Promise<Table | undefined> {
  const found = await Promise.all(TABLE_FAMILIES.map((family) => readOne(family, table, run, known)));
  const there = found.filter((each) => each !== undefined);
  return there.length > 1 ? mergeTables(there) : there[0];
}

async function readOne(
  family: TableFamily,
  table: string,
  run: RunCommand,
  known: Known | undefined,
): Promise<Table | undefined> {
  try {
    const argv = ['nft', '-p', '-s', 'list', 'table', family, table] as const;
    const { stdout } = await run({ argv: [...argv], timeoutMs: READ_MS, isListing: true });
    return await runSliced(readTableInSteps(stdout, family, known));
  } catch (error) {
    if (isNoTable(error, family)) return undefined;
    throw new NftFailed((error as Error).message, 'unavailable');
  }
}

/** Whether what nft complains of is that the table, or what was asked for in it, is not there. */
export function isNoTable(error: unknown, family: TableFamily = 'inet'): boolean {
  if (!(error instanceof CommandFailed)) return false;
  if (/No such file or directory/.test(error.stderr)) return true;
  // Of a kernel that knows no such tables. For those of the other family it is a failure.
  return family === 'bridge' && /Operation not supported/.test(error.stderr);
}

/** nft reads the file once all of it is there, whenever this process is killed. Its commands are one transaction. */
async function writeFile(commands: readonly Command[], session: NftSession): Promise<void> {
  const folder = makeFolder();
  const file = join(folder, 'transaction');
  try {
    writeFileSync(file, `${commands.map(({ text }) => text).join('\n')}\n`);
    const failure = failureOf(await session.transact(`include "${file}"`, WRITE_MS), commands);
    if (failure) throw failure;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** In memory where possible: a container's own files may be read-only. */
function makeFolder(): string {
  try {
    return mkdtempSync('/dev/shm/portcullis-nft-');
  } catch {
    return mkdtempSync(join(tmpdir(), 'portcullis-nft-'));
  }
}

/** `/dev/shm/portcullis-nft-x/transaction:3:1-40: Error: Could not process rule: File exists` */
const COMPLAINT = /:(\d+):\d+-\d+: Error: (.*)/;

/** Undefined: it is done. */
function failureOf(outcome: SessionOutcome, commands: readonly Command[]): NftFailed | undefined {
  switch (outcome.kind) {
    case 'done':
      return undefined;
    case 'unclear':
      throw new NftFailed(`nft -i: ${outcome.complaint}`, 'unavailable');
    case 'refused':
      return refusal(outcome.complaint, commands);
  }
}

function refusal(complaint: string, commands: readonly Command[]): NftFailed {
  const [, line, what] = COMPLAINT.exec(complaint) ?? [];
  const refused = line === undefined ? undefined : commands[Number(line) - 1];
  if (!refused) return new NftFailed(`nft: ${complaint.trim().slice(0, MAX_TOLD)}`, 'refused');
  const { text, object } = refused;
  const message = `${object || 'the table'}: ${what}: ${text.slice(0, MAX_TOLD)}`;
  return new NftFailed(message, 'refused', object || undefined);
}

/** Characters of a command or complaint in a message. */
const MAX_TOLD = 300;
