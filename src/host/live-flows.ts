/** The table of conntrack as text, read once and seldom. */
import type { Family } from '../core/vocabulary.ts';
import type { RunCommand } from './command.ts';

const TIMEOUT_MS = 10_000;
/** Some 80,000 connections of a family: more are not looked at in one go. */
const MAX_LISTING_BYTES = 16 * 1024 * 1024;

export interface ConntrackListing {
  readonly lines: readonly string[];
  /** There were more. */
  readonly isCut: boolean;
}

/** Rejects with CommandFailed. */
export async function listConntrack(run: RunCommand, family: Family): Promise<ConntrackListing> {
  const { stdout } = await run({
    argv: ['conntrack', '-L', '-f', family === 4 ? 'ipv4' : 'ipv6'],
    timeoutMs: TIMEOUT_MS,
    stopAfterBytes: MAX_LISTING_BYTES,
    background: true,
  });
  const lines = stdout.split('\n');
  const isCut = stdout.length >= MAX_LISTING_BYTES;
  // Of what is cut off the last line is half a one.
  return { lines: (isCut ? lines.slice(0, -1) : lines).filter((line) => line.includes('src=')), isCut };
}
