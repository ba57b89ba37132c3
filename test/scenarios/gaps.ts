/**
 * Cases that no public suite has. Missing because they are no reachability of new connections: G-11 (established flows), G-14
 * (restart, missed events, churn), the ICMP errors and the neighbour discovery of G-09, and G-16 (ClusterNetworkPolicy).
 */
import {
  apply,
  type Change,
  declares,
  icmp,
  labelled,
  named,
  nsIs,
  only,
  podIs,
  podSpec,
  type Scenario,
  sctp,
  type Step,
  step,
  tcp,
  through,
  topology,
  udp,
  where,
} from './scenario.ts';

const NAME_LABEL = 'kubernetes.io/metadata.name';
const OUTSIDE = [{ name: 'outside' }, { name: 'client' }];

/** x/a and y/a on node-1, x/b on node-2. */
const small = topology('x/ab y/a', { outside: OUTSIDE });

const ingressOfA = (name: string, ingress: readonly object[]): Change =>
  apply(`x/${name}`, { podSelector: podIs('a'), policyTypes: ['Ingress'], ingress });

const egressOfA = (name: string, egress: readonly object[]): Change =>
  apply(`x/${name}`, { podSelector: podIs('a'), policyTypes: ['Egress'], egress });

const denyAllOfX = apply('x/deny-all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });

// --- G-01: every row of the table of S-12; rules, where there are any, name pod b ---

const fromB = [{ from: [{ podSelector: podIs('b') }] }];
const toB = [{ to: [{ podSelector: podIs('b') }] }];

const typesOfA = (name: string, spec: object, table: string): Step =>
  named(name, step(apply('x/types', { podSelector: podIs('a'), ...spec }), tcp(80, table)));

const NO_INGRESS = `
         x/a x/b y/a
    x/a   -   .   .
    x/b   X   -   .
    y/a   X   .   -`;
const INGRESS_FROM_B = `
         x/a x/b y/a
    x/a   -   .   .
    x/b   .   -   .
    y/a   X   .   -`;
const NO_INGRESS_EGRESS_TO_B = `
         x/a x/b y/a
    x/a   -   .   X
    x/b   X   -   .
    y/a   X   .   -`;
const NO_EGRESS = `
         x/a x/b y/a
    x/a   -   X   X
    x/b   .   -   .
    y/a   .   .   -`;
const NOTHING = `
         x/a x/b y/a
    x/a   -   X   X
    x/b   X   -   .
    y/a   X   .   -`;
const BOTH_WITH_B = `
         x/a x/b y/a
    x/a   -   .   X
    x/b   .   -   .
    y/a   X   .   -`;

const policyTypes: Scenario = {
  id: 'G-01',
  title: 'policyTypes and what they default to',
  cites: ['S-11', 'S-12', 'S-13', 'S-14'],
  topology: small,
  steps: [
    typesOfA('absent, no sections', {}, NO_INGRESS),
    typesOfA('absent, empty sections', { ingress: [], egress: [] }, NO_INGRESS),
    typesOfA('absent, null sections', { ingress: null, egress: null }, NO_INGRESS),
    typesOfA('absent, ingress rules', { ingress: fromB, egress: [] }, INGRESS_FROM_B),
    typesOfA('absent, egress rules', { egress: toB }, NO_INGRESS_EGRESS_TO_B),
    typesOfA('absent, an egress rule that allows everything', { ingress: [], egress: [{}] }, NO_INGRESS),
    typesOfA('absent, rules in both', { ingress: fromB, egress: toB }, BOTH_WITH_B),
    typesOfA('null, egress rules', { policyTypes: null, egress: toB }, NO_INGRESS_EGRESS_TO_B),
    typesOfA('empty, no sections', { policyTypes: [] }, NO_INGRESS),
    typesOfA('empty, egress rules', { policyTypes: [], egress: toB }, NO_INGRESS_EGRESS_TO_B),
    typesOfA('Egress, the ingress section is ignored', { policyTypes: ['Egress'], ingress: fromB }, NO_EGRESS),
    typesOfA(
      'Egress, everything',
      { policyTypes: ['Egress'], ingress: [], egress: [{}] },
      `
         x/a x/b y/a
    x/a   -   .   .
    x/b   .   -   .
    y/a   .   .   -`,
    ),
    typesOfA('Ingress, the egress section is ignored', { policyTypes: ['Ingress'], egress: toB }, NO_INGRESS),
    typesOfA('Ingress twice', { policyTypes: ['Ingress', 'Ingress'], ingress: fromB, egress: toB }, INGRESS_FROM_B),
    typesOfA('both, no sections', { policyTypes: ['Ingress', 'Egress'] }, NOTHING),
    typesOfA(
      'both, in the other order, rules',
      { policyTypes: ['Egress', 'Ingress'], ingress: fromB, egress: toB },
      BOTH_WITH_B,
    ),
  ],
};

// --- G-02: who of four pods a peer selector means. tier: b web, c empty, d absent, e WEB ---

const tiers = topology('x/a', {
  pods: [
    podSpec('x/b', { labels: { tier: 'web' }, node: 'node-2' }),
    podSpec('x/c', { labels: { tier: '' } }),
    podSpec('x/d', { labels: { other: 'web' }, node: 'node-2' }),
    podSpec('x/e', { labels: { tier: 'WEB', other: 'x' } }),
  ],
});

/** `marks`: of the rows x/b x/c x/d x/e. */
const peersOfA = (name: string, podSelector: object, marks: string): Step => {
  const [b, c, d, e] = marks.split(' ');
  return named(
    name,
    step(
      ingressOfA('operators', [{ from: [{ podSelector }] }]),
      tcp(
        80,
        `    x/a
        x/b   ${b}
        x/c   ${c}
        x/d   ${d}
        x/e   ${e}`,
      ),
    ),
  );
};

const operators: Scenario = {
  id: 'G-02',
  title: 'every operator, with the key absent, empty and of another value',
  cites: ['S-17', 'S-18'],
  refusedByApi: true,
  topology: tiers,
  steps: [
    peersOfA('matchLabels', labelled({ tier: 'web' }), '. X X X'),
    peersOfA('matchLabels, empty value', labelled({ tier: '' }), 'X . X X'),
    peersOfA('In', where('tier', 'In', 'web', 'db'), '. X X X'),
    peersOfA('In, empty value', where('tier', 'In', 'web', ''), '. . X X'),
    peersOfA('NotIn', where('tier', 'NotIn', 'web', 'db'), 'X . . .'),
    peersOfA('NotIn, empty value', where('tier', 'NotIn', ''), '. X . .'),
    peersOfA('Exists', where('tier', 'Exists'), '. . X .'),
    peersOfA('DoesNotExist', where('tier', 'DoesNotExist'), 'X X . X'),
    peersOfA('no prefix, no wildcard', where('tier', 'In', 'we', 'w*', '*'), 'X X X X'),
    peersOfA(
      'labels and expressions are AND-ed',
      { ...labelled({ tier: 'WEB' }), ...where('other', 'Exists') },
      'X X X .',
    ),
    peersOfA('labels are AND-ed', labelled({ tier: 'WEB', other: 'web' }), 'X X X X'),
    peersOfA(
      'expressions on one key are AND-ed',
      {
        matchExpressions: [
          { key: 'tier', operator: 'Exists' },
          { key: 'tier', operator: 'NotIn', values: ['web', ''] },
        ],
      },
      'X X X .',
    ),
    peersOfA('an empty list of terms', { matchLabels: {}, matchExpressions: [] }, '. . . .'),
  ],
};

const subjectOperators: Scenario = {
  id: 'G-02b',
  title: 'operators on the subject, and on namespaces without the key',
  cites: ['S-03', 'S-17'],
  topology: {
    ...tiers,
    pods: [...tiers.pods, podSpec('y/a'), podSpec('z/a', { node: 'node-2' })],
    namespaces: { x: {}, y: { env: 'prod' }, z: {} },
  },
  steps: [
    named(
      'pods without tier web accept only namespaces without env',
      step(
        apply('x/operators', {
          podSelector: where('tier', 'NotIn', 'web'),
          policyTypes: ['Ingress'],
          ingress: [{ from: [{ namespaceSelector: where('env', 'DoesNotExist') }] }],
        }),
        tcp(
          80,
          `    x/a x/b x/c x/d x/e
          x/a   -   .   .   .   .
          y/a   X   .   X   X   X
          z/a   .   .   .   .   .`,
        ),
      ),
    ),
    named(
      'pods with a tier accept only namespaces that are not prod, own one excepted',
      step(
        apply('x/operators', {
          podSelector: where('tier', 'Exists'),
          policyTypes: ['Ingress'],
          ingress: [
            {
              from: [
                {
                  namespaceSelector: {
                    matchExpressions: [
                      { key: 'env', operator: 'NotIn', values: ['prod'] },
                      { key: NAME_LABEL, operator: 'NotIn', values: ['x'] },
                    ],
                  },
                },
              ],
            },
          ],
        }),
        tcp(
          80,
          `    x/a x/b x/c x/d x/e
          x/a   -   X   X   .   X
          y/a   .   X   X   .   X
          z/a   .   .   .   .   .`,
        ),
      ),
    ),
  ],
};

// --- G-03 ---

const blocks: Scenario = {
  id: 'G-03',
  title: 'ipBlocks on ingress: each block has its own exceptions',
  cites: ['S-05', 'S-28', 'S-29', 'S-30'],
  topology: small,
  steps: [
    named(
      'a block with an exception',
      step(
        ingressOfA('blocks', [{ from: [{ ipBlock: { cidr: '{cidr:outside/24|64}', except: ['{host:client}'] } }] }]),
        tcp(
          80,
          `        x/a
          outside   .
          client    X
          x/b       X
          y/a       X
          node-1    .
          node-2    X`,
        ),
      ),
    ),
    named(
      'a second block covers the exception of the first',
      step(
        ingressOfA('blocks', [
          {
            from: [
              { ipBlock: { cidr: '{cidr:outside/24|64}', except: ['{host:client}', '{host:outside}'] } },
              { ipBlock: { cidr: '{host:client}' } },
            ],
          },
        ]),
        tcp(
          80,
          `        x/a
          outside   X
          client    .
          x/b       X`,
        ),
      ),
    ),
    named(
      'the same in the other order, with another exception of the same address',
      step(
        ingressOfA('blocks', [
          {
            from: [
              { ipBlock: { cidr: '{all}', except: ['{cidr:outside/24|64}'] } },
              { ipBlock: { cidr: '{cidr:outside/24|64}', except: ['{host:outside}'] } },
            ],
          },
        ]),
        tcp(
          80,
          `        x/a
          outside   X
          client    .
          x/b       .
          node-2    .`,
        ),
      ),
    ),
    named(
      'two policies, each with exceptions',
      step(
        [
          ingressOfA('blocks', [{ from: [{ ipBlock: { cidr: '{all}', except: ['{host:client}', '{host:x/b}'] } }] }]),
          ingressOfA('others', [{ from: [{ ipBlock: { cidr: '{all}', except: ['{host:client}', '{host:y/a}'] } }] }]),
        ],
        tcp(
          80,
          `        x/a
          outside   .
          client    X
          x/b       .
          y/a       .`,
        ),
      ),
    ),
    named(
      'host bits are ignored, and a block may name a pod',
      step(
        [
          { kind: 'delete-policy', policy: 'x/others' },
          ingressOfA('blocks', [
            { from: [{ ipBlock: { cidr: '{ip:outside}/24', except: ['{ip:client}/30'] } }], ports: [{ port: 81 }] },
            { from: [{ ipBlock: { cidr: '{host:x/b}' } }] },
          ]),
        ],
        tcp(
          80,
          `        x/a
          outside   X
          client    X
          x/b       .
          y/a       X`,
        ),
      ),
    ),
  ],
};

const oneFamily: Scenario = {
  id: 'G-03b',
  title: 'a policy with blocks of one family isolates in the other too; /0 is everything of its family only',
  cites: ['S-29', 'S-57'],
  topology: small,
  steps: [4, 6].map((family) =>
    named(
      `only IPv${family}`,
      step(
        [
          ingressOfA('blocks', [{ from: [{ ipBlock: { cidr: `{all${family}}` } }] }]),
          egressOfA('blocks-out', [{ to: [{ ipBlock: { cidr: `{host${family}:outside}` } }] }]),
        ],
        only(
          [family === 4 ? 4 : 6],
          tcp(
            80,
            `        x/a x/b outside client
            x/a       -   X    .      X
            x/b       .   -    .      .
            outside   .   .    -      -
            node-2    .   .    -      -`,
          ),
        ),
        only(
          [family === 4 ? 6 : 4],
          tcp(
            80,
            `        x/a x/b outside client
            x/a       -   X    X      X
            x/b       X   -    .      .
            outside   X   .    -      -
            node-2    X   .    -      -`,
          ),
        ),
      ),
    ),
  ),
};

// --- G-04, G-05 ---

/** `web` is 80 on x/a, 8080 on x/b, both on x/c (two containers), UDP on x/d, only in an init container on x/e, in a sidecar on y/a. */
const webs = topology('', {
  outside: OUTSIDE,
  pods: [
    podSpec('x/a', { ports: [declares('web', 'TCP', 80)] }),
    podSpec('x/b', { ports: [declares('web', 'TCP', 8080)], node: 'node-2' }),
    podSpec('x/c', { ports: [declares('web', 'TCP', 80), declares('web', 'TCP', 8080, 'main-2')] }),
    podSpec('x/d', { ports: [declares('web', 'UDP', 80), declares('api', 'TCP', 80)], node: 'node-2' }),
    podSpec('x/e', { ports: [declares('web', 'TCP', 80, 'init')] }),
    podSpec('y/a', { ports: [declares('web', 'TCP', 80, 'sidecar')], node: 'node-2' }),
    podSpec('y/h', { ports: [declares('web', 'TCP', 80)], hostNetwork: true }),
    podSpec('y/q', { ports: [] }),
  ],
});

const namedPorts: Scenario = {
  id: 'G-04',
  title: 'one port name on many pods: other numbers, two numbers, another protocol, init containers and sidecars',
  cites: ['S-40', 'S-41', 'S-42', 'S-45', 'S-46'],
  topology: webs,
  steps: [
    named(
      'on ingress',
      step(
        ['x', 'y'].map((namespace) =>
          apply(`${namespace}/web`, {
            podSelector: {},
            policyTypes: ['Ingress'],
            ingress: [{ ports: [{ port: 'web' }] }],
          }),
        ),
        tcp(
          80,
          `        x/a x/b x/c x/d x/e y/a y/h
          y/q       .   X   .   X   X   .   .
          outside   .   X   .   X   X   .   .`,
        ),
        tcp(
          8080,
          `        x/a x/b x/c x/d x/e y/a
          y/q       X   .   .   X   X   X
          outside   X   .   .   X   X   X`,
        ),
        udp(
          80,
          `        x/a x/b x/c x/d x/e y/a
          y/q       X   X   X   X   X   X`,
        ),
      ),
    ),
    named(
      'on ingress, for UDP',
      step(
        apply('x/web', {
          podSelector: {},
          policyTypes: ['Ingress'],
          ingress: [{ ports: [{ port: 'web', protocol: 'UDP' }] }],
        }),
        tcp(
          80,
          `        x/a x/b x/c x/d x/e
          y/q       X   X   X   X   X`,
        ),
        udp(
          80,
          `        x/a x/b x/c x/d x/e
          y/q       X   X   X   .   X`,
        ),
      ),
    ),
  ],
};

const namedPortsOut: Scenario = {
  id: 'G-04b',
  title: 'a port name on egress means pods of the whole cluster that declare it, and nothing else',
  cites: ['S-40', 'S-41', 'S-43', 'S-44'],
  topology: webs,
  steps: [
    named(
      'to anyone',
      step(
        apply('y/web-out', {
          podSelector: podIs('q'),
          policyTypes: ['Egress'],
          egress: [{ ports: [{ port: 'web' }] }],
        }),
        tcp(
          80,
          `    x/a x/b x/c x/d x/e y/a y/h node-1 outside
          y/q   .   X   .   X   X   .   X    X      X
          y/a   .   .   .   .   .   -   .    .      .`,
        ),
        tcp(
          8080,
          `    x/a x/b x/c x/d x/e y/a y/h outside
          y/q   X   .   .   X   X   X   X    X`,
        ),
      ),
    ),
    named(
      'to everything by address: still only pods',
      step(
        apply('y/web-out', {
          podSelector: podIs('q'),
          policyTypes: ['Egress'],
          egress: [{ ports: [{ port: 'web' }], to: [{ ipBlock: { cidr: '{all}', except: ['{host:x/c}'] } }] }],
        }),
        tcp(
          80,
          `    x/a x/b x/c x/d y/a y/h node-2 outside
          y/q   .   X   X   X   .   X    X      X`,
        ),
        tcp(
          8080,
          `    x/a x/b x/c
          y/q   X   .   X`,
        ),
      ),
    ),
    named(
      'to pods of one namespace',
      step(
        apply('y/web-out', {
          podSelector: podIs('q'),
          policyTypes: ['Egress'],
          egress: [{ ports: [{ port: 'web' }], to: [{ podSelector: {} }] }],
        }),
        tcp(
          80,
          `    x/a x/c y/a y/h
          y/q   X   X   .   X`,
        ),
      ),
    ),
  ],
};

const portMix: Scenario = {
  id: 'G-05',
  title: 'numbers, ranges and names in one list, in both directions',
  cites: ['S-33', 'S-37', 'S-40'],
  topology: webs,
  steps: [
    step(
      [
        apply('x/mix', {
          podSelector: {},
          policyTypes: ['Ingress'],
          ingress: [{ ports: [{ port: 'web' }, { port: 9000, endPort: 9002 }, { port: 53, protocol: 'UDP' }] }],
        }),
        apply('y/mix', {
          podSelector: podIs('q'),
          policyTypes: ['Egress'],
          egress: [
            { ports: [{ port: 9001, endPort: 9005 }, { port: 'web' }, { port: 53, protocol: 'UDP', endPort: 54 }] },
          ],
        }),
      ],
      tcp(
        80,
        `        x/a x/b outside
        y/q       .   X    X
        y/a       .   X    .`,
      ),
      tcp(
        8080,
        `        x/a x/b
        y/q       X   .
        outside   X   .`,
      ),
      tcp(
        9000,
        `        x/a x/b y/a outside
        y/q       X   X   X    X
        y/a       .   .   -    .`,
      ),
      ...[9001, 9002].map((port) =>
        tcp(
          port,
          `        x/a x/b y/a outside
          y/q       .   .   .    .
          y/a       .   .   -    .`,
        ),
      ),
      ...[9003, 9005].map((port) =>
        tcp(
          port,
          `        x/a x/b y/a outside
          y/q       X   X   .    .
          y/a       X   X   -    .`,
        ),
      ),
      udp(
        53,
        `        x/a y/a outside
        y/q       .   .    .
        outside   .   .    -`,
      ),
      udp(
        54,
        `        x/a y/a outside
        y/q       X   .    .
        outside   X   .    -`,
      ),
      udp(
        9001,
        `        x/a outside
        y/q       X    X
        outside   X    -`,
      ),
      sctp(
        9001,
        `        x/a outside
        y/q       X    X
        outside   X    -`,
      ),
    ),
  ],
};

// --- G-06, G-07, G-09, G-10 ---

const self: Scenario = {
  id: 'G-06',
  title: 'a pod reaches itself, by its address and through a Service, and other endpoints only by the rules',
  cites: ['S-62'],
  topology: small,
  steps: [
    step(
      denyAllOfX,
      ...(['pod-ip', 'cluster-ip'] as const).flatMap((via) =>
        [tcp(80, ''), udp(81, '')].map((probe) =>
          through(via, {
            ...probe,
            table: `
                    x/a x/b y/a
              x/a    .   X   X
              x/b    X   .   X
              y/a    X   X   .`,
          }),
        ),
      ),
      icmp(
        `    x/a x/b y/a
        x/a   .   X   X
        x/b   X   .   X
        y/a   X   X   .`,
      ),
    ),
  ],
};

const nodes: Scenario = {
  id: 'G-07',
  title: 'nodes and host-network pods: own node in, nothing else; never peers, never subjects',
  cites: ['S-27', 'S-60', 'S-61', 'S-64'],
  topology: topology('x/ab y/ab', {
    outside: OUTSIDE,
    pods: [podSpec('x/h', { hostNetwork: true, labels: { pod: 'a', host: 'yes' } })],
  }),
  steps: [
    named(
      'peers are all pods of the cluster',
      step(
        apply('x/pods', {
          podSelector: {},
          ingress: [{ from: [{ namespaceSelector: {} }] }],
          egress: [{ to: [{ namespaceSelector: {} }] }],
        }),
        tcp(
          80,
          `        x/a x/b x/h y/a node-1 node-2 outside
          x/a       -   .   X   .   X      X       X
          x/b       .   -   X   .   X      X       X
          x/h       .   X   -   .   -      .       .
          y/a       .   .   .   -   .      .       .
          node-1    .   X   -   .   -      .       .
          node-2    X   .   .   .   .      -       .
          outside   X   X   .   .   .      .       -`,
        ),
      ),
    ),
    named(
      'a selector that names the host-network pod',
      step(
        apply('x/pods', {
          podSelector: {},
          ingress: [{ from: [{ podSelector: labelled({ host: 'yes' }) }] }],
          egress: [{ to: [{ podSelector: labelled({ host: 'yes' }) }] }],
        }),
        tcp(
          80,
          `        x/a x/b x/h node-1 node-2
          x/a       -   X   X   X      X
          x/b       X   -   X   X      X
          x/h       .   X   -   -      .
          node-1    .   X   -   -      .
          node-2    X   .   .   .      -`,
        ),
      ),
    ),
    named(
      'a block with the addresses of one node, both ways',
      step(
        apply('x/pods', {
          podSelector: {},
          ingress: [{ from: [{ ipBlock: { cidr: '{host:node-1}' } }] }],
          egress: [{ to: [{ ipBlock: { cidr: '{host:node-1}' } }] }],
        }),
        tcp(
          80,
          `        x/a x/b x/h y/a node-1 node-2
          x/a       -   X   .   X   .      X
          x/b       X   -   .   X   .      X
          x/h       .   .   -   .   -      .
          node-1    .   .   -   .   -      .
          node-2    X   .   .   .   .      -`,
        ),
        icmp(
          `        x/a x/b x/h y/a node-1 node-2
          x/a       -   X   .   X   .      X
          x/b       X   -   .   X   .      X
          node-1    .   .   -   .   -      .
          node-2    X   .   .   .   .      -`,
        ),
      ),
    ),
  ],
};

const echo: Scenario = {
  id: 'G-09',
  title: 'ICMP echo needs a rule without ports',
  cites: ['S-32', 'S-34', 'S-66'],
  topology: small,
  steps: [
    named(
      'rules with ports',
      step(
        ingressOfA('ports', [{ ports: [{ protocol: 'TCP' }, { protocol: 'UDP' }, { protocol: 'SCTP' }] }]),
        icmp(
          `        x/a x/b
          x/b       X   -
          node-1    .   .
          outside   X   .`,
        ),
        tcp(
          80,
          `        x/a x/b
          x/b       .   -
          outside   .   .`,
        ),
      ),
    ),
    named(
      'a rule without ports, for one peer',
      step(
        ingressOfA('peer', [{ from: [{ podSelector: podIs('b') }] }]),
        icmp(
          `        x/a x/b
          x/b       .   -
          y/a       X   .
          outside   X   .`,
        ),
      ),
    ),
    named(
      'on egress',
      step(
        egressOfA('out', [{ to: [{ podSelector: podIs('b') }] }, { ports: [{ port: 80 }] }]),
        icmp(
          `    x/b y/a outside
          x/a   .   X    X`,
        ),
        tcp(
          80,
          `    x/b y/a outside
          x/a   .   .    .`,
        ),
      ),
    ),
  ],
};

const replies: Scenario = {
  id: 'G-10',
  title: 'a connection needs both sides to allow its first packet, its replies need nothing',
  cites: ['S-06', 'S-07'],
  topology: small,
  steps: [
    step(
      [
        apply('x/mute', { podSelector: podIs('a'), policyTypes: ['Egress'] }),
        apply('x/deaf', { podSelector: podIs('b'), policyTypes: ['Ingress'] }),
      ],
      ...[tcp(80, ''), udp(80, ''), sctp(80, ''), icmp('')].map((probe) => ({
        ...probe,
        table: `
                  x/a x/b y/a outside
        x/a        -   X   X    X
        x/b        .   -   .    .
        y/a        .   X   -    .
        outside    .   X   .    -`,
      })),
    ),
  ],
};

// --- G-08 ---

const fromPodB = ingressOfA('from-b', [{ from: [{ podSelector: podIs('b') }] }]);

const phases: Scenario = {
  id: 'G-08',
  title: 'finished pods are nobody, terminating ones still count',
  cites: ['S-70', 'S-71', 'S-72'],
  topology: topology('x/abc'),
  steps: [
    named(
      'b may connect, nobody may connect to c',
      step(
        [fromPodB, apply('x/deaf', { podSelector: podIs('c'), policyTypes: ['Ingress'] })],
        tcp(
          80,
          `    x/a x/c
          x/b   .   X
          x/c   X   -`,
        ),
      ),
    ),
    named(
      'both are terminating',
      step(
        [
          { kind: 'terminate', pod: 'x/b' },
          { kind: 'terminate', pod: 'x/c' },
        ],
        tcp(
          80,
          `    x/a x/c
          x/b   .   X
          x/c   X   -`,
        ),
      ),
    ),
    named(
      'nothing is known of them',
      step(
        [
          { kind: 'set-phase', pod: 'x/b', phase: 'Unknown' },
          { kind: 'set-phase', pod: 'x/c', phase: 'Pending' },
        ],
        tcp(
          80,
          `    x/a x/c
          x/b   .   X
          x/c   X   -`,
        ),
      ),
    ),
    named(
      'b failed, c succeeded',
      step(
        [
          { kind: 'set-phase', pod: 'x/b', phase: 'Failed' },
          { kind: 'set-phase', pod: 'x/c', phase: 'Succeeded' },
        ],
        tcp(
          80,
          `    x/a x/c
          x/b   X   .
          x/c   X   -`,
        ),
      ),
    ),
  ],
};

const publishing: Scenario = {
  id: 'G-08b',
  title: 'addresses that a pod does not have yet, gets, loses',
  cites: ['S-57', 'S-75', 'S-77'],
  topology: topology('x/abc'),
  steps: [
    named(
      'neither subject nor peer has an address',
      step(
        [
          { kind: 'publish-addresses', pod: 'x/a', addresses: 'none' },
          { kind: 'publish-addresses', pod: 'x/b', addresses: 'none' },
          fromPodB,
        ],
        tcp(
          80,
          `    x/a x/b
          x/b   .   -
          x/c   .   .`,
        ),
      ),
    ),
    named(
      'the subject has',
      step(
        { kind: 'publish-addresses', pod: 'x/a', addresses: 'all' },
        tcp(
          80,
          `    x/a x/b
          x/b   X   -
          x/c   X   .`,
        ),
      ),
    ),
    named(
      'the peer has IPv4',
      step(
        { kind: 'publish-addresses', pod: 'x/b', addresses: 'only4' },
        only(
          [4],
          tcp(
            80,
            `    x/a
            x/b   .
            x/c   X`,
          ),
        ),
        only(
          [6],
          tcp(
            80,
            `    x/a
            x/b   X
            x/c   X`,
          ),
        ),
      ),
    ),
    named(
      'the peer has IPv6 instead',
      step(
        { kind: 'publish-addresses', pod: 'x/b', addresses: 'only6' },
        only(
          [4],
          tcp(
            80,
            `    x/a
            x/b   X
            x/c   X`,
          ),
        ),
        only(
          [6],
          tcp(
            80,
            `    x/a
            x/b   .
            x/c   X`,
          ),
        ),
      ),
    ),
    named(
      'the peer has both',
      step(
        { kind: 'publish-addresses', pod: 'x/b', addresses: 'all' },
        tcp(
          80,
          `    x/a
          x/b   .
          x/c   X`,
        ),
      ),
    ),
  ],
};

const reuse: Scenario = {
  id: 'G-08c',
  title:
    'two live objects claim an address: the pod that showed it last has it, whatever happens to the other one later',
  cites: ['S-71', 'S-73'],
  topology: topology('x/abc'),
  steps: [
    named(
      'b may connect',
      step(
        fromPodB,
        tcp(
          80,
          `    x/a
          x/b   .
          x/c   X`,
        ),
      ),
    ),
    named(
      'n has the address of b, b is still there',
      step(
        { kind: 'create-pod', pod: podSpec('x/n', { node: 'node-2' }), addressesOf: 'x/b' },
        tcp(
          80,
          `    x/a x/n
          x/n   X   -
          x/c   X   .`,
        ),
      ),
    ),
    named(
      'late news of b, as subject too',
      step(
        [
          { kind: 'label-pod', pod: 'x/b', labels: { late: 'yes' } },
          apply('x/deny-late', { podSelector: labelled({ late: 'yes' }), policyTypes: ['Ingress', 'Egress'] }),
        ],
        tcp(
          80,
          `    x/a x/n x/c
          x/a   -   .   .
          x/n   X   -   .
          x/c   X   .   -`,
        ),
      ),
    ),
    named(
      'n succeeds, so b has the address again',
      step(
        { kind: 'set-phase', pod: 'x/n', phase: 'Succeeded' },
        tcp(
          80,
          `    x/a x/n x/c
          x/a   -   X   .
          x/n   X   -   X
          x/c   X   X   -`,
        ),
      ),
    ),
    named(
      'b goes at last',
      step(
        { kind: 'delete-pod', pod: 'x/b' },
        tcp(
          80,
          `    x/a x/n x/c
          x/a   -   .   .
          x/n   X   -   .
          x/c   X   .   -`,
        ),
      ),
    ),
  ],
};

const arriving: Scenario = {
  id: 'G-08d',
  title: 'pods that come and go while policies are in force',
  cites: ['S-20', 'S-70', 'S-75'],
  topology: topology('x/ac'),
  steps: [
    step(
      [
        fromPodB,
        apply('x/deaf', { podSelector: podIs('d'), policyTypes: ['Ingress'] }),
        { kind: 'create-pod', pod: podSpec('x/b', { node: 'node-2' }) },
        { kind: 'create-pod', pod: podSpec('x/d') },
      ],
      tcp(
        80,
        `    x/a x/b x/d
        x/b   .   -   X
        x/c   X   .   X
        x/d   X   .   -`,
      ),
    ),
    step(
      [
        { kind: 'delete-pod', pod: 'x/b' },
        { kind: 'create-pod', pod: podSpec('x/e', { labels: { pod: 'b' } }) },
      ],
      tcp(
        80,
        `    x/a x/d
        x/c   X   X
        x/d   X   -
        x/e   .   X`,
      ),
    ),
  ],
};

// --- G-12, G-13 ---

const dualStack: Scenario = {
  id: 'G-12',
  title: 'blocks of each family apply to their own family, selectors and ports to both',
  cites: ['S-26', 'S-29', 'S-57'],
  topology: small,
  steps: [
    step(
      egressOfA('mixed', [
        {
          to: [
            { ipBlock: { cidr: '{host4:outside}' } },
            { ipBlock: { cidr: '{host6:client}' } },
            { podSelector: podIs('b') },
          ],
        },
        { to: [{ ipBlock: { cidr: '{cidr6:outside/64}', except: ['{host6:client}'] } }], ports: [{ port: 81 }] },
      ]),
      only(
        [4],
        tcp(
          80,
          `    x/b y/a outside client
          x/a   .   X    .       X`,
        ),
      ),
      only(
        [6],
        tcp(
          80,
          `    x/b y/a outside client
          x/a   .   X    X       .`,
        ),
      ),
      only(
        [4],
        tcp(
          81,
          `    x/b y/a outside client
          x/a   .   X    .       X`,
        ),
      ),
      only(
        [6],
        tcp(
          81,
          `    x/b y/a outside client
          x/a   .   X    .       .`,
        ),
      ),
    ),
  ],
};

/** x/a on node-1 behind 30080 of every node, x/b on node-2 behind 30081 of node-2 only. */
const ported = topology('x/ab y/a', {
  outside: OUTSIDE,
  nodePorts: [
    { pod: 'x/a', protocol: 'TCP', port: 80, nodePort: 30080, externalTrafficPolicy: 'Cluster' },
    { pod: 'x/b', protocol: 'TCP', port: 80, nodePort: 30081, externalTrafficPolicy: 'Local' },
  ],
});

const nodePortIngress: Scenario = {
  id: 'G-13',
  title: 'clients of a NodePort are seen where they enter, the entry node where they enter elsewhere',
  cites: ['S-53'],
  topology: ported,
  steps: [
    named(
      'one client address is let in',
      step(
        apply('x/client', {
          podSelector: {},
          policyTypes: ['Ingress'],
          ingress: [{ from: [{ ipBlock: { cidr: '{host:client}' } }] }],
        }),
        through(
          { nodePortOf: 'node-1' },
          tcp(
            80,
            `        x/a
            client    .
            outside   X`,
          ),
        ),
        through(
          { nodePortOf: 'node-2' },
          tcp(
            80,
            `        x/a x/b
            client    X   .
            outside   X   X`,
          ),
        ),
      ),
    ),
    named(
      'the entry node is let in',
      step(
        apply('x/client', {
          podSelector: {},
          policyTypes: ['Ingress'],
          ingress: [{ from: [{ ipBlock: { cidr: '{host:node-2}' } }] }],
        }),
        through(
          { nodePortOf: 'node-2' },
          tcp(
            80,
            `        x/a x/b
            client    .   X
            outside   .   X`,
          ),
        ),
        through(
          { nodePortOf: 'node-1' },
          tcp(
            80,
            `        x/a
            client    X`,
          ),
        ),
      ),
    ),
    named(
      'everyone is let in, to the target port, not the node port',
      step(
        apply('x/client', { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 80 }] }] }),
        through(
          { nodePortOf: 'node-2' },
          tcp(
            80,
            `        x/a x/b
            client    .   .`,
          ),
        ),
      ),
    ),
  ],
};

