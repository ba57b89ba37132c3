/** What a trace reads of the kernel: beside everything else, and behind whoever wants the processor. */
import type { RunCommand } from '../../../host/command.ts';
import type { TraceReads } from '../trace/trace-flows.ts';
import type { NftSet } from '../table/table.ts';

import { isNoTable } from './nft-kernel.ts';
import { readTable } from '../table/read-table.ts';

const TIMEOUT_MS = 20_000;

export function traceReads(run: RunCommand, table: string): TraceReads {
  const behind = async (words: readonly string[]): Promise<string> =>
    (await run({ argv: ['nft', '-p', '-s', ...words], timeoutMs: TIMEOUT_MS, background: true, isListing: true }))
      .stdout;
  return {
    table: async () => {
      try {
        return readTable(await behind(['-t', 'list', 'table', 'inet', table]));
      } catch (error) {
        if (isNoTable(error)) return undefined;
        throw error;
      }
    },
    elements: async (sets) => {
      const commands = sets.map(({ name, isMap }) => `list ${isMap ? 'map' : 'set'} inet ${table} ${name}`);
      const found = new Map<string, NftSet>();
      // Each is printed in a table of its own.
      for (const part of (await behind([commands.join('; ')])).split(/^(?=table )/m))
        for (const [name, set] of readTable(part).sets) found.set(name, set);
      return found;
    },
  };
}
