/** Suite *event* beside another version: from the API write to the packets, change by change in turn. */
import { describeMachine } from '../machine.ts';
import { measureReactions } from '../reaction.ts';
import { reactionTables } from '../reaction/tables.ts';
import type { RunSuite } from '../types.ts';
import { openVersion, thisVersion } from './version.ts';

export const run: RunSuite = async (options) => {
  const versions = (directory: string) => [openVersion(options.against!, directory), thisVersion(directory)];
  const cells = await measureReactions(versions, options);
  return { suite: 'event', machine: describeMachine(), tables: reactionTables(cells), raw: cells };
};
