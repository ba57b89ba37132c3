/** A line of `conntrack -L` or `-E` -> the flow as policies see it. Pure. */
import { PROTOCOL_NUMBER } from '../core/vocabulary.ts';
import { canonicalAddress } from '../net/ip.ts';

export interface ListedFlow {
  readonly source: string;
  readonly destination: string;
  /** IANA protocol number. */
  readonly protocol: number;
  /** 0 of protocols without ports. */
  readonly port: number;
  /** Nobody was there, or a packet was lost; what needs no answer is sent by UDP. */
  readonly isUnanswered: boolean;
}

const HEAD = /^\s*(?:\[\w+\]\s+)?(?:ipv[46]\s+\d+\s+)?\w+\s+(\d+)\s/;

/**
 * The original direction says who began, the reply direction who answers: behind a Service its backend, at its own port. That is how policies
 * see the flow (S-51). Undefined: it is no such line.
 */
export function readConntrackLine(line: string): ListedFlow | undefined {
  const protocol = Number(HEAD.exec(line)?.[1]);
  const [original, reply] = [0, 1].map((nth) => (key: string): string | undefined => {
    return [...line.matchAll(new RegExp(`\\b${key}=(\\S+)`, 'g'))][nth]?.[1];
  }) as [(key: string) => string | undefined, (key: string) => string | undefined];
  const [source, destination] = [canonicalAddress(original('src') ?? ''), canonicalAddress(reply('src') ?? '')];
  if (!Number.isInteger(protocol) || source === undefined || destination === undefined) return undefined;
  const isUnanswered = line.includes('[UNREPLIED]') && protocol !== PROTOCOL_NUMBER.UDP;
  return { source, destination, protocol, port: Number(reply('sport') ?? 0), isUnanswered };
}
