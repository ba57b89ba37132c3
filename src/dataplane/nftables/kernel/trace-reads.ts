/** What a trace reads of the kernel: beside everything else, and behind whoever wants the processor. */
import type { RunCommand } from '../../../host/command.ts';
import type { TraceReads } from '../trace/trace-flows.ts';
import type { Table } from '../table/table.ts';

import { isNoTable } from './nft-kernel.ts';
import { familyOfName, localName, type TableFamily } from '../table/families.ts';
import { mergeTables, readTable, readTables } from '../table/read-table.ts';

const TIMEOUT_MS = 20_000;

export function traceReads(run: RunCommand, table: string): TraceReads {
  const behind = async (words: readonly string[]): Promise<string> =>
    (await run({ argv: ['nft', '-p', '-s', ...words], timeoutMs: TIMEOUT_MS, background: true, isListing: true }))
      .stdout;
  const rules = async (family: TableFamily): Promise<Table | undefined> => {
    try {
      return readTable(await behind(['-t', 'list', 'table', family, table]), family);
    } catch (error) {
      if (isNoTable(error, family)) return undefined;
      throw error;
    }
  };
  return {
    table: async () => {
      const inet = await rules('inet');
      if (!inet) return undefined;
      const bridge = await rules('bridge');
      return bridge ? mergeTables([inet, bridge]) : inet;
    },
    elements: async (sets) => {
      const commands = sets.map(({ name, isMap }) => {
        return `list ${isMap ? 'map' : 'set'} ${familyOfName(name)} ${table} ${localName(name)}`;
      });
      // Each is printed in a table of its own.
      return readTables(await behind([commands.join('; ')])).sets;
    },
  };
}
