/**
 * Facts that other projects learned the hard way, as tables. Missing because they are no reachability of new connections:
 * F-04 (open flows and new policies) and F-16 (restart and churn).
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
  step,
  tcp,
  through,
  topology,
  udp,
} from './scenario.ts';

const OUTSIDE = [{ name: 'outside' }, { name: 'client' }];
const LONG = 'l'.repeat(63);

/** x/a on node-1, x/b on node-2, y/a on node-1. */
const small = topology('x/ab y/a', { outside: OUTSIDE });

const ingressOfA = (name: string, ingress: readonly object[]): Change =>
  apply(`x/${name}`, { podSelector: podIs('a'), policyTypes: ['Ingress'], ingress });

const egressOfA = (name: string, egress: readonly object[]): Change =>
  apply(`x/${name}`, { podSelector: podIs('a'), policyTypes: ['Egress'], egress });

const denyAllOfX = apply('x/deny-all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });

export const FACTS: readonly Scenario[] = [
  {
    id: 'F-01',
    title: 'probes of the own node get through to pods that deny everything, probes of other nodes do not',
    cites: ['S-60'],
    topology: small,
    steps: [
      step(
        denyAllOfX,
        ...[tcp(80, ''), udp(81, ''), icmp('')].map((probe) => ({
          ...probe,
          table: `
                  x/a x/b y/a
          node-1   .   X   .
          node-2   X   .   .`,
        })),
      ),
    ],
  },
  {
    id: 'F-02',
    title: 'a namespaceSelector lets in the namespaces of one label',
    cites: ['S-24'],
    topology: topology('x/a dev/a prod/a', {
      namespaces: { dev: { purpose: 'testing' }, prod: { purpose: 'production' } },
    }),
    steps: [
      step(
        ingressOfA('production', [{ from: [{ namespaceSelector: labelled({ purpose: 'production' }) }] }]),
        tcp(
          80,
          `        x/a
          dev/a    X
          prod/a   .`,
        ),
      ),
    ],
  },
  {
    id: 'F-03',
    title: 'a policy for the own namespace denies pings from others',
    cites: ['S-65', 'S-66'],
    topology: small,
    steps: [
      step(
        apply('x/own', { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [{ podSelector: {} }] }] }),
        icmp(
          `        x/a x/b y/a
          x/a       -   .   .
          x/b       .   -   .
          y/a       X   X   -
          outside   X   X   .`,
        ),
      ),
    ],
  },
  {
    id: 'F-05',
    title: 'a host-network pod in a namespace that denies everything stays a piece of its node',
    cites: ['S-27', 'S-64'],
    topology: topology('x/ab y/ab', { pods: [podSpec('x/h', { hostNetwork: true })], outside: OUTSIDE }),
    steps: [
      step(
        denyAllOfX,
        tcp(
          80,
          `        x/h node-1 x/a y/a outside
          x/a       X    X    -   X     X
          y/a       .    .    X   -     .
          y/b       .    .    X   .     .
          node-1    -    -    .   .     .
          x/h       -    -    .   .     .
          node-2    .    .    X   .     .
          outside   .    .    X   .     -`,
        ),
      ),
    ],
  },
  {
    id: 'F-06',
    title: 'everything except one client',
    cites: ['S-28', 'S-29'],
    topology: small,
    steps: [
      step(
        ingressOfA('not-client', [{ from: [{ ipBlock: { cidr: '{all}', except: ['{host:client}'] } }] }]),
        tcp(
          80,
          `        x/a x/b
          client    X   .
          outside   .   .
          x/b       .   -
          y/a       .   .
          node-1    .   .
          node-2    .   .`,
        ),
      ),
    ],
  },
  {
    id: 'F-07',
    title: 'a pod that the except of one rule takes out is let in by the selector of another',
    cites: ['S-05', 'S-28'],
    topology: small,
    steps: [
      step(
        ingressOfA('two-rules', [
          { from: [{ ipBlock: { cidr: '{all}', except: ['{host:y/a}', '{host:client}'] } }] },
          { from: [{ namespaceSelector: nsIs('y') }] },
        ]),
        tcp(
          80,
          `        x/a
          x/b       .
          y/a       .
          client    X
          outside   .`,
        ),
      ),
    ],
  },
  {
    id: 'F-08',
    title: 'a port range ends at its endPort',
    cites: ['S-37'],
    topology: small,
    steps: [
      step(
        [
          ingressOfA('range-in', [{ ports: [{ port: 8000, endPort: 8010 }] }]),
          egressOfA('range-out', [{ ports: [{ port: 9000, endPort: 9000 }] }]),
        ],
        ...[8000, 8005, 8010].map((port) =>
          tcp(
            port,
            `        x/a x/b
            x/a       -   X
            x/b       .   -
            outside   .   .`,
          ),
        ),
        ...[7999, 8011].map((port) =>
          tcp(
            port,
            `        x/a x/b
            x/a       -   X
            x/b       X   -
            outside   X   .`,
          ),
        ),
        udp(
          8005,
          `        x/a x/b
          x/a       -   X
          x/b       X   -
          outside   X   .`,
        ),
        ...[8999, 9001].map((port) =>
          tcp(
            port,
            `        x/b outside
            x/a       X     X`,
          ),
        ),
        tcp(
          9000,
          `        x/b outside
          x/a       .     .
          y/a       .     .`,
        ),
      ),
    ],
  },
  {
    id: 'F-08b',
    title: 'an endPort below the port allows nothing',
    cites: ['S-37', 'S-50'],
    refusedByApi: true,
    topology: small,
    steps: [
      step(
        ingressOfA('backwards', [{ ports: [{ port: 8010, endPort: 8000 }, { port: 81 }] }]),
        ...[8000, 8005, 8010].map((port) =>
          tcp(
            port,
            `        x/a x/b
            x/b       X   -
            outside   X   .`,
          ),
        ),
        tcp(
          81,
          `        x/a x/b
          x/b       .   -
          outside   .   .`,
        ),
      ),
    ],
  },
  {
    id: 'F-09',
    title:
      'an entry with a protocol alone means all its ports, no entries mean everything, an unknown name means nothing',
    cites: ['S-32', 'S-34', 'S-42'],
    topology: small,
    steps: [
      named(
        'all of UDP',
        step(
          ingressOfA('ports', [{ ports: [{ protocol: 'UDP' }] }]),
          ...[1, 80, 65535].map((port) =>
            udp(
              port,
              `        x/a
              x/b       .
              outside   .`,
            ),
          ),
          tcp(
            80,
            `        x/a
            x/b       X
            outside   X`,
          ),
          icmp(
            `        x/a
            x/b       X
            outside   X`,
          ),
        ),
      ),
      named(
        'an empty entry is all of TCP',
        step(
          ingressOfA('ports', [{ ports: [{}] }]),
          ...[1, 80, 65535].map((port) =>
            tcp(
              port,
              `        x/a
              x/b       .
              outside   .`,
            ),
          ),
          udp(
            80,
            `        x/a
            x/b       X
            outside   X`,
          ),
        ),
      ),
      named(
        'no entries',
        step(
          ingressOfA('ports', [{ ports: [], from: [{ podSelector: {} }] }]),
          ...[tcp(80, ''), udp(80, ''), icmp('')].map((probe) => ({
            ...probe,
            table: `
                      x/a
            x/b        .
            y/a        X
            outside    X`,
          })),
        ),
      ),
      named(
        'a name that no pod declares',
        step(
          ingressOfA('ports', [{ ports: [{ port: 'no-such-port' }] }]),
          ...[tcp(80, ''), udp(80, ''), icmp('')].map((probe) => ({
            ...probe,
            table: `
                      x/a
            x/b        X
            outside    X`,
          })),
        ),
      ),
    ],
  },
  {
    id: 'F-10',
    title: 'a named port is its own number on each pod',
    cites: ['S-40', 'S-41'],
    topology: topology('y/a', {
      pods: [
        podSpec('x/a', { ports: [declares('web', 'TCP', 80)] }),
        podSpec('x/b', { ports: [declares('web', 'TCP', 8080)], node: 'node-2' }),
      ],
      outside: OUTSIDE,
    }),
    steps: [
      step(
        apply('x/web', { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 'web' }] }] }),
        tcp(
          80,
          `        x/a x/b
          y/a       .   X
          outside   .   X`,
        ),
        tcp(
          8080,
          `        x/a x/b
          y/a       X   .
          outside   X   .`,
        ),
        udp(
          80,
          `        x/a x/b
          y/a       X   X
          outside   X   X`,
        ),
      ),
    ],
  },
  {
    id: 'F-11',
    title: 'selectors in one entry are AND-ed, in two entries OR-ed',
    cites: ['S-24'],
    topology: topology('x/abc y/bc z/b'),
    steps: [
      named(
        'one entry',
        step(
          ingressOfA('peers', [{ from: [{ namespaceSelector: nsIs('y'), podSelector: podIs('b') }] }]),
          tcp(
            80,
            `    x/a
            x/b   X
            x/c   X
            y/b   .
            y/c   X
            z/b   X`,
          ),
        ),
      ),
      named(
        'two entries',
        step(
          ingressOfA('peers', [{ from: [{ namespaceSelector: nsIs('y') }, { podSelector: podIs('b') }] }]),
          tcp(
            80,
            `    x/a
            x/b   .
            x/c   X
            y/b   .
            y/c   .
            z/b   X`,
          ),
        ),
      ),
    ],
  },
  {
    id: 'F-12',
    title: 'policies are OR-ed, and a policy of one direction leaves the other open',
    cites: ['S-03', 'S-05'],
    topology: topology('x/ab y/ab', { outside: OUTSIDE }),
    steps: [
      named(
        'two ingress policies',
        step(
          [
            ingressOfA('from-b', [{ from: [{ podSelector: podIs('b') }] }]),
            ingressOfA('from-y-a', [{ from: [{ namespaceSelector: nsIs('y'), podSelector: podIs('a') }] }]),
          ],
          tcp(
            80,
            `        x/a x/b y/a y/b outside
            x/a       -   .   .   .    .
            x/b       .   -   .   .    .
            y/a       .   .   -   .    .
            y/b       X   .   .   -    .
            outside   X   .   .   .    -`,
          ),
        ),
      ),
      named(
        'an egress policy besides',
        step(
          egressOfA('to-y', [{ to: [{ namespaceSelector: nsIs('y') }] }]),
          tcp(
            80,
            `        x/a x/b y/a y/b outside
            x/a       -   X   .   .    X
            x/b       .   -   .   .    .
            y/a       .   .   -   .    .
            y/b       X   .   .   -    .
            outside   X   .   .   .    -`,
          ),
        ),
      ),
      named(
        'the egress policy alone',
        step(
          [
            { kind: 'delete-policy', policy: 'x/from-b' },
            { kind: 'delete-policy', policy: 'x/from-y-a' },
          ],
          tcp(
            80,
            `        x/a x/b y/a y/b outside
            x/a       -   X   .   .    X
            x/b       .   -   .   .    .
            y/a       .   .   -   .    .
            y/b       .   .   .   -    .
            outside   .   .   .   .    -`,
          ),
        ),
      ),
    ],
  },
  {
    id: 'F-13',
    title: 'labels of pods and namespaces that change are followed, both ways',
    cites: ['S-20'],
    topology: small,
    steps: [
      named(
        'nobody has the labels yet',
        step(
          apply('x/friends', {
            podSelector: labelled({ guarded: 'yes' }),
            policyTypes: ['Ingress'],
            ingress: [
              { from: [{ namespaceSelector: labelled({ team: 'friend' }), podSelector: labelled({ ok: '' }) }] },
            ],
          }),
          tcp(
            80,
            `    x/a x/b
            x/b   .   -
            y/a   .   .`,
          ),
        ),
      ),
      named(
        'the subject gets its label',
        step(
          { kind: 'label-pod', pod: 'x/a', labels: { guarded: 'yes' } },
          tcp(
            80,
            `    x/a x/b
            x/b   X   -
            y/a   X   .`,
          ),
        ),
      ),
      named(
        'the peer gets its label, its namespace not yet',
        step(
          { kind: 'label-pod', pod: 'y/a', labels: { ok: '' } },
          tcp(
            80,
            `    x/a x/b
            x/b   X   -
            y/a   X   .`,
          ),
        ),
      ),
      named(
        'the namespace too',
        step(
          { kind: 'label-namespace', namespace: 'y', labels: { team: 'friend' } },
          tcp(
            80,
            `    x/a x/b
            x/b   X   -
            y/a   .   .`,
          ),
        ),
      ),
      named(
        'the peer gets another value',
        step(
          { kind: 'label-pod', pod: 'y/a', labels: { ok: 'no' } },
          tcp(
            80,
            `    x/a x/b
            x/b   X   -
            y/a   X   .`,
          ),
        ),
      ),
      named(
        'back, but the namespace loses its label',
        step(
          [
            { kind: 'label-pod', pod: 'y/a', labels: { ok: '' } },
            { kind: 'label-namespace', namespace: 'y', labels: { team: null } },
          ],
          tcp(
            80,
            `    x/a x/b
            x/b   X   -
            y/a   X   .`,
          ),
        ),
      ),
      named(
        'the subject loses its label',
        step(
          { kind: 'label-pod', pod: 'x/a', labels: { guarded: null } },
          tcp(
            80,
            `    x/a x/b
            x/b   .   -
            y/a   .   .`,
          ),
        ),
      ),
    ],
  },
  {
    id: 'F-14',
    title: 'a new pod with the address of an old one has its own labels only',
    cites: ['S-71', 'S-73'],
    topology: topology('x/abc'),
    steps: [
      named(
        'b may connect',
        step(
          ingressOfA('from-b', [{ from: [{ podSelector: podIs('b') }] }]),
          tcp(
            80,
            `    x/a
            x/b   .
            x/c   X`,
          ),
        ),
      ),
      named(
        'b completes, then another pod gets its address',
        step(
          [
            { kind: 'set-phase', pod: 'x/b', phase: 'Succeeded' },
            { kind: 'create-pod', pod: podSpec('x/n', { node: 'node-2' }), addressesOf: 'x/b' },
          ],
          tcp(
            80,
            `    x/a x/n
            x/n   X   -
            x/c   X   .`,
          ),
        ),
      ),
      named(
        'the address is isolated as the new pod is, not as the old one was',
        step(
          [
            apply('x/deny-b', { podSelector: podIs('b'), policyTypes: ['Ingress', 'Egress'] }),
            apply('x/from-n', {
              podSelector: podIs('c'),
              policyTypes: ['Ingress'],
              ingress: [{ from: [{ podSelector: podIs('n') }] }],
            }),
          ],
          tcp(
            80,
            `    x/a x/n x/c
            x/a   -   .   X
            x/n   X   -   .
            x/c   X   .   -`,
          ),
        ),
      ),
      named(
        'the object of the old pod goes away late',
        step(
          { kind: 'delete-pod', pod: 'x/b' },
          tcp(
            80,
            `    x/a x/n x/c
            x/a   -   .   X
            x/n   X   -   .
            x/c   X   .   -`,
          ),
        ),
      ),
    ],
  },
  {
    id: 'F-15',
    title: 'the longest names are enforced like any other',
    cites: ['S-47'],
    topology: topology('y/a', {
      pods: [
        podSpec(`${LONG}/a`, { labels: { [`example.com/${LONG}`]: LONG }, node: 'node-2' }),
        podSpec(`${LONG}/b`, { labels: {} }),
      ],
    }),
    steps: [
      step(
        apply(`${LONG}/${LONG}.${LONG}.${LONG}`, {
          podSelector: labelled({ [`example.com/${LONG}`]: LONG }),
          policyTypes: ['Ingress', 'Egress'],
          ingress: [{ from: [{ podSelector: {} }] }],
        }),
        tcp(
          80,
          `           ${LONG}/a ${LONG}/b y/a
          ${LONG}/a     -        X      X
          ${LONG}/b     .        -      .
          y/a           X        .      -`,
        ),
      ),
    ],
  },
  {
    id: 'F-17',
    title: 'a pod gets the same answer over both families',
    cites: ['S-57'],
    topology: small,
    steps: [
      step(
        [
          ingressOfA('from-b', [{ from: [{ podSelector: podIs('b') }], ports: [{ port: 80 }] }]),
          egressOfA('to-y', [{ to: [{ namespaceSelector: nsIs('y') }] }]),
        ],
        only(
          [4],
          tcp(
            80,
            `        x/a x/b y/a outside
            x/a       -   X   .    X
            x/b       .   -   .    .
            y/a       X   .   -    .
            outside   X   .   .    -`,
          ),
        ),
        only(
          [6],
          tcp(
            80,
            `        x/a x/b y/a outside
            x/a       -   X   .    X
            x/b       .   -   .    .
            y/a       X   .   -    .
            outside   X   .   .    -`,
          ),
        ),
      ),
    ],
  },
  {
    id: 'F-18',
    title: 'overlapping blocks in one rule, and ::/0 is really everything',
    cites: ['S-28', 'S-29'],
    topology: topology('x/ab', {
      outside: [...OUTSIDE, { name: 'nat64', addresses: ['64:ff9b::1'] }, { name: 'ula', addresses: ['fd12::1'] }],
    }),
    steps: [
      named(
        'overlapping',
        step(
          egressOfA('blocks', [
            {
              to: [
                { ipBlock: { cidr: '{cidr:outside/16|48}' } },
                { ipBlock: { cidr: '{cidr:outside/24|64}', except: ['{host:outside}'] } },
                { ipBlock: { cidr: '{host:client}' } },
              ],
            },
          ]),
          tcp(
            80,
            `    outside client nat64 ula x/b
            x/a    .       .     X    X   X
            x/b    .       .     .    .   -`,
          ),
        ),
      ),
      named(
        'everything',
        step(
          egressOfA('blocks', [{ to: [{ ipBlock: { cidr: '{all}' } }] }]),
          tcp(
            80,
            `    outside client nat64 ula x/b node-1 node-2
            x/a    .       .     .    .   .    .      .
            x/b    .       .     .    .   -    .      .`,
          ),
        ),
      ),
    ],
  },
  {
    id: 'F-19',
    title: 'a pod that may send nothing reaches no listener on its own node either',
    cites: ['S-61', 'S-64'],
    topology: topology('x/ab y/a', { pods: [podSpec('z/h', { hostNetwork: true })] }),
    steps: [
      step(
        egressOfA('deny', []),
        tcp(
          31000,
          `    node-1 node-2 z/h
          x/a    X      X    X
          x/b    .      .    .
          y/a    .      .    .`,
        ),
      ),
      step(
        egressOfA('deny', [{ to: [{ ipBlock: { cidr: '{host:node-1}' } }], ports: [{ port: 31000 }] }]),
        tcp(
          31000,
          `    node-1 node-2 z/h
          x/a    .      X    .
          x/b    .      .    .
          y/a    .      .    .`,
        ),
        tcp(
          31001,
          `    node-1 node-2 z/h
          x/a    X      X    X
          x/b    .      .    .
          y/a    .      .    .`,
        ),
      ),
    ],
  },
  {
    id: 'F-20',
    title: 'pings are denied like anything else',
    cites: ['S-65', 'S-66'],
    topology: small,
    steps: [
      step(
        denyAllOfX,
        icmp(
          `        x/a x/b y/a outside
          x/a       -   X   X    X
          x/b       X   -   X    X
          y/a       X   X   -    .
          outside   X   X   .    -`,
        ),
        through(
          'cluster-ip',
          tcp(
            80,
            `        x/a x/b y/a
            x/a       -   X   X
            x/b       X   -   X
            y/a       X   X   -`,
          ),
        ),
      ),
    ],
  },
];
