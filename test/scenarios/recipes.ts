/** The public NetworkPolicy recipes as tables. Unlike the end-to-end suite they ask about hosts outside of the cluster. */
import type { Labels } from '../../src/policy/model.ts';
import {
  apply,
  type Change,
  icmp,
  labelled,
  named,
  podSpec,
  type Scenario,
  step,
  tcp,
  type Topology,
  topology,
  udp,
} from './scenario.ts';

const WEB = { app: 'web' };
const OUTSIDE = [{ name: 'outside' }];

/** Pods with labels of their own on node-1 and node-2 by turns, and one host outside. */
function cluster(pods: Readonly<Record<string, Labels>>, namespaces: Topology['namespaces'] = {}): Topology {
  const specs = Object.entries(pods).map(([key, labels], index) =>
    podSpec(key, { labels, node: `node-${(index % 2) + 1}` }),
  );
  return topology('', { pods: specs, outside: OUTSIDE, namespaces });
}

const webCluster = cluster({ 'default/web': WEB, 'default/b': { app: 'other' }, 'other/a': { app: 'other' } });

const webDenyAll = apply('default/web-deny-all', { podSelector: labelled(WEB), ingress: [] });

const WEB_CLOSED = `
                default/web default/b other/a outside
    default/web      -          .        .       .
    default/b        X          -        .       .
    other/a          X          .        -       .
    outside          X          -        -       -`;

const WEB_OPEN = `
                default/web default/b other/a outside
    default/web      -          .        .       .
    default/b        .          -        .       .
    other/a          .          .        -       .
    outside          .          -        -       -`;

/** Of pods in namespaces that may or may not reach the web. */
const webFrom = (name: string, from: readonly object[]): Change =>
  apply(`default/${name}`, { podSelector: labelled(WEB), ingress: [{ from }] });

