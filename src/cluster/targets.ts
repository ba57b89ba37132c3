/**
 * Which address of the API server to connect to: pure. After a reboot the service address may lead nowhere until kube-proxy has run,
 * while the API server's own addresses work; otherwise the service address is the one to use.
 */
import { type HostPort, hostPortText } from '../net/host-port.ts';

/** A target that failed is not the first to be tried for this long. */
const AVOID_MS = 30_000;
/** Of one request: each costs a connect time-out. */
const MAX_TRIES = 3;
/** More are remembered of no cluster. */
export const MAX_TARGETS = 16;

/**
 * The targets to try, in order: those without a recent failure as they stand, `primary` first; then the others, the longest ago
 * first. `failedAtMs` by `hostPortText`.
 */
export function targetsToTry(
  primary: HostPort,
  others: readonly HostPort[],
  failedAtMs: ReadonlyMap<string, number>,
  nowMs: number,
): readonly HostPort[] {
  // Of two with one text the last stays: the primary one is recognised as such.
  const known = new Map([primary, ...others, primary].map((target) => [hostPortText(target), target]));
  const age = (text: string): number => nowMs - (failedAtMs.get(text) ?? Number.NEGATIVE_INFINITY);
  const texts = [...known.keys()];
  const fresh = texts.filter((text) => age(text) >= AVOID_MS);
  const failed = texts.filter((text) => age(text) < AVOID_MS).sort((a, b) => age(b) - age(a));
  return [...fresh, ...failed].slice(0, MAX_TRIES).map((text) => known.get(text)!);
}