const nodePortEgress: Scenario = {
  id: 'G-13b',
  title: "a pod's way to a NodePort is judged as the pod behind it on the own node, as a node elsewhere",
  cites: ['S-51', 'S-55'],
  topology: ported,
  steps: [
    named(
      'only the pod behind it is allowed',
      step(
        apply('y/out', {
          podSelector: podIs('a'),
          policyTypes: ['Egress'],
          egress: [{ to: [{ namespaceSelector: nsIs('x') }], ports: [{ port: 80 }] }],
        }),
        through(
          { nodePortOf: 'node-1' },
          tcp(
            80,
            `    x/a
            y/a   .`,
          ),
        ),
        through(
          { nodePortOf: 'node-2' },
          tcp(
            80,
            `    x/a x/b
            y/a   X   X`,
          ),
        ),
      ),
    ),
    named(
      'only one port of the other node is allowed',
      step(
        apply('y/out', {
          podSelector: podIs('a'),
          policyTypes: ['Egress'],
          egress: [{ to: [{ ipBlock: { cidr: '{host:node-2}' } }], ports: [{ port: 30080 }] }],
        }),
        through(
          { nodePortOf: 'node-1' },
          tcp(
            80,
            `    x/a
            y/a   X`,
          ),
        ),
        through(
          { nodePortOf: 'node-2' },
          tcp(
            80,
            `    x/a x/b
            y/a   .   X`,
          ),
        ),
      ),
    ),
  ],
};

