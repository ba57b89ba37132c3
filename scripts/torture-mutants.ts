/**
 * Breaks one line at a time in a copy of the sources and prints which test files notice, as the rows of the table in
 * docs/conformance.md. Pure tests only: no root.
 *   node scripts/torture-mutants.ts            all of them, some minutes each
 *   node scripts/torture-mutants.ts --quick    all of them, each until one of the files that the table names notices it; seconds each
 *   node scripts/torture-mutants.ts S-62 NotIn those whose title has one of the words
 * Exit code 0: each is noticed. 1: one is not, or its line is no longer there.
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are lines of sources
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
/** Of one run of mocha; a busy machine takes several times as long as an idle one. */
const TIMEOUT_MS = 900_000;

interface Mutant {
  readonly title: string;
  readonly file: string;
  /** Stands there exactly once. */
  readonly line: string;
  readonly broken: string;
  /** The files that are to notice it, the quickest first, as far as one does; absent: all are tried. */
  readonly tests?: readonly string[];
}

const TIER_TESTS = [
  'policy/evaluate-tiers',
  'dataplane/nftables/tiers',
  'scenarios/evaluator',
  'scenarios/traced',
  'property/nft-rules-agree',
  'property/rules-agree',
  'property/tiers-agree',
  'property/nft-updates',
  'property/updates',
  'compile/incremental',
];
const TRACED_FIRST = ['scenarios/traced', ...TIER_TESTS];
const NFTABLES_FIRST = ['dataplane/nftables/tiers', ...TIER_TESTS];

