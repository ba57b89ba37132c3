/**
 * The same policies in a layout without dispatch, modelled on agents that give every local pod a chain of its own and look for it one
 * pod after another. Table filter:
 *
 *   FORWARD     -d <pod> -j LIN-W-<n>; -s <pod> -j LIN-W-<n>; ...; accept what a pod's chain has marked     per local pod
 *   LIN-W-<n>   INVALID DROP; ESTABLISHED ACCEPT; -j LIN-P-<policy>...; limit + NFLOG and DROP if no policy has marked;
 *               turn that mark into the final one
 *   LIN-P-<p>   per port and rule: -m set <from> src -m set <to> dst -p ... --dport ... -j MARK; RETURN if marked
 *
 * Kinder than the original: no comments (20-50 ns each), none of its jumps for bridged packets, no policies of other nodes.
 */
import type { CompiledRule, NodeIntent } from '../../src/compile/intent.ts';
import { acceptRules } from '../../src/compile/program.ts';
import type { PortRange } from '../../src/net/port-range.ts';
import type { Direction } from '../../src/core/vocabulary.ts';
import { objectKey } from '../../src/policy/model.ts';

const ALLOWED = '0x10000/0x10000';
const PASSED = '0x20000/0x20000';

export interface LinearLayout {
  /** For `ipset restore`. */
  readonly sets: string;
  /** For `iptables-restore`. */
  readonly rules: string;
  readonly ruleCount: number;
}

/** What one policy does on this node. */
interface PolicyParts {
  readonly chain: string;
  /** Name of the set of its local pods. */
  readonly subjects: string;
  readonly clauses: Readonly<Record<Direction, readonly CompiledRule[]>>;
  readonly addresses: Set<string>;
}

/** Of an intent whose rules share nothing; IPv4 only; numeric ports only. The pods are looked for in the order of the intent's endpoints. */
export function renderLinear(intent: NodeIntent): LinearLayout {
  const setNames = new Map([...intent.addressSets.keys()].map((key, index) => [key, `LIN-S-${index}`]));
  const policies = policyParts(intent);
  const pods = intent.endpoints.flatMap(({ addresses, programs }, index) => ({
    chain: `LIN-W-${index}`,
    address: addresses[0]!,
    policies: [...new Set(Object.values(programs).flatMap((key) => policiesOf(intent, key)))].map(
      (key) => policies.get(key)!,
    ),
  }));
  const chains = [...pods.map(({ chain }) => chain), ...[...policies.values()].map(({ chain }) => chain)];
  const rules = [
    ...pods.flatMap(({ chain, address }) => [
      `-A FORWARD -d ${address}/32 -j ${chain}`,
      `-A FORWARD -s ${address}/32 -j ${chain}`,
    ]),
    `-A FORWARD -m mark --mark ${PASSED} -j ACCEPT`,
    ...pods.flatMap(({ chain, policies: applied }) => podRules(chain, applied)),
    ...[...policies.values()].flatMap((policy) => policyRules(policy, setNames)),
  ];
  return {
    sets: `${setLines(intent, setNames, policies).join('\n')}\n`,
    rules: `${['*filter', ...chains.map((chain) => `:${chain} - [0:0]`), ...rules, 'COMMIT'].join('\n')}\n`,
    ruleCount: rules.length,
  };
}

function policiesOf(intent: NodeIntent, programKey: string): string[] {
  return intent.programs.find(({ key }) => key === programKey)!.policies.map(objectKey);
}

function policyParts(intent: NodeIntent): Map<string, PolicyParts> {
  const parts = new Map<string, PolicyParts>();
  for (const program of intent.programs) {
    const { direction, policies, key: programKey } = program;
    const addresses = intent.endpoints
      .filter(({ programs }) => programs[direction] === programKey)
      .flatMap((each) => each.addresses);
    for (const policy of policies) {
      const key = objectKey(policy);
      const known = parts.get(key);
      const own = acceptRules(program).filter(({ by }) => by.some(({ policy: from }) => objectKey(from) === key));
      parts.set(key, {
        chain: known?.chain ?? `LIN-P-${parts.size}`,
        subjects: known?.subjects ?? `LIN-T-${parts.size}`,
        clauses: { ingress: [], egress: [], ...known?.clauses, [direction]: own },
        addresses: new Set([...(known?.addresses ?? []), ...addresses]),
      });
    }
  }
  return parts;
}

function podRules(chain: string, policies: readonly PolicyParts[]): string[] {
  return [
    '-m conntrack --ctstate INVALID -j DROP',
    '-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    ...policies.map((policy) => `-j ${policy.chain}`),
    `-m mark ! --mark ${ALLOWED} -m limit --limit 10/min --limit-burst 10 -j NFLOG --nflog-group 100`,
    `-m mark ! --mark ${ALLOWED} -j DROP`,
    '-j MARK --set-xmark 0x0/0x10000',
    `-j MARK --set-xmark ${PASSED}`,
  ].map((text) => `-A ${chain} ${text}`);
}

function policyRules({ chain, subjects, clauses }: PolicyParts, setNames: ReadonlyMap<string, string>): string[] {
  return (['ingress', 'egress'] as const).flatMap((direction) =>
    clauses[direction].flatMap(({ ports, peers }) => {
      if (ports.kind !== 'ranges' || peers[4].kind !== 'set')
        throw new Error(`${chain}: ports and peers must be given`);
      const [own, other] = direction === 'ingress' ? ['dst', 'src'] : ['src', 'dst'];
      const peerMatch = `-m set --match-set ${setNames.get(peers[4].key)} ${other}`;
      const ownMatch = `-m set --match-set ${subjects} ${own}`;
      const sets = direction === 'ingress' ? `${peerMatch} ${ownMatch}` : `${ownMatch} ${peerMatch}`;
      const protocol = ports.protocol.toLowerCase();
      return ports.ranges.flatMap((range) => {
        const matches = `-A ${chain} -p ${protocol} ${sets} -m ${protocol} --dport ${rangeText(range)}`;
        return [`${matches} -j MARK --set-xmark ${ALLOWED}`, `${matches} -m mark --mark ${ALLOWED} -j RETURN`];
      });
    }),
  );
}

function rangeText({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}:${last}`;
}

function setLines(
  intent: NodeIntent,
  setNames: ReadonlyMap<string, string>,
  policies: ReadonlyMap<string, PolicyParts>,
): string[] {
  const lines: string[] = [];
  const add = (name: string, type: string, members: Iterable<string>): void => {
    lines.push(`create ${name} ${type} family inet`);
    for (const member of members) lines.push(`add ${name} ${member}`);
  };
  for (const { key, family, kind, members } of intent.addressSets.values()) {
    if (family === 4) add(setNames.get(key)!, kind === 'addresses' ? 'hash:ip' : 'hash:net', members.keys());
  }
  for (const { subjects, addresses } of policies.values()) add(subjects, 'hash:ip', addresses);
  return lines;
}