// --- G-15: objects that no server takes today ---

const hostileEntries: Scenario = {
  id: 'G-15',
  title: 'entries that cannot be used allow nothing, their siblings still do',
  cites: ['S-19', 'S-25', 'S-31', 'S-39', 'S-50'],
  refusedByApi: true,
  topology: small,
  steps: [
    named(
      'peers',
      step(
        ingressOfA('odd', [
          {
            from: [
              null,
              {},
              'x',
              { nodeSelector: {} },
              { podSelector: {}, futureSelector: {} },
              { podSelector: where('pod', 'Like', 'y') },
              { podSelector: where('pod', 'In') },
              { podSelector: where('pod', 'NotIn') },
              { namespaceSelector: { matchLabels: { ns: 1 } } },
              { podSelector: {}, ipBlock: { cidr: '{all}' } },
              { ipBlock: { cidr: 'everything' } },
              { ipBlock: { cidr: '{all}', except: ['nothing'] } },
              { podSelector: podIs('b') },
            ],
          },
        ] as object[]),
        tcp(
          80,
          `        x/a x/b
          x/b       .   -
          y/a       X   .
          outside   X   .
          node-2    X   .`,
        ),
      ),
    ),
    named(
      'ports',
      step(
        ingressOfA('odd', [
          {
            ports: [
              null,
              7,
              { protocol: 'tcp', port: 80 },
              { protocol: 'ICMP' },
              { port: 0 },
              { port: 65536 },
              { port: 80.5 },
              { port: '80' },
              { endPort: 100 },
              { port: 'serve-80-tcp', endPort: 100 },
              { port: 70, endPort: '90' },
              { ports: 80 },
              { port: 81 },
            ],
          },
        ] as object[]),
        tcp(
          80,
          `        x/a x/b
          x/b       X   -
          outside   X   .`,
        ),
        tcp(
          81,
          `        x/a x/b
          x/b       .   -
          outside   .   .`,
        ),
        icmp(
          `        x/a x/b
          x/b       X   -
          outside   X   .`,
        ),
      ),
    ),
    named(
      'rules',
      step(
        ingressOfA('odd', [
          null,
          [],
          { form: [{ podSelector: podIs('b') }] },
          { from: 'everyone' },
          { ports: {} },
          { from: [{ podSelector: podIs('b') }], ports: [{ port: 81 }] },
        ] as object[]),
        tcp(
          80,
          `        x/a x/b
          x/b       X   -
          outside   X   .`,
        ),
        tcp(
          81,
          `        x/a x/b
          x/b       .   -
          outside   X   .`,
        ),
      ),
    ),
  ],
};