const MUTANTS: readonly Mutant[] = [
  // --- policy/
  {
    title: 'NotIn wants the key to be there (S-17)',
    file: 'src/policy/selector.ts',
    line: 'return value === undefined || !holdsValue(requirement.values, value);',
    broken: 'return value !== undefined && !holdsValue(requirement.values, value);',
  },
  {
    title: 'Exists does not see an empty value (S-17)',
    file: 'src/policy/selector.ts',
    line: "    case 'Exists':\n      return value !== undefined;",
    broken: "    case 'Exists':\n      return value !== undefined && value !== '';",
  },
  {
    title: 'policyTypes never default to Egress (S-12)',
    file: 'src/policy/parse.ts',
    line: 'egress: hasEgressRules(spec.egress) };',
    broken: 'egress: false };',
  },
  {
    title: 'a port without protocol is UDP (S-34)',
    file: 'src/policy/parse.ts',
    line: "const protocol = raw.protocol ?? 'TCP';",
    broken: "const protocol = raw.protocol ?? 'UDP';",
  },
  {
    title: 'endPort is ignored (S-37)',
    file: 'src/policy/parse.ts',
    line: 'raw.endPort ?? port, field, problems);',
    broken: 'port, field, problems);',
  },
  {
    title: 'a subject selector that cannot be read selects nobody (S-19)',
    file: 'src/policy/parse.ts',
    line: 'return { podSelector: EVERYTHING, isolates, sections: NO_SECTIONS };',
    broken: 'return { podSelector, isolates, sections: NO_SECTIONS };',
  },
  {
    title: 'a peer with an unreadable except keeps its cidr (S-31)',
    file: 'src/policy/parse.ts',
    line: 'if (!hole) return matchesNothing(`${field}.except[${index}]`, `is ${quote(entry)}, not a CIDR`, problems);',
    broken: 'if (!hole) continue;',
  },
  {
    title: 'the evaluator asks only one side (S-06)',
    file: 'src/policy/evaluate.ts',
    line: 'allowed: letsPass(egress) && letsPass(ingress)',
    broken: 'allowed: letsPass(egress) || letsPass(ingress)',
  },
  {
    title: 'the evaluator exempts every node (S-60)',
    file: 'src/policy/evaluate.ts',
    line: 'subjects.some(({ nodeName }) => nodeName === flow.fromNode)',
    broken: 'flow.fromNode !== undefined',
  },
  {
    title: 'the pod that showed an address first keeps it (S-73)',
    file: 'src/policy/address-owners.ts',
    line: 'return addressSince(pod, address) - addressSince(other, address);',
    broken: 'return addressSince(other, address) - addressSince(pod, address);',
  },
  {
    title: 'host-network pods count as pods (S-64)',
    file: 'src/policy/address-owners.ts',
    line: 'return !pod.hostNetwork && pod.addresses.length > 0',
    broken: 'return pod.addresses.length > 0',
  },
  {
    title: 'finished pods keep their addresses (S-71)',
    file: 'src/policy/address-owners.ts',
    line: "    case 'Failed':\n      return true;",
    broken: "    case 'Failed':\n      return false;",
  },
  {
    title: 'terminating pods count no more (S-72)',
    file: 'src/policy/address-owners.ts',
    line: 'pod.addresses.length > 0 && !isFinished(pod.phase);',
    broken: 'pod.addresses.length > 0 && !isFinished(pod.phase) && !pod.terminating;',
  },
  // --- cluster/
  {
    title: 'only the first of podIPs is read (S-57)',
    file: 'src/cluster/project.ts',
    line: "podIP === '') return unique(addresses);",
    broken: "podIP === '') return unique(addresses).slice(0, 1);",
  },
  {
    title: 'ports of plain init containers count (S-45)',
    file: 'src/cluster/project.ts',
    line: "(field === 'initContainers' && container.restartPolicy !== 'Always')",
    broken: "(field === 'initContainers' && container.restartPolicy === 'Never')",
  },
  {
    title: 'a namespace without its name label has no name (S-21)',
    file: 'src/cluster/project.ts',
    line: 'const isComplete = given === UNKNOWN_LABELS || Object.hasOwn(given, NAMESPACE_NAME_LABEL);',
    broken: 'const isComplete = true;',
  },
  {
    title: 'a list that was partly unreadable deletes what it did not name',
    file: 'src/cluster/attempt.ts',
    line: 'sink.endList(clock.now(), !this.#facts.lost && isBelieved)',
    broken: 'sink.endList(clock.now(), isBelieved)',
  },
  // --- net/
  {
    title: 'excepts are forgotten (S-28)',
    file: 'src/net/address-space.ts',
    line: '.difference(AddressSpace.fromCidrs(family, except)),',
    broken: ',',
  },
  {
    title: "one block's except takes from another block (S-28)",
    file: 'src/net/address-space.ts',
    line: '(inThis, inOther) => inThis || inOther);',
    broken: '(inThis, inOther) => inThis && inOther);',
  },
  {
    title: 'port ranges that touch lose their end (S-37)',
    file: 'src/net/port-range.ts',
    line: 'last: range.last };\n  }\n  return merged',
    broken: 'last: previous.last };\n  }\n  return merged',
  },
  // --- compile/
  {
    title: 'a named port takes any protocol (S-40)',
    file: 'src/compile/peer-sets.ts',
    line: '({ protocol, name }) => names.get(protocol)?.has(name)',
    broken: '({ name }) => [...names.values()].some((each) => each.has(name))',
  },
  {
    title: 'a pod of an unknown namespace matches every namespaceSelector (S-22)',
    file: 'src/compile/peer-sets.ts',
    line: 'return namespace !== undefined && matches(selector, namespace.labels);',
    broken: 'return namespace === undefined || matches(selector, namespace.labels);',
  },
  {
    title: "the node's own addresses may be a pod's (S-64)",
    file: 'src/compile/address-directory.ts',
    line: 'return this.#own.has(address) ? undefined : ownerIn(this.#claims.get(address));',
    broken: 'return ownerIn(this.#claims.get(address));',
  },
  {
    title: 'a late deletion of one pod takes the address from the other (S-73)',
    file: 'src/compile/address-directory.ts',
    line: 'list.filter((each) => objectKey(each) !== key);',
    broken: 'list.filter((each) => objectKey(each) === key);',
  },
  {
    title: 'names of policies are glued together in the key of a policy group',
    file: 'src/compile/selected.ts',
    line: 'policies.map((policy) => [policy.namespace, policy.name])',
    broken: 'policies.map((policy) => `${policy.namespace}-${policy.name}`)',
  },
  // --- render/
  {
    title: 'IPv6 pods are in the buckets of decimal numbers',
    file: 'src/dataplane/iptables/rules/low-bits.ts',
    line: "return tail === '' ? 0 : Number.parseInt(tail, 16);",
    broken: "return tail === '' ? 0 : Number.parseInt(tail, 10);",
  },
  {
    title: 'the verdict comes before the rules that allow',
    file: 'src/dataplane/iptables/render/endpoint-chain.ts',
    line: 'const rules = [...head, ...allows, ...tail.slice(0, -1), ...counts, ...tail.slice(-1), ...legend];',
    broken: 'const rules = [...head, ...tail.slice(0, -1), ...counts, ...tail.slice(-1), ...allows, ...legend];',
  },
  {
    title: 'answers to a node are judged (S-60)',
    file: 'src/dataplane/iptables/render/render-node.ts',
    line: "rule([isReply], hook === 'FORWARD' ? { kind: 'goto', chain: REPLY_CHAIN } : RETURN),",
    broken: "rule([isReply], { kind: 'goto', chain: REPLY_CHAIN }),",
  },
  {
    title: 'the trunk exemption asks for the interface alone (S-60)',
    file: 'src/dataplane/iptables/render/dispatch.ts',
    line: "[{ kind: 'in-interface-prefix', prefix }, { kind: 'source-is-local' }]",
    broken: "[{ kind: 'in-interface-prefix', prefix }]",
  },
  {
    title: 'what a pod sends to its own node is not looked at (S-61)',
    file: 'src/dataplane/iptables/render/render-node.ts',
    line: "INPUT: new Chain('INPUT', HOOK, hookRules(family, layout, INPUT_CHAIN, INPUT_RECHECK_CHAIN)),",
    broken: "INPUT: new Chain('INPUT', HOOK, []),",
  },
  {
    title: 'live flows that were not judged by the rules in force pass (S-67)',
    file: 'src/dataplane/iptables/render/render-node.ts',
    line: "return [first, rule([{ kind: 'stale-mark' }], { kind: 'jump', chain: againChain })];",
    broken: 'return [first];',
  },
  {
    title: 'a pod does not reach itself through a Service (S-62)',
    file: 'src/dataplane/iptables/render/endpoint-chain.ts',
    line: "return [hairpin, rule([isLive], { kind: 'set-denied-flag' }), ...log, rule([], DROP)];",
    broken: "return [rule([isLive], { kind: 'set-denied-flag' }), ...log, rule([], DROP)];",
  },
  {
    title: 'neighbour solicitations are judged (S-58)',
    file: 'src/dataplane/iptables/rules/neighbour-discovery.ts',
    line: '{ code: IF_AT_LEAST, value: 133,',
    broken: '{ code: IF_AT_LEAST, value: 136,',
  },
  {
    title: 'INVALID packets are judged by their addresses (S-69)',
    file: 'src/dataplane/iptables/render/endpoint-chain.ts',
    line: "return layout.mode === 'enforce' ? [rule([{ kind: 'conntrack', states: ['INVALID'] }], DROP)] : [];",
    broken: 'return [];',
  },
  {
    title: 'ICMP errors of denied flows pass (S-07, S-67)',
    file: 'src/dataplane/iptables/render/render-node.ts',
    line: "rule([...icmpError, { kind: 'denied-flag', set: false }], RETURN),",
    broken: 'rule(icmpError, RETURN),',
  },
  {
    title: 'answers are looked for at the ports of the questions',
    file: 'src/dataplane/iptables/rules/reverse.ts',
    line: "return { ...match, kind: 'source-ports' };",
    broken: 'return match;',
  },
  {
    title: 'quotation marks of names stay in comments',
    file: 'src/dataplane/iptables/rules/write-text.ts',
    line: String.raw`text.replace(/[^ !#-&(-[\]-~]/g, '?')`,
    broken: "text.replace(/[^ -~]/g, '?')",
  },
  // --- plan/
  {
    title: 'members leave before the rules change (S-09)',
    file: 'src/dataplane/iptables/plan/diff.ts',
    line: 'const fill = [...sets.gate.leave, ...sets.fill, ...families.flatMap((family) => family.fill)];',
    broken:
      'const fill = [...sets.gate.leave, ...sets.fill, ...families.flatMap((family) => [...family.fill, ...family.changes.flatMap(({ removals }) => removals)])];',
  },
  {
    title: 'an update of sets and rules goes in two halves (S-09)',
    file: 'src/dataplane/iptables/plan/diff.ts',
    line: 'isSeenByOther || needsInterimRules(changes, moves, now, after);',
    broken: 'false;',
  },
  {
    title: 'a tightened chain does not make live flows be judged again (S-67)',
    file: 'src/dataplane/iptables/plan/revokes.ts',
    line: 'return yield* dispatchRevokes(dispatch, chains, actual);',
    broken: 'return false;',
  },
  {
    title: 'a member that leaves does not make live flows be judged again (S-67)',
    file: 'src/dataplane/iptables/plan/diff.ts',
    line: 'const revokes = changes.some((change) => change.revokes) || ',
    broken: 'const revokes = ',
  },
  {
    title: 'a flow that outlives its pod becomes the flow of the next one (S-67, S-73)',
    file: 'src/dataplane/iptables/plan/diff.ts',
    line: 'const isReassigned = desired.directory.reassignedSince(gone, options.released?.revision ?? 0);',
    broken: 'const isReassigned = false;',
  },
  {
    title: 'the epoch after the last is the one that means "never judged"',
    file: 'src/dataplane/mark-bits.ts',
    line: 'return (current % epochCount(marks)) + 1;',
    broken: 'return (current + 1) % (epochCount(marks) + 1);',
  },
  {
    title: 'a jump that is no longer first stays where it is',
    file: 'src/dataplane/iptables/plan/hooks.ts',
    line: 'return !isInPlace || hooks[hook]',
    broken: 'return hooks[hook]',
  },
  {
    title: 'chains with similar names are taken for ours',
    file: 'src/dataplane/chain-names.ts',
    line: 'return name.startsWith(`${PREFIX}-`);',
    broken: 'return name.startsWith(PREFIX);',
  },
  // --- tiers of cluster-wide policies
  {
    title: 'the evaluator takes a Pass for an Accept (N-63)',
    file: 'src/policy/evaluate-tiers.ts',
    line: "return action === 'Pass' ? { action: undefined, passedBy: [ref] } : { action, by: ref, passedBy: [] };",
    broken: "return { action: action === 'Pass' ? 'Accept' : action, by: ref, passedBy: [] };",
    tests: TIER_TESTS,
  },
  {
    title: 'the evaluator asks Baseline behind a NetworkPolicy that isolates (N-65)',
    file: 'src/policy/evaluate-tiers.ts',
    line: 'if (isIsolated) return passed(verdict, first.passedBy);',
    broken: '',
    tests: TIER_TESTS,
  },
  {
    title: 'the evaluator exempts what a pod sends itself through a Service (N-71)',
    file: 'src/policy/evaluate-tiers.ts',
    line: 'const isOwnService = connection.flow.viaService === true && ',
    broken: 'const isOwnService = connection.flow.viaService === undefined && ',
    tests: TIER_TESTS,
  },
  {
    title: 'the evaluator looks at the last of equal priorities first (N-67)',
    file: 'src/policy/evaluate-tiers.ts',
    line: '(a.name < b.name ? -1 : 1)',
    broken: '(a.name < b.name ? 1 : -1)',
    tests: TIER_TESTS,
  },
  {
    title: 'a Deny with an entry that is not understood denies the rest alone (N-90)',
    file: 'src/policy/parse-cluster-policy.ts',
    line: 'return whole.length > 0 || (entries.length > 0 && !isAccept) ? distrusted(head)',
    broken: 'return whole.length > 0 ? distrusted(head)',
    tests: TIER_TESTS,
  },
  {
    title: 'a subject that is not understood is nobody (N-91)',
    file: 'src/policy/parse-cluster-policy.ts',
    line: 'subject: subject ?? { namespaces: EVERYTHING, pods: EVERYTHING },',
    broken: "subject: subject ?? { namespaces: { kind: 'nothing', reason: '' }, pods: EVERYTHING },",
    tests: TIER_TESTS,
  },
  {
    title: 'the higher priority is looked at first (N-11)',
    file: 'src/compile/tiers/tier-order.ts',
    line: 'a.priority - b.priority ||',
    broken: 'b.priority - a.priority ||',
    tests: TIER_TESTS,
  },
  {
    title: 'of equal priorities the last name is looked at first (N-67)',
    file: 'src/compile/tiers/tier-order.ts',
    line: 'compareText(a.name, b.name)',
    broken: 'compareText(b.name, a.name)',
    tests: TIER_TESTS,
  },
  {
    title: 'rules are merged over those of another action (N-61)',
    file: 'src/compile/tiers/compile-tier.ts',
    line: 'if (last && last[0]!.rule.action === action && ',
    broken:
      'const same = runs.find(([first]) => first!.rule.action === action);\n    if (same) same.push(each);\n    else if (last && last[0]!.rule.action === action && ',
    tests: TIER_TESTS,
  },
  {
    title: 'in doubt a Deny does not deny (N-93)',
    file: 'src/compile/tiers/compile-tier.ts',
    line: "if (context.hasDoubts && action !== 'Accept') rules.push",
    broken: "if (context.hasDoubts && action === 'Accept') rules.push",
    tests: TIER_TESTS,
  },
  {
    title: 'a name of a port matches where a network is the peer (N-55)',
    file: 'src/compile/tiers/compile-tier.ts',
    line: "const pods = known === 'any' ? known : known.filter(({ kind }) => kind === 'pods');",
    broken: 'const pods = known;',
    tests: TIER_TESTS,
  },
  {
    title: 'peers that are nodes are left out (N-44)',
    file: 'src/compile/tiers/compile-tier.ts',
    line: 'if (selectors.length === 0) return [];',
    broken: 'if (selectors.length >= 0) return [];',
    tests: TIER_TESTS,
  },
  {
    title: 'every node is in a set of nodes (N-44)',
    file: 'src/compile/tiers/node-sets.ts',
    line: "certainty(selector, labels) === 'yes'",
    broken: "certainty(selector, labels) !== 'maybe'",
    tests: TIER_TESTS,
  },
  {
    title: 'Baseline is asked before NetworkPolicy (N-60)',
    file: 'src/compile/tiers/cluster-tiers.ts',
    line: 'stages: [...(admin ? [admin] : []), ...(own?.stages ?? []), ...(baseline ? [baseline] : [])],',
    broken:
      "stages: [admin, stageOf('Baseline', direction, tiers.Baseline)?.stage, ...(own?.stages ?? [])].filter((each) => each !== undefined),",
    tests: TIER_TESTS,
  },
  {
    title: 'labels of a namespace that change leave subjects as they were (N-40)',
    file: 'src/compile/tiers/cluster-tiers.ts',
    line: 'this.#concerns.delete(name);',
    broken: '',
    tests: TRACED_FIRST,
  },
  {
    title: 'pods that no NetworkPolicy isolates are no subjects (N-40)',
    file: 'src/compile/tiers/tiered-endpoints.ts',
    line: 'if (Object.keys(made).length + Object.keys(audits).length === 0) return [];',
    broken: 'if (own === undefined) return [];',
    tests: TRACED_FIRST,
  },
  {
    title: 'iptables: a Pass allows (N-63)',
    file: 'src/dataplane/iptables/render/tiered-chain.ts',
    line: "isPassed ? { ...targets, Pass: to('next') } : targets)",
    broken: 'targets)',
    tests: TRACED_FIRST,
  },
  {
    title: 'iptables: a Deny allows (N-62)',
    file: 'src/dataplane/iptables/render/tiered-chain.ts',
    line: 'Deny: (by) => to(end, denying.numberOf(by)), Pass: RETURN };',
    broken: 'Deny: () => RETURN, Pass: RETURN };',
    tests: TRACED_FIRST,
  },
  {
    title: 'iptables: the last rule of a tier is asked first (N-61)',
    file: 'src/dataplane/iptables/render/tiered-chain.ts',
    line: 'return [...asked.values()];',
    broken: 'return [...asked.values()].reverse();',
    tests: TRACED_FIRST,
  },
  {
    title: 'iptables: answers are asked for the ports of the questions',
    file: 'src/dataplane/iptables/render/tiered-chain.ts',
    line: 'return replies ? rules.map((each) => (each.by ? reverse(each) : each)) : rules;',
    broken: 'return rules;',
    tests: ['dataplane/iptables/render/tiered-chain', ...TIER_TESTS],
  },
  {
    title: 'iptables: chains of other actions have the same name',
    file: 'src/dataplane/iptables/render/tiered-chain.ts',
    line: 'JSON.stringify([...keys, family, layout, meaning])',
    broken: 'JSON.stringify([...keys, family, layout])',
    tests: ['dataplane/iptables/render/tiered-chain', ...TIER_TESTS],
  },
  {
    title: 'iptables: a pod reaches itself through a Service whatever its tiers say (N-71)',
    file: 'src/dataplane/iptables/render/tiered-chain.ts',
    line: 'const [, ...tail] = tailRules(',
    broken: 'const [...tail] = tailRules(',
    tests: TRACED_FIRST,
  },
  {
    title: 'nftables: a Pass allows (N-63)',
    file: 'src/dataplane/nftables/render/tiered-chains.ts',
    line: 'isPassed ? goesOn : RETURN)',
    broken: 'RETURN)',
    tests: NFTABLES_FIRST,
  },
  {
    title: 'nftables: a Deny allows (N-62)',
    file: 'src/dataplane/nftables/render/tiered-chains.ts',
    line: "({ kind: 'goto', chain: to(end, denying.numberOf(by)) });",
    broken: 'by.length > 0 ? RETURN : goesOn;',
    tests: NFTABLES_FIRST,
  },
  {
    title: 'nftables: the last rule of a tier is asked first (N-61)',
    file: 'src/dataplane/nftables/render/tiered-chains.ts',
    line: 'return [...asked.values()];',
    broken: 'return [...asked.values()].reverse();',
    tests: NFTABLES_FIRST,
  },
  {
    title: 'nftables: answers are asked for the ports of the questions',
    file: 'src/dataplane/nftables/render/tiered-chains.ts',
    line: 'asked.set(key, replies ? reverse(whole) : whole);',
    broken: 'asked.set(key, whole);',
    tests: NFTABLES_FIRST,
  },
  {
    title: 'nftables: Baseline and NetworkPolicy are left out behind a Pass (N-63)',
    file: 'src/dataplane/nftables/render/tiered-chains.ts',
    line: 'const behind = program.stages.filter((stage) => stage !== ahead);',
    broken: "const behind = program.stages.filter((stage) => stage !== ahead && stage.tier !== 'Baseline');",
    tests: NFTABLES_FIRST,
  },
  {
    title: 'a Deny that appears does not make live flows be judged again (N-70)',
    file: 'src/dataplane/judgement.ts',
    line: 'return passed < stops.length;',
    broken: 'return false;',
    tests: NFTABLES_FIRST,
  },
  {
    title: 'an Accept that goes behind a Deny does not make live flows be judged again (N-70)',
    file: 'src/dataplane/judgement.ts',
    line: '> passed) return true;',
    broken: '> passed && !earliest.has(text)) return true;',
    tests: NFTABLES_FIRST,
  },
  {
    title: 'a Pass that goes does not make live flows be judged again (N-70)',
    file: 'src/dataplane/judgement.ts',
    line: "else if (action === 'pass') return true;",
    broken: "else if (action === 'pass') passed += 0;",
    tests: ['dataplane/iptables/plan/revokes', ...TIER_TESTS],
  },
];

