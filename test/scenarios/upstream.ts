/** The public "Netpol" end-to-end suite as tables. Its probes go through one ClusterIP Service per pod. */
import type { Protocol } from '../../src/core/vocabulary.ts';
import {
  type Change,
  type Expectation,
  type Scenario,
  apply,
  deletePolicy,
  labelled,
  nsIs,
  podIs,
  sctp,
  step,
  tcp,
  through,
  topology,
  udp,
  where,
} from './scenario.ts';

const NAME_LABEL = 'kubernetes.io/metadata.name';
const INGRESS = ['Ingress'];
const EGRESS = ['Egress'];

/** The usual policy of this suite: ingress of the pods `a` of x, from these peers, on these ports. */
const allowToA = (name: string, from: readonly object[], ports: readonly object[] = []): Change =>
  apply(`x/${name}`, { podSelector: podIs('a'), policyTypes: INGRESS, ingress: [{ from, ports }] });

const denyIngress = apply('x/deny-ingress', { podSelector: {}, policyTypes: INGRESS, ingress: [] });
const allowAllIngress = apply('x/allow-all', { podSelector: {}, policyTypes: INGRESS, ingress: [{}] });

const X_AB_Y_AB_ONLY_OUT_OF_X = `
         x/a x/b y/a y/b
    x/a   -   X   .   .
    x/b   X   -   .   .
    y/a   X   X   -   .
    y/b   X   X   .   -`;

/** x/ab y/a z/a: only y reaches x/a. */
const ONLY_Y_TO_A = `
         x/a x/b y/a z/a
    x/a   -   .   .   .
    x/b   X   -   .   .
    y/a   .   .   -   .
    z/a   X   .   .   -`;

/** The same pods: nobody reaches x/a. */
const NOBODY_TO_A = `
         x/a x/b y/a z/a
    x/a   -   .   .   .
    x/b   X   -   .   .
    y/a   X   .   -   .
    z/a   X   .   .   -`;

/** x/ab y/ab z/a: as the two before. */
const ONLY_Y_TO_A_OF_FIVE = `
         x/a x/b y/a y/b z/a
    x/a   -   .   .   .   .
    x/b   X   -   .   .   .
    y/a   .   .   -   .   .
    y/b   .   .   .   -   .
    z/a   X   .   .   .   -`;

const NOBODY_TO_A_OF_FIVE = `
         x/a x/b y/a y/b z/a
    x/a   -   .   .   .   .
    x/b   X   -   .   .   .
    y/a   X   .   -   .   .
    y/b   X   .   .   -   .
    z/a   X   .   .   .   -`;

/** x/a y/a. */
const PAIR_OPEN = `
         x/a y/a
    x/a   -   .
    y/a   .   -`;

const PAIR_NOTHING_IN = `
         x/a y/a
    x/a   -   .
    y/a   X   -`;

const PAIR_NOTHING_OUT = `
         x/a y/a
    x/a   -   X
    y/a   .   -`;

const PAIR_CUT = `
         x/a y/a
    x/a   -   X
    y/a   X   -`;

const ONLY_A_OF_Y_TO_A = `
         x/a x/b y/a
    x/a   -   .   .
    x/b   X   -   .
    y/a   .   .   -`;