const hostilePolicies: Scenario = {
  id: 'G-15b',
  title: 'a policy that cannot be understood isolates, and leaves others to work',
  cites: ['S-12', 'S-19', 'S-50'],
  refusedByApi: true,
  topology: small,
  steps: [
    named(
      'an unusable subject selector means every pod, and no rules',
      step(
        apply('x/odd', { podSelector: where('pod', 'Like', 'a'), policyTypes: ['Ingress'], ingress: [{}] }),
        tcp(
          80,
          `        x/a x/b y/a
          x/a       -   X   .
          x/b       X   -   .
          y/a       X   X   -
          outside   X   X   .`,
        ),
      ),
    ),
    named(
      'another policy still allows what it allows',
      step(
        ingressOfA('good', [{ from: [{ podSelector: podIs('b') }] }]),
        tcp(
          80,
          `        x/a x/b y/a
          x/a       -   X   .
          x/b       .   -   .
          y/a       X   X   -`,
        ),
      ),
    ),
    named(
      'an unknown policy type may have meant either direction',
      step(
        apply('x/odd', { podSelector: podIs('b'), policyTypes: ['egress'], ingress: [{ ports: [{ port: 80 }] }] }),
        tcp(
          80,
          `        x/a x/b y/a
          x/a       -   .   .
          x/b       X   -   X
          y/a       X   .   -`,
        ),
        tcp(
          81,
          `        x/a x/b y/a
          x/a       -   X   .
          x/b       X   -   X
          y/a       X   X   -`,
        ),
      ),
    ),
    named(
      'sections that are no lists',
      step(
        apply('x/odd', { podSelector: podIs('b'), ingress: {}, egress: 'all' }),
        tcp(
          80,
          `        x/a x/b y/a
          x/a       -   X   .
          x/b       X   -   X
          y/a       X   X   -`,
        ),
      ),
    ),
  ],
};

