/** Reading values of unknown shape, as they come from JSON or YAML. */

/** Longest excerpt of a user's value in a message: objects may hold megabytes. */
const MAX_QUOTED = 60;
/** Of one object; the first already says that it was misread. */
const MAX_UNKNOWN_FIELDS = 5;

export type RawRecord = Readonly<Record<string, unknown>>;

/** A JSON object, neither null nor a list. */
export function isRecord(value: unknown): value is RawRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value as it may stand in a one-line message: control characters escaped, long strings cut, containers only named. */
export function quote(value: unknown): string {
  if (value === undefined) return 'absent';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isRecord(value)) return 'an object';
  if (typeof value === 'string') {
    return JSON.stringify(value.length > MAX_QUOTED ? `${value.slice(0, MAX_QUOTED)}…` : value);
  }
  return value === null || typeof value === 'number' || typeof value === 'boolean' ? `${value}` : typeof value;
}

/**
 * A problem for each field of `raw` that is not in `known` (the first few). Such a field is a typing error or newer than this agent, and what
 * carries it may be meant to match less than the known fields alone say.
 */
export function unknownFields(raw: RawRecord, known: readonly string[], field: string) {
  return Object.keys(raw)
    .filter((name) => !known.includes(name))
    .slice(0, MAX_UNKNOWN_FIELDS)
    .map((name) => ({ field: `${field}.${quoteName(name)}`, message: 'is a field this agent does not know' }));
}

function quoteName(name: string): string {
  return /^\w{1,60}$/.test(name) ? name : quote(name);
}