export const RECIPES: readonly Scenario[] = [
  {
    id: 'R-01',
    title: 'denies all traffic to an application',
    cites: ['S-03', 'S-12'],
    topology: webCluster,
    steps: [step(webDenyAll, tcp(80, WEB_CLOSED))],
  },
  {
    id: 'R-02',
    title: 'limits traffic to an application to pods of one label',
    cites: ['S-24'],
    topology: cluster({
      'default/api': { app: 'bookstore', role: 'api' },
      'default/shop': { app: 'bookstore', role: 'frontend' },
      'default/b': { app: 'other' },
      'other/shop': { app: 'bookstore', role: 'frontend' },
    }),
    steps: [
      step(
        apply('default/api-allow', {
          podSelector: labelled({ app: 'bookstore', role: 'api' }),
          ingress: [{ from: [{ podSelector: labelled({ app: 'bookstore' }) }] }],
        }),
        tcp(
          80,
          `               default/api default/shop default/b outside
          default/api          -          .           .        .
          default/shop         .          -           .        .
          default/b            X          .           -        .
          other/shop           X          .           .        .
          outside              X          -           -        -`,
        ),
      ),
    ],
  },
  {
    id: 'R-02a',
    title: 'allows all traffic to an application, whatever other policies deny',
    cites: ['S-05', 'S-14'],
    topology: webCluster,
    steps: [
      step(webDenyAll, tcp(80, WEB_CLOSED)),
      step(apply('default/web-allow-all', { podSelector: labelled(WEB), ingress: [{}] }), tcp(80, WEB_OPEN)),
    ],
  },
  {
    id: 'R-03',
    title: 'denies all traffic from other pods to a namespace',
    cites: ['S-03', 'S-15'],
    topology: webCluster,
    steps: [
      step(
        apply('default/default-deny-all', { podSelector: {}, ingress: [] }),
        tcp(
          80,
          `              default/web default/b other/a outside
          default/web      -          X        .       .
          default/b        X          -        .       .
          other/a          X          X        -       .
          outside          X          X        -       -`,
        ),
      ),
    ],
  },
  {
    id: 'R-04',
    title: 'denies traffic from other namespaces',
    cites: ['S-15', 'S-24', 'S-27'],
    topology: cluster({ 'secondary/web': WEB, 'secondary/b': { app: 'other' }, 'default/a': { app: 'other' } }),
    steps: [
      step(
        apply('secondary/deny-other-namespaces', {
          podSelector: { matchLabels: {} },
          ingress: [{ from: [{ podSelector: {} }] }],
        }),
        tcp(
          80,
          `                secondary/web secondary/b default/a outside
          secondary/web        -            .           .       .
          secondary/b          .            -           .       .
          default/a            X            X           -       .
          outside              X            X           -       -`,
        ),
      ),
    ],
  },
  {
    id: 'R-05',
    title: 'allows traffic from all namespaces, but not from outside',
    cites: ['S-16', 'S-24', 'S-27'],
    topology: webCluster,
    steps: [
      step(
        [webDenyAll, webFrom('web-allow-all-namespaces', [{ namespaceSelector: {} }])],
        tcp(
          80,
          `              default/web default/b other/a outside
          default/web      -          .        .       .
          default/b        .          -        .       .
          other/a          .          .        -       .
          outside          X          -        -       -`,
        ),
      ),
    ],
  },
  {
    id: 'R-06',
    title: 'allows traffic from a namespace by its label',
    cites: ['S-24'],
    topology: cluster(
      { 'default/web': WEB, 'default/b': {}, 'dev/a': {}, 'prod/a': {} },
      { dev: { purpose: 'testing' }, prod: { purpose: 'production' } },
    ),
    steps: [
      step(
        webFrom('web-allow-prod', [{ namespaceSelector: labelled({ purpose: 'production' }) }]),
        tcp(
          80,
          `              default/web default/b dev/a prod/a outside
          default/web      -          .       .     .       .
          default/b        X          -       .     .       .
          dev/a            X          .       -     .       .
          prod/a           .          .       .     -       .
          outside          X          -       -     -       -`,
        ),
      ),
    ],
  },
  {
    id: 'R-07',
    title: 'allows traffic from some pods in another namespace',
    cites: ['S-24'],
    topology: cluster(
      {
        'default/web': WEB,
        'default/mon': { type: 'monitoring' },
        'operations/mon': { type: 'monitoring' },
        'operations/b': { type: 'batch' },
        'other/mon': { type: 'monitoring' },
      },
      { operations: { team: 'operations' } },
    ),
    steps: [
      step(
        webFrom('web-allow-all-ns-monitoring', [
          {
            namespaceSelector: labelled({ team: 'operations' }),
            podSelector: labelled({ type: 'monitoring' }),
          },
        ]),
        tcp(
          80,
          `                 default/web default/mon operations/mon operations/b other/mon
          default/web         -           .             .             .          .
          default/mon         X           -             .             .          .
          operations/mon      .           .             -             .          .
          operations/b        X           .             .             -          .
          other/mon           X           .             .             .          -
          outside             X           -             -             -          -`,
        ),
      ),
    ],
  },
  {
    id: 'R-08',
    title: 'allows traffic from external clients',
    cites: ['S-05', 'S-23'],
    topology: webCluster,
    steps: [
      step(webDenyAll, tcp(80, WEB_CLOSED)),
      step(webFrom('web-allow-external', []), tcp(80, WEB_OPEN), udp(80, WEB_OPEN), icmp(WEB_OPEN)),
    ],
  },
  {
    id: 'R-09',
    title: 'allows traffic only to a port of an application',
    cites: ['S-33', 'S-36'],
    topology: cluster({
      'default/apiserver': { app: 'apiserver' },
      'default/mon': { role: 'monitoring' },
      'default/b': { role: 'other' },
    }),
    steps: [
      step(
        apply('default/api-allow-5000', {
          podSelector: labelled({ app: 'apiserver' }),
          ingress: [{ ports: [{ port: 5000 }], from: [{ podSelector: labelled({ role: 'monitoring' }) }] }],
        }),
        tcp(
          5000,
          `                    default/apiserver default/mon default/b
          default/apiserver         -              .          .
          default/mon               .              -          .
          default/b                 X              .          -
          outside                   X              -          -`,
        ),
        tcp(
          8000,
          `                    default/apiserver default/mon default/b
          default/apiserver         -              .          .
          default/mon               X              -          .
          default/b                 X              .          -
          outside                   X              -          -`,
        ),
      ),
    ],
  },
  {
    id: 'R-10',
    title: 'allows traffic with multiple selectors',
    cites: ['S-17', 'S-24'],
    topology: cluster({
      'default/db': { app: 'bookstore', role: 'db' },
      'default/search': { app: 'bookstore', role: 'search' },
      'default/api': { app: 'bookstore', role: 'api' },
      'default/stock': { app: 'inventory', role: 'web' },
      'default/mixed': { app: 'inventory', role: 'api' },
      'other/api': { app: 'bookstore', role: 'api' },
    }),
    steps: [
      step(
        apply('default/redis-allow-services', {
          podSelector: labelled({ app: 'bookstore', role: 'db' }),
          ingress: [
            {
              from: [
                { podSelector: labelled({ app: 'bookstore', role: 'search' }) },
                { podSelector: labelled({ app: 'bookstore', role: 'api' }) },
                { podSelector: labelled({ app: 'inventory', role: 'web' }) },
              ],
            },
          ],
        }),
        tcp(
          6379,
          `                 default/db default/mixed
          default/search      .           .
          default/api         .           .
          default/stock       .           .
          default/mixed       X           -
          other/api           X           .
          outside             X           -`,
        ),
      ),
    ],
  },
  {
    id: 'R-11',
    title: 'denies all egress of an application, DNS included',
    cites: ['S-03', 'S-12', 'S-38'],
    topology: cluster({ 'default/foo': { app: 'foo' }, 'default/b': {}, 'kube-system/dns': {} }),
    steps: [
      step(
        apply('default/foo-deny-egress', {
          podSelector: labelled({ app: 'foo' }),
          policyTypes: ['Egress'],
          egress: [],
        }),
        ...[udp(53, ''), tcp(53, ''), tcp(80, '')].map((probe) => ({
          ...probe,
          table: `
                          default/foo default/b kube-system/dns outside
          default/foo          -          X            X           X
          default/b            .          -            .           .
          outside              .          -            -           -`,
        })),
      ),
    ],
  },
  {
    id: 'R-11b',
    title: 'denies all egress of an application except DNS',
    cites: ['S-23', 'S-33', 'S-34'],
    topology: cluster({ 'default/foo': { app: 'foo' }, 'default/b': {}, 'kube-system/dns': {} }),
    steps: [
      step(
        apply('default/foo-deny-egress', {
          podSelector: labelled({ app: 'foo' }),
          policyTypes: ['Egress'],
          egress: [
            {
              ports: [
                { port: 53, protocol: 'UDP' },
                { port: 53, protocol: 'TCP' },
              ],
            },
          ],
        }),
        ...[udp(53, ''), tcp(53, '')].map((probe) => ({
          ...probe,
          table: `
                          default/foo default/b kube-system/dns outside
          default/foo          -          .            .           .
          default/b            .          -            .           .`,
        })),
        ...[udp(54, ''), tcp(80, '')].map((probe) => ({
          ...probe,
          table: `
                          default/foo default/b kube-system/dns outside
          default/foo          -          X            X           X
          default/b            .          -            .           .`,
        })),
      ),
    ],
  },
  {
    id: 'R-12',
    title: 'denies all egress of a namespace',
    cites: ['S-12', 'S-15'],
    topology: webCluster,
    steps: [
      step(
        apply('default/default-deny-all-egress', { podSelector: {}, policyTypes: ['Egress'], egress: [] }),
        tcp(
          80,
          `              default/web default/b other/a outside
          default/web      -          X        X       X
          default/b        X          -        X       X
          other/a          .          .        -       .
          outside          .          .        .       -`,
        ),
      ),
    ],
  },
  {
    id: 'R-14',
    title: 'denies egress of an application to outside, but not within the cluster',
    cites: ['S-05', 'S-23', 'S-27'],
    topology: cluster({ 'default/foo': { app: 'foo' }, 'default/b': {}, 'kube-system/dns': {} }),
    steps: [
      named(
        'DNS anywhere, all else only to pods',
        step(
          apply('default/foo-deny-external-egress', {
            podSelector: labelled({ app: 'foo' }),
            policyTypes: ['Egress'],
            egress: [
              {
                ports: [
                  { port: 53, protocol: 'UDP' },
                  { port: 53, protocol: 'TCP' },
                ],
              },
              { to: [{ namespaceSelector: {} }] },
            ],
          }),
          udp(
            53,
            `              default/b kube-system/dns outside
            default/foo        .             .           .
            default/b          -             .           .`,
          ),
          tcp(
            80,
            `              default/b kube-system/dns outside
            default/foo        .             .           X
            default/b          -             .           .`,
          ),
          icmp(
            `              default/b kube-system/dns outside
            default/foo        .             .           X
            default/b          -             .           .`,
          ),
        ),
      ),
    ],
  },
];
