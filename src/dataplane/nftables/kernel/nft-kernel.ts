/** The table of this host, by `nft`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from '../table/write-table.ts';
import type { Table } from '../table/table.ts';

import { CommandFailed, type RunCommand } from '../../../host/command.ts';
import { type NftKernel, NftFailed } from './kernel.ts';
import { MAX_LINE_BYTES, NftSession } from './nft-session.ts';
import { readTable } from '../table/read-table.ts';

const READ_MS = 30_000;
const WRITE_MS = 60_000;

export interface HostNftOptions {
  readonly table: string;
  readonly run: RunCommand;
  readonly session?: NftSession;
  /** After each transaction. */
  readonly onWrite?: (how: { readonly bySession: boolean }) => void;
}

export function createNftKernel({ table, run, session = new NftSession(), onWrite }: HostNftOptions): NftKernel {
  return {
    read: () => read(table, run),
    write: async (commands) => {
      const line = commands.map(({ text }) => text).join('; ');
      const bySession = line.length <= MAX_LINE_BYTES;
      if (bySession) {
        const outcome = await session.transact(line);
        if (outcome.kind === 'unclear') throw new NftFailed(`nft -i: ${outcome.complaint}`, 'unavailable');
        // The same from a file tells which command it was.
        if (outcome.kind === 'refused') await writeFile(commands, run);
      } else await writeFile(commands, run);
      onWrite?.({ bySession });
    },
  };
}

async function read(table: string, run: RunCommand): Promise<Table | undefined> {
  try {
    const argv = ['nft', '-p', '-s', 'list', 'table', 'inet', table] as const;
    const { stdout } = await run({ argv: [...argv], timeoutMs: READ_MS });
    return readTable(stdout);
  } catch (error) {
    if (error instanceof CommandFailed && /No such file or directory/.test(error.stderr)) return undefined;
    throw new NftFailed((error as Error).message, 'unavailable');
  }
}

/** nft reads the file once all of it is there, whenever this process is killed. */
async function writeFile(commands: readonly Command[], run: RunCommand): Promise<void> {
  const folder = makeFolder();
  const file = join(folder, 'transaction');
  try {
    writeFileSync(file, `${commands.map(({ text }) => text).join('\n')}\n`);
    await run({ argv: ['nft', '-f', file], timeoutMs: WRITE_MS });
  } catch (error) {
    throw failureOf(error, commands);
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

function failureOf(error: unknown, commands: readonly Command[]): NftFailed {
  if (!(error instanceof CommandFailed) || error.reason !== 'exit')
    return new NftFailed((error as Error).message, 'unavailable');
  const [, line, what] = COMPLAINT.exec(error.stderr) ?? [];
  const refused = line === undefined ? undefined : commands[Number(line) - 1];
  if (!refused) return new NftFailed(error.message, 'refused');
  const short = refused.text.length > 200 ? `${refused.text.slice(0, 200)}...` : refused.text;
  return new NftFailed(`${refused.object || 'the table'}: ${what}: ${short}`, 'refused', refused.object || undefined);
}
