/** Suite *flows*: the matrix of a whole cluster, the difference that an edit makes, and the same by asking the evaluator pair by pair. */
import type { ClusterSnapshot, Flow } from '../src/policy/model.ts';
import { snapshotFromObjects } from '../src/cluster/read-manifests.ts';
import { createEvaluator, type Evaluator } from '../src/policy/evaluate.ts';
import { changesBetween } from '../src/policy/matrix/changes.ts';
import { groupEnds } from '../src/policy/matrix/groups.ts';
import { FlowMatrix } from '../src/policy/matrix/matrix.ts';
import { nodeObject } from '../test/support/api-objects.ts';
import { ClusterModel, podObject } from './cluster-model.ts';
import { interleave } from './interleave.ts';
import { describeMachine } from './machine.ts';
import { pick, randomFrom } from './random.ts';
import { type Summary, ratio, time } from './statistics.ts';
import { targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult } from './types.ts';

interface Size {
  readonly pods: number;
  readonly policies: number;
  readonly namespaces: number;
}

const FULL: Size = { pods: 10_000, policies: 1000, namespaces: 250 };
const SMALL: Size = { pods: 500, policies: 50, namespaces: 20 };
const TIER_POLICIES = 50;
const NODES = 200;
/** Flows that the evaluator judges one by one; all pairs would take days. */
const ASKED = { full: 40, quick: 20 };

interface Measured {
  readonly name: string;
  readonly seconds: Summary;
}

export async function run({ quick, rounds = quick ? 1 : 3 }: SuiteOptions): Promise<SuiteResult> {
  const size = quick ? SMALL : FULL;
  const plain = clusterOf(size, []);
  const tiered = clusterOf(size, tierPolicies());
  const found: { plain?: FlowMatrix; tiered?: FlowMatrix; changes: number } = { changes: 0 };
  const edited = clusterOf(
    size,
    tierPolicies().with(0, { ...tierPolicy(0), spec: { ...tierSpec(0), tier: 'Baseline' } }),
  );
  const flows = someFlows(tiered, quick ? ASKED.quick : ASKED.full);
  const evaluators = { plain: createEvaluator(plain), tiered: createEvaluator(tiered) };
  const sides = [
    { name: 'matrix', run: () => Object.assign(found, { plain: new FlowMatrix([plain]) }) },
    {
      name: `matrix, ${TIER_POLICIES} cluster-wide policies`,
      run: () => Object.assign(found, { tiered: new FlowMatrix([tiered]) }),
    },
    {
      name: `diff, one of these ${TIER_POLICIES} edited`,
      run: () => Object.assign(found, { changes: changesIn(tiered, edited) }),
    },
    { name: 'one flow by the evaluator', per: flows.length, run: () => judgeAll(evaluators.plain, flows) },
    {
      name: 'one flow by the evaluator, with these',
      per: flows.length,
      run: () => judgeAll(evaluators.tiered, flows),
    },
  ];
  const summaries = interleave(rounds, sides, quick ? 0 : 1);
  const measured = sides.map(({ name }, index): Measured => ({ name, seconds: summaries[index]! }));
  const [matrix, withTiers, diff, pair, tieredPair] = measured.map(({ seconds }) => seconds.median) as number[];
  const pairs = size.pods * (size.pods - 1);
  return {
    suite: 'flows',
    machine: describeMachine(),
    tables: [
      ...(quick
        ? []
        : [
            targetsTable([
              {
                what: 'matrix of 10,000 pods under 1,000 policies',
                measured: matrix!,
                limit: 10,
                kind: 'at-most',
                unit: 's',
              },
              {
                what: 'the same with 50 cluster-wide policies',
                measured: withTiers!,
                limit: 10,
                kind: 'at-most',
                unit: 's',
              },
              { what: 'what an edit of one of these changes', measured: diff!, limit: 20, kind: 'at-most', unit: 's' },
            ]),
          ]),
      {
        title: `${size.pods.toLocaleString('en-US')} pods, ${size.policies.toLocaleString('en-US')} NetworkPolicies`,
        note: 'Classes: of ends and of ports, within which no verdict differs. Pair by pair: one flow by the evaluator, times all pairs of pods and all classes of ports, beside the matrix that says the same.',
        columns: [
          'policies',
          'classes of ends',
          'of ports',
          'matrix',
          'one flow by the evaluator',
          'pair by pair / matrix',
        ],
        rows: [
          row('NetworkPolicies', found.plain!, matrix!, pair!, pairs),
          row(`and ${TIER_POLICIES} cluster-wide`, found.tiered!, withTiers!, tieredPair!, pairs),
        ],
      },
      {
        title: 'an edit of a cluster-wide policy',
        columns: ['what', 'changes between groups', 'time'],
        rows: [['from tier Admin to Baseline', found.changes, time(diff!)]],
      },
    ],
    raw: { measured },
  };
}

