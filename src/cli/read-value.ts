/** What people write as the value of a flag -> the value, or what would be one. */
import type { ListenAddress } from '../telemetry/health.ts';

import { type HostPort, parseHostPort } from '../net/host-port.ts';

/** Text -> value, or what is wrong with it and what is allowed. */
export type Reading<T> = { readonly value: T } | { readonly problem: string };
export interface Reader<T> {
  (text: string): Reading<T>;
  /** All values there are, where they can be listed. */
  readonly choices?: readonly string[];
}

/** IFNAMSIZ (16) less the NUL, less one character that the prefix must leave for the name's end. */
const MAX_INTERFACE_PREFIX = 14;
const INTERFACE_PREFIX = `the beginning of an interface name (letters, digits, ".", "_", "-", at most ${MAX_INTERFACE_PREFIX} characters)`;
/** One bit says "denied", two are the least that tell three epochs apart. */
export const MIN_CONNMARK_BITS = 3;
/** RFC 1123 subdomain: what the API server accepts as the name of a Node. */
const NODE_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const MAX_NODE_NAME = 253;

export function readText(text: string): Reading<string> {
  return { value: text };
}

export const readBoolean: Reader<boolean> = Object.assign(
  (text: string): Reading<boolean> =>
    text === 'true' || text === 'false' ? { value: text === 'true' } : notA(text, 'true or false'),
  { choices: ['true', 'false'] },
);

export function oneOf<const T extends string>(choices: readonly T[]): Reader<T> {
  const read = (text: string): Reading<T> => {
    const value = choices.find((one) => one === text);
    return value === undefined ? notA(text, `one of ${choices.join(', ')}`) : { value };
  };
  return Object.assign(read, { choices });
}

export function integer(least: number, most: number, unit: string): Reader<number> {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    return value >= least && value <= most ? { value } : notA(text, `a whole number from ${least} to ${most}${unit}`);
  };
}

/** A name that is no Node's would leave every pod of this node unprotected, so a typing mistake must not get through. */
export function readNodeName(text: string): Reading<string> {
  if (text.length <= MAX_NODE_NAME && NODE_NAME.test(text)) return { value: text };
  return notA(
    text,
    `the name of a Node (lower-case letters, digits, "-" and ".", at most ${MAX_NODE_NAME} characters)`,
  );
}

export function readListenAddress(text: string): Reading<ListenAddress | null> {
  if (text === 'off') return { value: null };
  const path = /^unix:(\/.+)$/.exec(text)?.[1];
  if (path !== undefined) return readSocketPath(path);
  // No host: all addresses of the node.
  const everywhere = /^:(\d{1,5})$/.test(text);
  // The port is always given, so what stands before the last colon is the address, with brackets or without: `$(NODE_IP):9847`.
  const found = parseHostPort(everywhere ? `all${text}` : text.replace(/^([0-9a-f.]*:[0-9a-f:.]*):(\d+)$/i, '[$1]:$2'));
  if ('host' in found) return { value: Object.freeze(everywhere ? { ...found, host: '' } : found) };
  return notA(text, 'host:port (such as 127.0.0.1:9847 or [::1]:9847), :port, unix:/path or off', found.problem);
}

/** sockaddr_un sun_path (108) less the NUL. */
const MAX_SOCKET_PATH = 107;

function readSocketPath(path: string): Reading<ListenAddress> {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return { value: Object.freeze({ path }) };
  return notA(`unix:${path}`, `unix: and a path of at most ${MAX_SOCKET_PATH} bytes`);
}

export function readTokenFile(text: string): Reading<string | null> {
  if (text === 'none') return { value: null };
  return text.startsWith('/') ? { value: text } : notA(text, 'the absolute path of a file, or none');
}

export function readTargets(text: string): Reading<readonly HostPort[]> {
  const allowed = 'host:port, or several with a comma between (192.0.2.1:6443,[2001:db8::1]:6443)';
  const targets: HostPort[] = [];
  for (const part of text.split(',')) {
    const found = parseHostPort(part);
    if ('problem' in found) return notA(text, allowed, found.problem);
    targets.push(found);
  }
  return { value: targets };
}

export function readFileOrOff(text: string): Reading<string | null> {
  if (text === 'off') return { value: null };
  return text.startsWith('/') ? { value: text } : notA(text, 'an absolute path or off');
}

export function readInterfacePrefix(text: string): Reading<string> {
  // "+" would end the prefix early in an iptables match, and "/" and blanks are in no interface name.
  if (text.length <= MAX_INTERFACE_PREFIX && /^[A-Za-z0-9._-]+$/.test(text)) return { value: text };
  return notA(text, INTERFACE_PREFIX);
}

export function readInterfacePrefixes(text: string): Reading<readonly string[]> {
  const prefixes: string[] = [];
  for (const part of text.split(',')) {
    const reading = readInterfacePrefix(part.trim());
    if ('problem' in reading) return notA(text, `a list, parted by commas, of ${INTERFACE_PREFIX}`);
    prefixes.push(reading.value);
  }
  return { value: Object.freeze(prefixes) };
}

export function readMask(text: string): Reading<number | null> {
  if (text === 'none') return { value: null };
  const mask = /^0x[0-9a-f]{1,8}$/i.test(text) ? Number(text) : 0;
  if (countContiguousBits(mask) >= MIN_CONNMARK_BITS) return { value: mask };
  return notA(text, `a hexadecimal mask of at least ${MIN_CONNMARK_BITS} bits in a row (such as 0xff000000) or none`);
}

/** Number of set bits if they are all neighbours, else 0. */
export function countContiguousBits(mask: number): number {
  if (mask === 0) return 0;
  const lowest = (mask & -mask) >>> 0;
  const bits = Math.log2(mask / lowest + 1);
  return Number.isInteger(bits) ? bits : 0;
}

export function notA(text: string, allowed: string, why?: string): { readonly problem: string } {
  return { problem: `${JSON.stringify(text)} is not ${allowed}${why === undefined ? '' : `: ${why}`}` };
}
