/** Reading values of unknown shape, as they come from JSON or YAML. */

/** Longest excerpt of a user's value in a message: objects may hold megabytes. */
const MAX_QUOTED = 60;
/** Of one object; the first already says that it was misread. */
const MAX_UNKNOWN_FIELDS = 5;

/** What JSON leaves as it is: control and format characters (writing direction), line separators. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

export type RawRecord = Readonly<Record<string, unknown>>;

/** A JSON object, neither null nor a list. */
export function isRecord(value: unknown): value is RawRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function escapeCharacter(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}

/** A value as it may stand in a one-line message: control characters escaped, long strings cut, containers only named. */
export function quote(value: unknown): string {
  if (value === undefined) return 'absent';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isRecord(value)) return 'an object';
  if (typeof value === 'string') {
    const text = JSON.stringify(value.length > MAX_QUOTED ? `${value.slice(0, MAX_QUOTED)}…` : value);
    return text.replaceAll(UNPRINTABLE, escapeCharacter);
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
