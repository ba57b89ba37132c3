/** Words that every stage uses, each spelled once. */

/** IP version. */
export type Family = 4 | 6;
export const FAMILIES = [4, 6] as const satisfies readonly Family[];

/** Of the traffic of a pod, as NetworkPolicy sees it. */
export type Direction = 'ingress' | 'egress';
export const DIRECTIONS = ['ingress', 'egress'] as const satisfies readonly Direction[];

/** The protocols a NetworkPolicy port entry can name (S-34). */
export type Protocol = 'TCP' | 'UDP' | 'SCTP';
export const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const satisfies readonly Protocol[];

/** IANA protocol numbers of the protocols the API names, and of the two ICMPs. */
export const PROTOCOL_NUMBER = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;

/** What the agent does on its node: drop what policies deny; count and log it; have no rules and show the plan of those there would be; have no rules. */
export type Mode = 'enforce' | 'audit' | 'dry-run' | 'off';
export const MODES = ['enforce', 'audit', 'dry-run', 'off'] as const satisfies readonly Mode[];
/** What becomes of what a policy denies: it is dropped, or counted and let through. */
export type PolicyMode = Extract<Mode, 'enforce' | 'audit'>;
export const POLICY_MODES = ['enforce', 'audit'] as const satisfies readonly PolicyMode[];
/** The annotation that sets a mode, and the label that sets a node's. */
export const MODE_KEY = 'portcullis.dev/mode';

/** Which tools write the rules. */
export type Backend = 'iptables-nft' | 'iptables-legacy';
export const BACKENDS = ['iptables-nft', 'iptables-legacy'] as const satisfies readonly Backend[];

/** Resources of the API, by plural name. */
export type ObjectKind = (typeof OBJECT_KINDS)[number];
/** `nodes`: the agent's own; `clusternodes`: all of them. */
export const OBJECT_KINDS = [
  'pods',
  'namespaces',
  'networkpolicies',
  'nodes',
  'clusternetworkpolicies',
  'clusternodes',
] as const;
