/** Both sides of a comparison, the other version first, in a folder that goes at the end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openVersion, thisVersion, type Version } from './version.ts';

export type Both = readonly [other: Version, own: Version];

export async function withBoth<T>(against: string, work: (both: Both, directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-against-'));
  try {
    return await work([openVersion(against, directory), thisVersion(directory)], directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The two sides in turn, another one first each round. */
export function inTurn(both: Both, round: number): readonly Version[] {
  return round % 2 === 0 ? both : [both[1], both[0]];
}