const oddBlocks: Scenario = {
  id: 'G-15c',
  title: 'blocks written in ways that were once accepted',
  cites: ['S-31', 'S-48'],
  refusedByApi: true,
  topology: small,
  steps: ['203.000.0113.0/24', '::ffff:203.0.113.0/120', '::FFFF:CB00:7100/120', '203.0.113.77/024'].map((cidr) =>
    named(
      cidr,
      step(
        ingressOfA('old', [{ from: [{ ipBlock: { cidr } }] }]),
        only(
          [4],
          tcp(
            80,
            `        x/a
            outside   .
            x/b       X
            node-2    X`,
          ),
        ),
        only(
          [6],
          tcp(
            80,
            `        x/a
            outside   X
            x/b       X`,
          ),
        ),
      ),
    ),
  ),
};

// --- G-17: so many policies for the same pods that they share sets, of peers and of peers with their ports ---

const NUMBERS = Array.from({ length: 12 }, (_, n) => n);

/** Number n is in words that leave out pods labelled `word-<n>`; by turns they are for x/b and for pods of y. */
const crowd = (portOf: (n: number) => object, peerWords: (n: number) => object): readonly Change[] =>
  NUMBERS.map((n) => {
    const ofB = { ...podIs('b'), ...peerWords(n) };
    const side = [n % 2 === 0 ? { podSelector: ofB } : { namespaceSelector: nsIs('y'), podSelector: peerWords(n) }];
    const ports = [portOf(n)];
    return apply(`x/crowd-${n}`, {
      podSelector: { ...podIs('a'), ...ownWord(n) },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: side, ports }],
      egress: [{ to: side, ports }],
    });
  });
