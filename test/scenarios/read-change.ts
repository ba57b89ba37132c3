/** What happens in a step: policies as YAML, everything else as one line of a list. */
import { POLICY_MODES, type PolicyMode } from '../../src/core/vocabulary.ts';
import type { PodPhase } from '../../src/policy/model.ts';
import { clusterPolicyObject, policyObject } from '../support/builders.ts';
import { defaultPod } from './read-cluster.ts';
import type { Change, LabelPatch } from './scenario.ts';
import { asMapping, fail, oneOf, onlyKeys, podName, type Source, type YamlDocument } from './source.ts';

const PHASES: readonly PodPhase[] = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'];

/** `NetworkPolicy: x/deny-all` or `ClusterNetworkPolicy: guard` and its `spec`, as the API has it; odd ones too, but never without either. */
export function readPolicy({ value, source }: YamlDocument): Change {
  if ('ClusterNetworkPolicy' in value) {
    onlyKeys(value, ['ClusterNetworkPolicy', 'spec'], source, 'a policy');
    const name = String(value.ClusterNetworkPolicy);
    if (name.includes('/')) fail(source, `"${name}" is of the whole cluster and has no namespace`);
    return { kind: 'apply', object: clusterPolicyObject(name, asMapping(value.spec, source, 'spec')) };
  }
  onlyKeys(value, ['NetworkPolicy', 'spec'], source, 'a policy');
  const key = podName(value.NetworkPolicy, source);
  return { kind: 'apply', object: policyObject(key, asMapping(value.spec, source, 'spec')) };
}

type Reader = (words: readonly string[], source: Source) => Change;

/** Each line that a step may have, with the names it holds in parentheses. */
const LINES: readonly (readonly [form: string, pattern: RegExp, read: Reader])[] = [
  [
    'delete policy x/p',
    /^delete policy (\S+)$/,
    ([policy], at) => ({ kind: 'delete-policy', policy: podName(policy, at) }),
  ],
  [
    'set mode of policy x/p to audit|enforce|none',
    /^set mode of policy (\S+) to (\S+)$/,
    ([policy, mode], at) => ({ kind: 'set-mode', object: podName(policy, at), mode: readMode(mode, at) }),
  ],
  [
    'set mode of namespace x to audit|enforce|none',
    /^set mode of namespace ([^\s/]+) to (\S+)$/,
    ([namespace = '', mode], at) => ({ kind: 'set-mode', object: namespace, mode: readMode(mode, at) }),
  ],
  [
    'delete cluster policy p',
    /^delete cluster policy ([^\s/]+)$/,
    ([policy = '']) => ({ kind: 'delete-cluster-policy', policy }),
  ],
  [
    'label node node-1 key=value key-',
    /^label node (\S+) (.+)$/,
    ([node = '', labels = ''], at) => ({ kind: 'label-node', node, labels: readPatch(labels, at) }),
  ],
  ['delete pod x/a', /^delete pod (\S+)$/, ([pod], at) => ({ kind: 'delete-pod', pod: podName(pod, at) })],
  ['terminate pod x/a', /^terminate pod (\S+)$/, ([pod], at) => ({ kind: 'terminate', pod: podName(pod, at) })],
  [
    'label namespace x key=value key-',
    /^label namespace (\S+) (.+)$/,
    ([namespace = '', labels = ''], at) => ({ kind: 'label-namespace', namespace, labels: readPatch(labels, at) }),
  ],
  [
    'label pod x/a key=value key-',
    /^label pod (\S+) (.+)$/,
    ([pod, labels = ''], at) => ({ kind: 'label-pod', pod: podName(pod, at), labels: readPatch(labels, at) }),
  ],
  [
    'set phase of pod x/a to Succeeded',
    /^set phase of pod (\S+) to (\S+)$/,
    ([pod, phase], at) => ({ kind: 'set-phase', pod: podName(pod, at), phase: oneOf(phase, PHASES, at, 'phase') }),
  ],
  [
    'publish all|none|only4|only6 of the addresses of pod x/a',
    /^publish (\S+) of the addresses of pod (\S+)$/,
    ([which, pod], at) => ({
      kind: 'publish-addresses',
      pod: podName(pod, at),
      addresses: oneOf(which, ['none', 'only4', 'only6', 'all'], at, 'which'),
    }),
  ],
  [
    'create pod x/a on node-1 [labelled key=value] [with the addresses of x/b]',
    /^create pod (\S+) on (\S+)(?: labelled (.+?))?(?: with the addresses of (\S+))?$/,
    readCreate,
  ],
];

/** `text`: the line without its dash. */
export function readChange(text: string, source: Source): Change {
  for (const [, pattern, read] of LINES) {
    const match = pattern.exec(text);
    if (match !== null) return read(match.slice(1), source);
  }
  return fail(source, `"${text}" is none of these changes:\n${LINES.map(([form]) => `  - ${form}`).join('\n')}`);
}

function readCreate([key, node, labels, other]: readonly (string | undefined)[], source: Source): Change {
  const pod = defaultPod(podName(key, source), oneOf(node, ['node-1', 'node-2'], source, 'node'));
  const own = labels === undefined ? {} : { labels: labelsOnly(readPatch(labels, source), source) };
  return {
    kind: 'create-pod',
    pod: { ...pod, ...own },
    ...(other === undefined ? {} : { addressesOf: podName(other, source) }),
  };
}

function readMode(text: string | undefined, source: Source): PolicyMode | null {
  const mode = oneOf(text, [...POLICY_MODES, 'none'] as const, source, 'mode');
  return mode === 'none' ? null : mode;
}

/** As kubectl has it: `key=value` sets a label, `key-` takes it away. */
function readPatch(text: string, source: Source): LabelPatch {
  return Object.fromEntries(
    text.split(' ').map((word): [string, string | null] => {
      const match = /^([^\s=]+?)(?:=(\S*)|-)$/.exec(word);
      return match === null ? fail(source, `"${word}" is neither key=value nor key-`) : [match[1]!, match[2] ?? null];
    }),
  );
}

function labelsOnly(patch: LabelPatch, source: Source): Readonly<Record<string, string>> {
  const entries = Object.entries(patch).map(([key, value]): [string, string] => {
    return value === null ? fail(source, `a new pod has no label ${key} to take away`) : [key, value];
  });
  return Object.fromEntries(entries);
}
