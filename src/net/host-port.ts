/** `host:port` as people write it, and as it is shown. */
import { ADDRESS_WORDS, familyOf, formatWords, parseWords } from './ip.ts';

export interface HostPort {
  /** An address or a host name, without brackets; empty: all addresses of the host, where one listens. */
  readonly host: string;
  readonly port: number;
}

/** `host:port`, with brackets around an IPv6 address. */
export function hostPortText({ host, port }: HostPort): string {
  return `${bracketed(host)}:${port}`;
}

/** The host as it stands before a port, and in a URL. */
export function bracketed(host: string): string {
  return familyOf(host) === 6 ? `[${host}]` : host;
}

/** An address comes out as canonical text. The problem says what of `text` is wrong. */
export function parseHostPort(text: string): HostPort | { readonly problem: string } {
  const [, host, digits] = /^(.*):(\d{1,5})$/.exec(text) ?? [];
  if (host === undefined) return { problem: `${JSON.stringify(text)} has no port` };
  const port = Number(digits);
  if (port < 1 || port > 65_535) return { problem: `port ${port} is not in 1 to 65535` };
  const address = /^\[([0-9a-f:.]*)\]$/i.exec(host)?.[1];
  if (address !== undefined) {
    const words = parseWords(address, address.length);
    if (words?.length !== ADDRESS_WORDS[6]) return { problem: `${JSON.stringify(address)} is no IPv6 address` };
    return { host: formatWords(words), port };
  }
  // What ends in a number is no host name (RFC 1123 section 2.1), and resolvers differ about what it is: some read 010 as 8.
  if (/(^|\.)\d+$/.test(host)) {
    const words = parseWords(host, host.length);
    if (words === undefined || formatWords(words) !== host)
      return { problem: `${JSON.stringify(host)} is no IPv4 address` };
    return { host, port };
  }
  if (/^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/i.test(host)) return { host, port };
  return { problem: `${JSON.stringify(host)} is no host name, IPv4 address or [IPv6 address]` };
}