const ownWord = (n: number): object => where(`word-${n}`, 'DoesNotExist');
const sameWords = (): object => ({});
const ownPort = (n: number): object => ({ protocol: n < 6 ? 'TCP' : 'UDP', port: 9000 + n });

const WITH_B = `
         x/a x/b y/a
    x/a   -   .   X
    x/b   .   -   .
    y/a   X   .   -`;
const WITH_Y = `
         x/a x/b y/a
    x/a   -   X   .
    x/b   X   -   .
    y/a   .   .   -`;
const WITH_NOBODY = `
         x/a x/b y/a
    x/a   -   X   X
    x/b   X   -   .
    y/a   X   .   -`;

const manyPorts: Scenario = {
  id: 'G-17',
  title: 'each of many policies opens its own port to its own peers, and no other',
  cites: ['S-05', 'S-06'],
  topology: small,
  steps: [
    named(
      'each its port and protocol',
      step(
        crowd(ownPort, ownWord),
        ...[tcp(9000, WITH_B), tcp(9001, WITH_Y), tcp(9006, WITH_NOBODY), tcp(9012, WITH_NOBODY)],
        ...[udp(9006, WITH_B), udp(9007, WITH_Y), udp(9000, WITH_NOBODY), icmp(WITH_NOBODY)],
      ),
    ),
    named(
      'a peer that changes sides',
      step(
        { kind: 'label-namespace', namespace: 'y', labels: { ns: 'z' } },
        ...[tcp(9000, WITH_B), tcp(9001, WITH_NOBODY), udp(9006, WITH_B), udp(9007, WITH_NOBODY)],
      ),
    ),
    named(
      'a subject that one of them leaves out',
      step(
        [
          { kind: 'label-namespace', namespace: 'y', labels: { ns: 'y' } },
          { kind: 'label-pod', pod: 'x/a', labels: { 'word-0': '' } },
        ],
        ...[tcp(9000, WITH_NOBODY), tcp(9001, WITH_Y), tcp(9002, WITH_B), udp(9006, WITH_B)],
      ),
    ),
  ],
};

