/** When to try again: pure arithmetic, no clock of its own. */

const MIN_BACKOFF_MS = 800;
const MAX_BACKOFF_MS = 30_000;
/** Nobody answered at all: asking again costs the server nothing, and what changed meanwhile waits for it. */
const MAX_UNREACHABLE_MS = 2_000;
/** A server may ask for patience; half a minute without policy changes is as much as anybody is given. */
const MAX_RETRY_AFTER_MS = 30_000;

/**
 * Wait before attempt number `failures + 1`, after `failures` (>= 1) failures in a row: between 0.8 s and a ceiling that
 * doubles from 1.6 s to 30 s. Spread over the whole interval, so that a thousand agents do not come back together.
 * `random` is in [0, 1).
 */
export function backoffMs(failures: number, random: number): number {
  const ceiling = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(failures, 10));
  return Math.round(MIN_BACKOFF_MS + random * (ceiling - MIN_BACKOFF_MS));
}

/** The same while the server cannot be reached: between 0.8 s and 2 s, however long it lasts. */
export function reconnectMs(random: number): number {
  return Math.round(MIN_BACKOFF_MS + random * (MAX_UNREACHABLE_MS - MIN_BACKOFF_MS));
}

/** Reads a Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3). Undefined if absent or unreadable. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(ms) ? undefined : Math.min(MAX_RETRY_AFTER_MS, Math.max(0, ms));
}

/** From one answer that an optional kind's resource is not served to the next question: half a minute to a minute. */
export function absentMs(random: number): number {
  return Math.round(30_000 * (1 + random));
}