const FOLDERS = [
  'policy',
  'net',
  'cluster',
  'compile',
  'dataplane',
  'agent',
  'scenarios',
  'golden',
  'property',
  'fuzz',
];

const all = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, 'test', folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join('test', folder, name)),
);
all.push('test/conformance-clauses.test.ts');

const isQuick = process.argv.includes('--quick');
const words = process.argv.slice(2).filter((word) => word !== '--quick');
const TABLE = readFileSync(join(ROOT, 'docs/conformance.md'), 'utf8');
const chosen = MUTANTS.filter(({ title }) => words.length === 0 || words.some((word) => title.includes(word)));
const copy = mkdtempSync(join(tmpdir(), 'portcullis-mutants-'));
/** Whether a file passes without any mutant. */
const sound = new Map<string, boolean>();
let missed = 0;
try {
  for (const entry of [
    'src',
    'test',
    'lab',
    'scripts',
    'README.md',
    'package.json',
    '.mocharc.json',
    'docs',
    'examples',
    'manifests',
  ])
    cpSync(join(ROOT, entry), join(copy, entry), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  const before = chosen.some((mutant) => !testsOf(mutant)) ? failing(all) : [];
  if (before.length > 0) throw new Error(`these fail without any mutant: ${before.join(', ')}`);
  console.log('| broken line | noticed by |\n|---|---|');
  for (const mutant of chosen) {
    const noticed = tryMutant(mutant);
    if (noticed.length === 0) missed++;
    console.log(`| ${mutant.title} | ${noticed.map(shortName).join(', ') || '**nobody**'} |`);
  }
} finally {
  rmSync(copy, { recursive: true });
}
process.exitCode = missed > 0 ? 1 : 0;

/** Undefined: all are tried. */
function testsOf({ title, tests }: Mutant): readonly string[] | undefined {
  if (tests || !isQuick) return tests;
  const row = TABLE.split('\n').find((each) => each.startsWith(`| ${title} | `));
  return row?.slice(title.length + 5, -2).split(', ');
}

function tryMutant(mutant: Mutant): readonly string[] {
  const { title, file, line, broken } = mutant;
  const tests = testsOf(mutant);
  const path = join(copy, file);
  const source = readFileSync(path, 'utf8');
  if (source.split(line).length !== 2) {
    console.error(`${title}: its line is not, or not once, in ${file}`);
    missed++;
    return ['(line not found)'];
  }
  writeFileSync(
    path,
    source.replace(line, () => broken),
  );
  try {
    if (!tests) return failing(all);
    for (const test of tests) {
      // Scenarios of tiers are few among the others.
      const which = mutant.tests && test.startsWith('scenarios/') ? ['--grep', '^scenarios.* T-\\d'] : [];
      const noticed = failing([fileOf(test)], ['--bail', ...which]);
      if (noticed.length === 0) continue;
      writeFileSync(path, source);
      if (isSound(fileOf(test))) return noticed;
      console.error(`${test} fails without any mutant: it tells nothing`);
      writeFileSync(
        path,
        source.replace(line, () => broken),
      );
    }
    return [];
  } finally {
    writeFileSync(path, source);
  }
}

function isSound(file: string): boolean {
  const known = sound.get(file) ?? failing([file]).length === 0;
  sound.set(file, known);
  return known;
}

/** Of these test files the ones with a test that fails, by their paths from `test/`. */
function failing(files: readonly string[], more: readonly string[] = []): readonly string[] {
  const output = join(copy, 'result.json');
  rmSync(output, { force: true });
  const mocha = join(copy, 'node_modules/.bin/mocha');
  const report = ['--reporter', 'json', '--reporter-option', `output=${output}`];
  const args = [...report, ...more, '--timeout', '120000', ...files];
  spawnSync(process.execPath, [mocha, ...args], { cwd: copy, timeout: TIMEOUT_MS, stdio: 'ignore' });
  if (!existsSync(output)) throw new Error(`the tests did not end within ${TIMEOUT_MS / 1000} s`);
  const { failures } = JSON.parse(readFileSync(output, 'utf8')) as { failures: readonly { file: string }[] };
  return [...new Set(failures.map(({ file }) => file.slice(file.indexOf('/test/') + 6)))].sort();
}

/** `policy/parse` -> `test/policy/parse.test.ts` */
function fileOf(name: string): string {
  return `test/${name}.test.ts`;
}

function shortName(file: string): string {
  return file.replace('.test.ts', '');
}