const WITH_BOTH = `
         x/a x/b y/a
    x/a   -   .   .
    x/b   .   -   .
    y/a   .   .   -`;

/** Into x/a from everybody, out of it to x/b alone. */
const ONE_WAY_TO_B = `
         x/a x/b y/a
    x/a   -   .   X
    x/b   .   -   .
    y/a   .   .   -`;

const manyWords: Scenario = {
  id: 'G-17b',
  title: 'many policies open one port to their peers together',
  cites: ['S-05', 'S-06'],
  topology: small,
  steps: [
    step(
      crowd(() => ({ port: 80 }), ownWord),
      ...[tcp(80, WITH_BOTH), udp(80, WITH_NOBODY), tcp(81, WITH_NOBODY)],
    ),
  ],
};

const samePeers: Scenario = {
  id: 'G-17c',
  title: 'many policies open ports of their own to the same peers',
  cites: ['S-05', 'S-06'],
  topology: small,
  steps: [
    step(
      crowd(ownPort, sameWords),
      ...[tcp(9000, WITH_B), tcp(9005, WITH_Y), tcp(9006, WITH_NOBODY), udp(9010, WITH_B), udp(9005, WITH_NOBODY)],
    ),
  ],
};

/** For rule n: everybody but x/b, or x/b and its neighbours, to a port of its own and to a common one. */
const blockOfRule = (n: number): object =>
  n % 2 === 0 ? { ipBlock: { cidr: '{all}', except: ['{host:x/b}'] } } : { ipBlock: { cidr: '{cidr:x/b/24|64}' } };