const CASES: readonly Scenario[] = [
  {
    id: 'E-01',
    title: "supports a 'default-deny-ingress' policy",
    cites: ['S-03', 'S-12', 'S-13'],
    topology: topology('x/ab y/ab'),
    steps: [step(denyIngress, tcp(80, X_AB_Y_AB_ONLY_OUT_OF_X))],
  },
  {
    id: 'E-02',
    title: "supports a 'default-deny-all' policy",
    cites: ['S-03', 'S-04'],
    topology: topology('x/ab y/a'),
    steps: [
      step(
        apply('x/deny-all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [], egress: [] }),
        tcp(
          80,
          `    x/a x/b y/a
          x/a   -   X   X
          x/b   X   -   X
          y/a   X   X   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-03',
    title: 'allows traffic from pods within the server namespace based on PodSelector',
    cites: ['S-24'],
    topology: topology('x/abc y/a'),
    steps: [
      step(
        allowToA('allow-b', [{ podSelector: podIs('b') }]),
        tcp(
          80,
          `    x/a x/b x/c y/a
          x/a   -   .   .   .
          x/b   .   -   .   .
          x/c   X   .   -   .
          y/a   X   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-04',
    title: 'allows ingress traffic for a target',
    cites: ['S-05', 'S-16', 'S-24'],
    topology: topology('x/ab y/a'),
    steps: [
      step(
        [denyIngress, allowToA('allow-all-to-a', [{ namespaceSelector: {}, podSelector: {} }])],
        tcp(
          80,
          `    x/a x/b y/a
          x/a   -   X   .
          x/b   .   -   .
          y/a   .   X   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-05',
    title: 'allows ingress traffic from pods in all namespaces',
    cites: ['S-16', 'S-17', 'S-24'],
    topology: topology('x/ab y/a z/a'),
    steps: [
      step(
        allowToA('allow-namespaces', [{ namespaceSelector: { matchLabels: {} } }]),
        tcp(
          80,
          `    x/a x/b y/a z/a
          x/a   -   .   .   .
          x/b   .   -   .   .
          y/a   .   .   -   .
          z/a   .   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-06',
    title: 'allows traffic only from a different namespace, based on NamespaceSelector',
    cites: ['S-24'],
    topology: topology('x/ab y/a z/a'),
    steps: [step(allowToA('allow-y', [{ namespaceSelector: nsIs('y') }]), tcp(80, ONLY_Y_TO_A))],
  },
  {
    id: 'E-07',
    title: 'enforces a policy based on PodSelector with MatchExpressions',
    cites: ['S-17'],
    topology: topology('x/ab y/a z/a'),
    steps: [
      step(
        allowToA('allow-b', [{ podSelector: where('pod', 'In', 'b') }]),
        tcp(
          80,
          `    x/a x/b y/a z/a
          x/a   -   .   .   .
          x/b   .   -   .   .
          y/a   X   .   -   .
          z/a   X   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-08',
    title: 'enforces a policy based on NamespaceSelector with MatchExpressions',
    cites: ['S-17'],
    topology: topology('x/ab y/a z/a'),
    steps: [step(allowToA('allow-y', [{ namespaceSelector: where('ns', 'In', 'y') }]), tcp(80, ONLY_Y_TO_A))],
  },
  {
    id: 'E-09',
    title: 'enforces a policy based on PodSelector or NamespaceSelector',
    cites: ['S-17', 'S-24'],
    topology: topology('x/abc y/a'),
    steps: [
      step(
        allowToA('allow-either', [{ namespaceSelector: where('ns', 'NotIn', 'x') }, { podSelector: podIs('b') }]),
        tcp(
          80,
          `    x/a x/b x/c y/a
          x/a   -   .   .   .
          x/b   .   -   .   .
          x/c   X   .   -   .
          y/a   .   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-10',
    title: 'enforces a policy based on PodSelector and NamespaceSelector',
    cites: ['S-17', 'S-24'],
    topology: topology('x/ab y/ab z/b'),
    steps: [
      step(
        allowToA('allow-both', [{ namespaceSelector: where('ns', 'NotIn', 'x'), podSelector: podIs('b') }]),
        tcp(
          80,
          `    x/a x/b y/a y/b z/b
          x/a   -   .   .   .   .
          x/b   X   -   .   .   .
          y/a   X   .   -   .   .
          y/b   .   .   .   -   .
          z/b   .   .   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-11',
    title: 'enforces a policy based on multiple PodSelectors and NamespaceSelectors',
    cites: ['S-17', 'S-24'],
    topology: topology('x/ab y/abc'),
    steps: [
      step(
        allowToA('allow-b-and-c', [
          { namespaceSelector: where('ns', 'NotIn', 'x'), podSelector: where('pod', 'In', 'b', 'c') },
        ]),
        tcp(
          80,
          `    x/a x/b y/a y/b y/c
          x/a   -   .   .   .   .
          x/b   X   -   .   .   .
          y/a   X   .   -   .   .
          y/b   .   .   .   -   .
          y/c   .   .   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-12',
    title: 'enforces a policy based on any PodSelectors',
    cites: ['S-24'],
    topology: topology('x/abc y/a'),
    steps: [
      step(
        allowToA('allow-b-or-c', [{ podSelector: podIs('b') }, { podSelector: podIs('c') }]),
        tcp(
          80,
          `    x/a x/b x/c y/a
          x/a   -   .   .   .
          x/b   .   -   .   .
          x/c   .   .   -   .
          y/a   X   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-13',
    title: 'allows traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector',
    cites: ['S-24'],
    topology: topology('x/ab y/ab z/a'),
    steps: [
      step(
        allowToA('allow-y-a', [{ namespaceSelector: nsIs('y'), podSelector: podIs('a') }]),
        tcp(
          80,
          `    x/a x/b y/a y/b z/a
          x/a   -   .   .   .   .
          x/b   X   -   .   .   .
          y/a   .   .   -   .   .
          y/b   X   .   .   -   .
          z/a   X   .   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-14',
    title: 'enforces a policy based on Ports',
    cites: ['S-33', 'S-36'],
    topology: topology('x/ab y/ab z/a'),
    steps: [
      step(
        allowToA('allow-81', [{ namespaceSelector: nsIs('y') }], [{ protocol: 'TCP', port: 81 }]),
        tcp(81, ONLY_Y_TO_A_OF_FIVE),
        tcp(80, NOBODY_TO_A_OF_FIVE),
      ),
    ],
  },
  {
    id: 'E-15',
    title: 'enforces multiple, stacked policies with overlapping podSelectors',
    cites: ['S-05'],
    topology: topology('x/ab y/ab z/a'),
    steps: [
      step(
        allowToA('allow-81', [{ namespaceSelector: nsIs('y') }], [{ protocol: 'TCP', port: 81 }]),
        tcp(81, ONLY_Y_TO_A_OF_FIVE),
        tcp(80, NOBODY_TO_A_OF_FIVE),
      ),
      step(
        allowToA('allow-80', [{ namespaceSelector: nsIs('y') }], [{ protocol: 'TCP', port: 80 }]),
        tcp(81, ONLY_Y_TO_A_OF_FIVE),
        tcp(80, ONLY_Y_TO_A_OF_FIVE),
      ),
    ],
  },
  {
    id: 'E-16',
    title: 'supports an allow-all policy',
    cites: ['S-14'],
    topology: topology('x/ab y/a'),
    steps: [
      step(
        allowAllIngress,
        ...[80, 81].map((port) =>
          tcp(
            port,
            `    x/a x/b y/a
            x/a   -   .   .
            x/b   .   -   .
            y/a   .   .   -`,
          ),
        ),
      ),
    ],
  },
  {
    id: 'E-17',
    title: 'allows ingress access on one named port',
    cites: ['S-34', 'S-40'],
    topology: topology('x/ab y/a'),
    steps: [
      step(
        apply('x/allow-name', {
          podSelector: {},
          policyTypes: INGRESS,
          ingress: [{ ports: [{ port: 'serve-81-tcp' }] }],
        }),
        tcp(
          81,
          `    x/a x/b y/a
          x/a   -   .   .
          x/b   .   -   .
          y/a   .   .   -`,
        ),
        tcp(
          80,
          `    x/a x/b y/a
          x/a   -   X   .
          x/b   X   -   .
          y/a   X   X   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-18',
    title: 'allows ingress access from a namespace on one named port',
    cites: ['S-40'],
    topology: topology('x/ab y/a z/a'),
    steps: [
      step(
        allowToA('allow-name', [{ namespaceSelector: nsIs('y') }], [{ protocol: 'TCP', port: 'serve-80-tcp' }]),
        tcp(80, ONLY_Y_TO_A),
        tcp(81, NOBODY_TO_A),
      ),
    ],
  },
  {
    id: 'E-19',
    title: 'allows egress access on one named port',
    cites: ['S-40', 'S-43'],
    topology: topology('x/a y/a'),
    steps: [
      step(
        apply('x/allow-name', {
          podSelector: {},
          policyTypes: EGRESS,
          egress: [{ ports: [{ port: 'serve-80-tcp' }] }],
        }),
        tcp(80, PAIR_OPEN),
        tcp(81, PAIR_NOTHING_OUT),
      ),
    ],
  },
  {
    id: 'E-20',
    title: 'enforces an updated policy',
    cites: ['S-09', 'S-13', 'S-14'],
    topology: topology('x/a y/a'),
    steps: [
      step(apply('x/policy', { podSelector: {}, policyTypes: INGRESS, ingress: [{}] }), tcp(81, PAIR_OPEN)),
      step(apply('x/policy', { podSelector: {}, policyTypes: INGRESS, ingress: [] }), tcp(81, PAIR_NOTHING_IN)),
    ],
  },
  {
    id: 'E-21',
    title: 'allows ingress access from an updated namespace',
    cites: ['S-20'],
    topology: topology('x/a y/a'),
    steps: [
      step(allowToA('allow-ns2', [{ namespaceSelector: labelled({ ns2: 'updated' }) }]), tcp(80, PAIR_NOTHING_IN)),
      step({ kind: 'label-namespace', namespace: 'y', labels: { ns2: 'updated' } }, tcp(80, PAIR_OPEN)),
    ],
  },
  {
    id: 'E-22',
    title: 'allows ingress access from an updated pod',
    cites: ['S-20'],
    topology: topology('x/ab'),
    steps: [
      step(
        allowToA('allow-pod2', [{ podSelector: labelled({ pod: 'b', pod2: 'updated' }) }]),
        tcp(
          80,
          `    x/a x/b
          x/a   -   .
          x/b   X   -`,
        ),
      ),
      step(
        { kind: 'label-pod', pod: 'x/b', labels: { pod2: 'updated' } },
        tcp(
          80,
          `    x/a x/b
          x/a   -   .
          x/b   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-23',
    title: 'denies ingress from pods on other namespaces',
    cites: ['S-15', 'S-24'],
    topology: topology('x/ab y/a z/a'),
    steps: [
      step(
        apply('x/own', { podSelector: {}, policyTypes: INGRESS, ingress: [{ from: [{ podSelector: {} }] }] }),
        tcp(
          80,
          `    x/a x/b y/a z/a
          x/a   -   .   .   .
          x/b   .   -   .   .
          y/a   X   X   -   .
          z/a   X   X   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-24',
    title: 'denies ingress access to an updated pod',
    cites: ['S-20'],
    topology: topology('x/a y/a'),
    steps: [
      step(
        apply('x/deny-target', { podSelector: labelled({ target: 'isolated' }), policyTypes: INGRESS, ingress: [] }),
        tcp(80, PAIR_OPEN),
      ),
      step({ kind: 'label-pod', pod: 'x/a', labels: { target: 'isolated' } }, tcp(80, PAIR_NOTHING_IN)),
    ],
  },
  {
    id: 'E-25',
    title: 'denies egress from pods based on PodSelector',
    cites: ['S-03', 'S-12'],
    topology: topology('x/ab y/a'),
    steps: [
      step(
        apply('x/deny-a', { podSelector: podIs('a'), policyTypes: EGRESS, egress: [] }),
        tcp(
          80,
          `    x/a x/b y/a
          x/a   -   X   X
          x/b   .   -   .
          y/a   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-26',
    title: 'denies egress from all pods in a namespace',
    cites: ['S-12', 'S-15'],
    topology: topology('x/ab y/a'),
    steps: [
      step(
        apply('x/deny-egress', { podSelector: {}, policyTypes: EGRESS, egress: [] }),
        tcp(
          80,
          `    x/a x/b y/a
          x/a   -   X   X
          x/b   X   -   X
          y/a   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-27',
    title: 'works with Ingress, Egress specified together',
    cites: ['S-03', 'S-04', 'S-11'],
    topology: topology('x/abc'),
    steps: [
      step(
        apply('x/both', {
          podSelector: podIs('a'),
          policyTypes: ['Egress', 'Ingress'],
          ingress: [{ from: [{ podSelector: podIs('b') }] }],
          egress: [{ ports: [{ port: 80 }] }],
        }),
        tcp(
          80,
          `    x/a x/b x/c
          x/a   -   .   .
          x/b   .   -   .
          x/c   X   .   -`,
        ),
        tcp(
          81,
          `    x/a x/b x/c
          x/a   -   X   X
          x/b   .   -   .
          x/c   X   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-28',
    title: 'supports denying of egress traffic on the client side (even if the server explicitly allows this traffic)',
    cites: ['S-06'],
    topology: topology('x/a y/ab'),
    steps: [
      step(
        [
          apply('x/to-y-a', {
            podSelector: podIs('a'),
            policyTypes: EGRESS,
            egress: [{ to: [{ namespaceSelector: nsIs('y'), podSelector: podIs('a') }] }],
          }),
          ...['a', 'b'].map((server) =>
            apply(`y/from-x-a-to-${server}`, {
              podSelector: podIs(server),
              policyTypes: INGRESS,
              ingress: [{ from: [{ namespaceSelector: nsIs('x'), podSelector: podIs('a') }] }],
            }),
          ),
        ],
        tcp(
          80,
          `    x/a y/a y/b
          x/a   -   .   X
          y/a   .   -   X
          y/b   .   X   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-29',
    title: 'enforces an egress policy allowing traffic to a server in a different namespace',
    cites: ['S-24'],
    topology: topology('x/a y/ab'),
    steps: [
      step(
        apply('x/to-y-a', {
          podSelector: podIs('a'),
          policyTypes: EGRESS,
          egress: [{ to: [{ namespaceSelector: nsIs('y'), podSelector: podIs('a') }] }],
        }),
        tcp(
          80,
          `    x/a y/a y/b
          x/a   -   .   X
          y/a   .   -   .
          y/b   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-30',
    title: 'enforces an ingress policy allowing any port traffic to a server on a specific protocol',
    cites: ['S-34', 'S-38'],
    topology: topology('x/a y/a'),
    steps: [
      step(
        apply('x/tcp', { podSelector: podIs('a'), policyTypes: INGRESS, ingress: [{ ports: [{ protocol: 'TCP' }] }] }),
        tcp(80, PAIR_OPEN),
        tcp(81, PAIR_OPEN),
        udp(80, PAIR_NOTHING_IN),
      ),
    ],
  },
  {
    id: 'E-31',
    title: 'enforces multiple ingress policies with the ingress allow-all policy taking precedence',
    cites: ['S-05', 'S-14'],
    topology: topology('x/a y/a'),
    steps: [
      step(
        apply('x/allow-80', { podSelector: {}, policyTypes: INGRESS, ingress: [{ ports: [{ port: 80 }] }] }),
        tcp(81, PAIR_NOTHING_IN),
        tcp(80, PAIR_OPEN),
      ),
      step(allowAllIngress, tcp(81, PAIR_OPEN)),
    ],
  },
  {
    id: 'E-32',
    title: 'enforces multiple egress policies with the egress allow-all policy taking precedence',
    cites: ['S-05', 'S-14'],
    topology: topology('x/a y/a'),
    steps: [
      step(
        apply('x/allow-80', { podSelector: {}, policyTypes: EGRESS, egress: [{ ports: [{ port: 80 }] }] }),
        tcp(81, PAIR_NOTHING_OUT),
        tcp(80, PAIR_OPEN),
      ),
      step(apply('x/allow-all', { podSelector: {}, policyTypes: EGRESS, egress: [{}] }), tcp(81, PAIR_OPEN)),
    ],
  },
  {
    id: 'E-33',
    title: 'stops enforcing policies after they are deleted',
    cites: ['S-78'],
    topology: topology('x/a y/a'),
    steps: [
      step(
        apply('x/deny-all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [], egress: [] }),
        tcp(80, PAIR_CUT),
      ),
      step(deletePolicy('x/deny-all'), tcp(80, PAIR_OPEN)),
    ],
  },
  {
    id: 'E-34',
    title: 'allows egress access to a server in a CIDR block',
    cites: ['S-28', 'S-30'],
    topology: topology('x/a y/ab'),
    steps: [
      step(
        apply('x/to-y-b', {
          podSelector: podIs('a'),
          policyTypes: EGRESS,
          egress: [{ to: [{ ipBlock: { cidr: '{host:y/b}' } }] }],
        }),
        tcp(
          80,
          `    x/a y/a y/b
          x/a   -   X   .
          y/a   .   -   .
          y/b   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-35',
    title: 'enforces the except clause while allowing egress access to a server in a CIDR block',
    cites: ['S-28', 'S-29', 'S-30'],
    topology: topology('x/abc'),
    steps: [
      step(
        apply('x/not-b', {
          podSelector: podIs('a'),
          policyTypes: EGRESS,
          egress: [{ to: [{ ipBlock: { cidr: '{cidr:x/b/4}', except: ['{host:x/b}'] } }] }],
        }),
        tcp(
          80,
          `    x/a x/b x/c
          x/a   -   X   .
          x/b   .   -   .
          x/c   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-36',
    title: 'ensures an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed',
    cites: ['S-09', 'S-28'],
    topology: topology('x/abc'),
    steps: [
      step(
        apply('x/overlap', {
          podSelector: podIs('a'),
          policyTypes: EGRESS,
          egress: [{ to: [{ ipBlock: { cidr: '{cidr:x/b/4}', except: ['{host:x/b}'] } }] }],
        }),
        tcp(
          80,
          `    x/a x/b x/c
          x/a   -   X   .
          x/b   .   -   .
          x/c   .   .   -`,
        ),
      ),
      step(
        apply('x/overlap', {
          podSelector: podIs('a'),
          policyTypes: EGRESS,
          egress: [{ to: [{ ipBlock: { cidr: '{host:x/b}' } }] }],
        }),
        tcp(
          80,
          `    x/a x/b x/c
          x/a   -   .   X
          x/b   .   -   .
          x/c   .   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-37',
    title: 'enforces policies to control ingress and egress independently of each other',
    cites: ['S-03', 'S-14'],
    topology: topology('x/ab y/a'),
    steps: [
      step(
        apply('x/allow-egress', { podSelector: podIs('a'), policyTypes: EGRESS, egress: [{}] }),
        tcp(
          80,
          `    x/a x/b y/a
          x/a   -   .   .
          x/b   .   -   .
          y/a   .   .   -`,
        ),
      ),
      step(
        apply('x/deny-ingress-of-a', { podSelector: podIs('a'), policyTypes: INGRESS, ingress: [] }),
        tcp(
          80,
          `    x/a x/b y/a
          x/a   -   .   .
          x/b   X   -   .
          y/a   X   .   -`,
        ),
      ),
    ],
  },
  {
    id: 'E-38',
    title: 'does not mistakenly treat SCTP as TCP',
    cites: ['S-38'],
    topology: topology('x/a y/a'),
    steps: [
      step(denyIngress, tcp(81, PAIR_NOTHING_IN), sctp(81, PAIR_NOTHING_IN)),
      step(allowToA('allow-sctp', [], [{ protocol: 'SCTP', port: 81 }]), tcp(81, PAIR_NOTHING_IN), sctp(81, PAIR_OPEN)),
    ],
  },
  {
    id: 'E-39',
    title: 'isolates pods that are selected by a policy allowing SCTP',
    cites: ['S-38'],
    topology: topology('x/a y/a'),
    steps: [step(allowToA('allow-sctp', [], [{ protocol: 'SCTP', port: 80 }]), tcp(81, PAIR_NOTHING_IN))],
  },
  {
    id: 'E-40',
    title: 'does not allow access by TCP when a policy specifies only UDP',
    cites: ['S-38'],
    topology: topology('x/a y/a'),
    steps: [
      step(allowToA('allow-udp', [], [{ protocol: 'UDP', port: 81 }]), tcp(81, PAIR_NOTHING_IN), udp(81, PAIR_OPEN)),
    ],
  },
  {
    id: 'E-41',
    title: 'selects namespaces with MatchLabels using the default ns label',
    cites: ['S-21'],
    topology: topology('x/ab y/a z/a'),
    steps: [step(allowToA('allow-y', [{ namespaceSelector: labelled({ [NAME_LABEL]: 'y' }) }]), tcp(80, ONLY_Y_TO_A))],
  },
  {
    id: 'E-42',
    title: 'selects namespaces with MatchExpressions using the default ns label',
    cites: ['S-17', 'S-21'],
    topology: topology('x/ab y/a z/a'),
    steps: [
      step(
        apply('x/not-to-y', {
          podSelector: podIs('a'),
          policyTypes: EGRESS,
          egress: [{ to: [{ namespaceSelector: where(NAME_LABEL, 'NotIn', 'y') }] }],
        }),
        tcp(
          80,
          `    x/a x/b y/a z/a
          x/a   -   .   X   .
          x/b   .   -   .   .
          y/a   .   .   -   .
          z/a   .   .   .   -`,
        ),
      ),
    ],
  },
  ...onProtocol('U', 'UDP', udp),
  ...onProtocol('P', 'SCTP', sctp),
];

/** The three cases the suite has again for UDP and for SCTP. */
function onProtocol(
  letter: string,
  protocol: Protocol,
  probe: (port: number, table: string) => Expectation,
): Scenario[] {
  return [
    {
      id: `${letter}-1`,
      title: `${protocol}: supports a 'default-deny-ingress' policy`,
      cites: ['S-03', 'S-38'],
      topology: topology('x/ab y/ab'),
      steps: [step(denyIngress, probe(80, X_AB_Y_AB_ONLY_OUT_OF_X))],
    },
    {
      id: `${letter}-2`,
      title: `${protocol}: enforces a policy based on Ports`,
      cites: ['S-33', 'S-34', 'S-38'],
      topology: topology('x/ab y/a z/a'),
      steps: [
        step(
          allowToA('allow-81', [{ namespaceSelector: nsIs('y') }], [{ protocol, port: 81 }]),
          probe(81, ONLY_Y_TO_A),
          probe(80, NOBODY_TO_A),
          tcp(81, NOBODY_TO_A),
        ),
      ],
    },
    {
      id: `${letter}-3`,
      title: `${protocol}: allows traffic only from a pod in a different namespace`,
      cites: ['S-24', 'S-38'],
      topology: topology('x/ab y/a'),
      steps: [
        step(
          allowToA('allow-y-a', [{ namespaceSelector: nsIs('y'), podSelector: podIs('a') }], [{ protocol, port: 80 }]),
          probe(80, ONLY_A_OF_Y_TO_A),
        ),
      ],
    },
  ];
}

export const UPSTREAM: readonly Scenario[] = CASES.map((scenario) => ({
  ...scenario,
  steps: scenario.steps.map((each) => ({
    ...each,
    expect: each.expect.map((expectation) => through('cluster-ip', expectation)),
  })),
}));
