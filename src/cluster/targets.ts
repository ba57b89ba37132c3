/**
 * Which address of the API server to connect to: pure. After a reboot the service address may lead nowhere until kube-proxy has run,
 * while the API server's own addresses work; otherwise the service address is the one to use.
 */

export interface Target {
  /** An address or a host name, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** A target that failed is not the first to be tried for this long. */
const AVOID_MS = 30_000;
/** Of one request: each costs a connect time-out. */
const MAX_TRIES = 3;
/** More are remembered of no cluster. */
export const MAX_TARGETS = 16;

/**
 * The targets to try, in order: those without a recent failure as they stand, `primary` first; then the others, the longest ago
 * first. `failedAtMs` by `targetText`.
 */
export function targetsToTry(
  primary: Target,
  others: readonly Target[],
  failedAtMs: ReadonlyMap<string, number>,
  nowMs: number,
): readonly Target[] {
  // Of two with one text the last stays: the primary one is recognised as such.
  const known = new Map([primary, ...others, primary].map((target) => [targetText(target), target]));
  const age = (text: string): number => nowMs - (failedAtMs.get(text) ?? Number.NEGATIVE_INFINITY);
  const texts = [...known.keys()];
  const fresh = texts.filter((text) => age(text) >= AVOID_MS);
  const failed = texts.filter((text) => age(text) < AVOID_MS).sort((a, b) => age(b) - age(a));
  return [...fresh, ...failed].slice(0, MAX_TRIES).map((text) => known.get(text)!);
}

/** `host:port`, with brackets around an IPv6 address. */
export function targetText({ host, port }: Target): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Undefined if the text is no `host:port`. */
export function parseTarget(text: string): Target | undefined {
  const parts = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9]([a-z0-9.-]*[a-z0-9])?)):(\d{1,5})$/i.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[4]);
  return host !== undefined && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}