const blocksOfRules = (side: 'from' | 'to'): readonly object[] =>
  NUMBERS.map((n) => ({
    [side]: [blockOfRule(n)],
    ports: [ownPort(n), { protocol: 'SCTP', port: n < 2 ? 90 : 91 + n }],
  }));

const manyBlocks: Scenario = {
  id: 'G-17d',
  title: 'many rules open ports of their own to blocks, with exceptions that hold for their ports alone',
  cites: ['S-05', 'S-28'],
  topology: small,
  steps: [
    step(
      apply('x/blocks', {
        podSelector: podIs('a'),
        policyTypes: ['Ingress', 'Egress'],
        ingress: blocksOfRules('from'),
        egress: blocksOfRules('to'),
      }),
      ...[tcp(9000, WITH_Y), tcp(9001, WITH_B), udp(9010, WITH_Y), udp(9011, WITH_B), udp(9000, WITH_NOBODY)],
      ...[sctp(90, WITH_BOTH), sctp(93, WITH_Y), sctp(94, WITH_B)],
    ),
  ],
};

const manyPortsForAll: Scenario = {
  id: 'G-17e',
  title: 'more ports than rules are written for, for everybody and for one pod',
  cites: ['S-05', 'S-36'],
  topology: small,
  steps: [
    step(
      apply('x/ports', {
        podSelector: podIs('a'),
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ ports: Array.from({ length: 130 }, (_, n) => ({ port: 8000 + 2 * n })) }],
        egress: [
          { to: [{ podSelector: podIs('b') }], ports: Array.from({ length: 130 }, (_, n) => ({ port: 8000 + 2 * n })) },
        ],
      }),
      tcp(8258, ONE_WAY_TO_B),
      tcp(8001, WITH_NOBODY),
      udp(8002, WITH_NOBODY),
    ),
  ],
};

export const GAPS: readonly Scenario[] = [
  policyTypes,
  operators,
  subjectOperators,
  blocks,
  oneFamily,
  namedPorts,
  namedPortsOut,
  portMix,
  self,
  nodes,
  phases,
  publishing,
  reuse,
  arriving,
  echo,
  replies,
  dualStack,
  nodePortIngress,
  nodePortEgress,
  hostileEntries,
  hostilePolicies,
  oddBlocks,
  manyPorts,
  manyWords,
  samePeers,
  manyBlocks,
  manyPortsForAll,
];