function row(
  name: string,
  { classes, ports }: FlowMatrix,
  matrix: number,
  flow: number,
  pairs: number,
): readonly (string | number)[] {
  return [name, classes.length, ports.length, time(matrix), time(flow), ratio((flow * pairs * ports.length) / matrix)];
}

function clusterOf({ pods, policies, namespaces }: Size, tiers: readonly object[]): ClusterSnapshot {
  const model = new ClusterModel({ pods, policies, namespaces, localPods: 60, localNamespaces: 10 });
  const nodes = Array.from({ length: NODES }, (_, index) =>
    nodeObject(`node-${index}`, [`203.0.113.${index}`], { labels: { zone: `z${index % 3}` } }),
  );
  const objects = [
    ...model.namespaces,
    ...model.policies,
    ...nodes,
    ...model.pods.map((pod) => podObject(pod)),
    ...tiers,
  ];
  return snapshotFromObjects(
    objects.map((object, line) => ({ object, file: 'model', line })),
    { defaultNamespace: 'default' },
  );
}

function changesIn(before: ClusterSnapshot, after: ClusterSnapshot): number {
  const matrix = new FlowMatrix([before, after]);
  const groups = groupEnds(matrix, (kind, member) => {
    const [namespace = '', name = ''] = member.split('/');
    return kind === 'pod'
      ? { kind, namespace, name: name.split('-').slice(0, 2).join('-') }
      : { kind, namespace: '', name: kind };
  });
  return [...changesBetween(matrix, groups, groups, [...matrix.ports.keys()])].length;
}

function judgeAll(evaluator: Evaluator, flows: readonly Flow[]): number {
  return flows.filter((flow) => evaluator.evaluate(flow).allowed).length;
}

function someFlows({ pods }: ClusterSnapshot, count: number): readonly Flow[] {
  const random = randomFrom(0x51ed270b);
  const all = [...pods.values()];
  return Array.from({ length: count }, () => {
    const [source = '', destination = ''] = [pick(random, all), pick(random, all)].map(
      ({ addresses }) => addresses[0]!,
    );
    return { source, destination, protocol: 6, port: 8080 };
  });
}

// ------------------------------------------------------------------------------------------------------ cluster-wide policies

function tierPolicies(): readonly object[] {
  return Array.from({ length: TIER_POLICIES }, (_, index) => tierPolicy(index));
}

function tierPolicy(index: number): object {
  return {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: { name: `rails-${index}` },
    spec: tierSpec(index),
  };
}

/** Of a platform team: what is kept open, what is kept apart, and what is left to others. */
function tierSpec(index: number): object {
  const team = { matchLabels: { team: `t${index % 24}` } };
  const other = { matchLabels: { team: `t${(index + 7) % 24}` } };
  const environment = { matchLabels: { environment: ['prod', 'staging', 'dev'][index % 3] } };
  const frontends = { namespaceSelector: other, podSelector: { matchLabels: { tier: 'frontend' } } };
  const tcp = (number: number): object => ({ tcp: { destinationPort: { number } } });
  return {
    tier: index % 5 < 3 ? 'Admin' : 'Baseline',
    priority: index * 10,
    subject:
      index % 2 === 0
        ? { namespaces: team }
        : { pods: { namespaceSelector: environment, podSelector: { matchLabels: { tier: 'backend' } } } },
    ingress: [
      {
        name: 'monitoring',
        action: 'Accept',
        from: [{ namespaces: { matchLabels: { team: 't0' } } }],
        protocols: [tcp(9100)],
      },
      { name: 'frontends', action: 'Pass', from: [{ pods: frontends }], protocols: [{ destinationNamedPort: 'http' }] },
      { name: 'others', action: 'Deny', from: [{ namespaces: other }] },
    ],
    egress: [
      { name: 'metadata service', action: 'Deny', to: [{ networks: ['169.254.169.254/32'] }] },
      {
        name: 'nodes',
        action: 'Deny',
        to: [{ nodes: { matchLabels: { zone: `z${index % 3}` } } }],
        protocols: [tcp(10_250)],
      },
      { name: 'inside', action: 'Pass', to: [{ networks: ['10.0.0.0/8'] }] },
    ],
  };
}
