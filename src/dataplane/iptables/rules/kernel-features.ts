/** What rules may need of a kernel, by name. */
import type { Family } from '../../../core/vocabulary.ts';

/** Named as iptables and ipset name them. */
export const FEATURES = [
  'conntrack',
  'set',
  'hash:ip',
  'hash:net',
  'hash:ip,port',
  'hash:net,port',
  'tcp',
  'udp',
  'sctp',
  'multiport',
  'connmark',
  'bpf',
  'limit',
  'NFLOG',
  'comment',
  'addrtype',
] as const;
export type Feature = (typeof FEATURES)[number];

/** What a kernel lacks, by family; in the order of `FEATURES`. A family without an entry lacks nothing. */
export type MissingFeatures = Readonly<Partial<Record<Family, readonly Feature[]>>>;
