/** Takes secrets out of text: those that are known, and what looks like one wherever it stands. Pure. */

const REDACTED = '[redacted]';
/** Shorter ones would hit words. */
const MIN_SECRET = 6;
const LOOKS_SECRET: readonly RegExp[] = [
  /** A JSON web token: service accounts, OIDC. */
  /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g,
  /(?<=\b(?:Bearer|Basic) )[\w.~+/=-]{6,}/gi,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g,
];

export function redact(text: string, secrets: readonly string[]): string {
  let result = text;
  for (const secret of secrets.filter(({ length }) => length >= MIN_SECRET))
    result = result.replaceAll(secret, REDACTED);
  for (const pattern of LOOKS_SECRET) result = result.replaceAll(pattern, REDACTED);
  return result;
}
