/** Arbitrary API objects of people who mean harm, of broken tools and of API servers from the future. */
import fc from 'fast-check';

/** What would hurt if it reached a command's input, a file's path, a log line or a key of ours as it is. */
const BAD_TEXTS = [
  'x\nCOMMIT\n-F',
  'x"\n-A FORWARD -j ACCEPT\nCOMMIT\n*mangle\n:PCL-FWD - [0:0]',
  'a"b',
  "a'b",
  'a\\',
  'a\\"b',
  '"',
  '',
  ' ',
  'two words',
  '\t',
  '\r\nflush',
  '-j',
  '--',
  '! -s 0.0.0.0/0',
  '$(reboot)',
  '`reboot`',
  '%s%n',
  '../../etc/passwd',
  'a/b',
  'a,b:c',
  'a+b',
  '#',
  '\u0000',
  '\u001b[2J',
  '\u007f',
  '\u2028',
  '\u202etxt',
  '\ud800',
  '\u{1f600}'.repeat(40),
  'ä'.repeat(300),
  'x'.repeat(300),
  'PCL-FWD',
  '__proto__',
  'constructor',
  'toString',
  'null',
] as const;

export const badText = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom<string>(...BAD_TEXTS) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
);

/** A good one more often than not: objects that are thrown away whole test nothing else. */
const textOr = (...good: readonly string[]) =>
  fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...good) }, { weight: 1, arbitrary: badText });

const junk: fc.Arbitrary<unknown> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.constantFrom<unknown>(null, 0, -1, 1e300, 0.5, true, false, '', [], {}, [null], [[]], [{}]),
  },
  { weight: 1, arbitrary: badText },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
);

const mostly = (good: fc.Arbitrary<unknown>, weight = 30) =>
  fc.oneof({ weight, arbitrary: good }, { weight: 1, arbitrary: junk });

/** An object with most of `fields`, a few of them something else; sometimes with one nobody knows. */
function nearly(fields: Readonly<Record<string, fc.Arbitrary<unknown>>>, needed: readonly string[] = []) {
  const each = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, mostly(field)]));
  const requiredKeys = needed as (keyof typeof each)[];
  const plain = fc.record(each, { requiredKeys });
  const known = fc.oneof(
    { weight: 40, arbitrary: plain },
    { weight: 1, arbitrary: fc.tuple(plain, badText).map(([object, field]) => ({ ...object, [field]: 1 })) },
  );
  return known as fc.Arbitrary<Record<string, unknown>>;
}

const few = (entry: fc.Arbitrary<unknown>, minLength = 0) => fc.array(entry, { minLength, maxLength: 3 });

const NAMESPACES = ['x', 'y', 'x-y'];
const NAMES = ['a', 'b', 'a-b', 'a.b'];
const labels = fc.dictionary(textOr('app', 'tier'), mostly(textOr('a', 'b', '')), { maxKeys: 3 });

const metadata = (name: fc.Arbitrary<unknown>) =>
  nearly(
    {
      namespace: textOr(...NAMESPACES),
      name,
      uid: fc.string({ maxLength: 4 }),
      labels,
      creationTimestamp: fc.constantFrom('2026-01-01T00:00:00Z', 'yesterday', '-1', 5),
      deletionTimestamp: fc.constantFrom(null, null, '2026-01-01T00:00:00Z'),
      annotations: labels,
    },
    ['namespace', 'name'],
  );

// ---------------------------------------------------------------------------------------------------------- policies

const selector = nearly({
  matchLabels: fc.dictionary(textOr('app', 'tier'), textOr('a', 'b', ''), { maxKeys: 2 }),
  matchExpressions: few(
    nearly({
      key: textOr('app', 'tier'),
      operator: textOr('In', 'NotIn', 'Exists', 'DoesNotExist'),
      values: few(textOr('a', 'b')),
    }),
  ),
});
const cidr = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom(
      ...['10.0.0.0/24', '10.0.0.1/32', '0.0.0.0/0', '::/0', 'fd00::/64', '203.0.113.0/24', '2001:db8::/32'],
      ...[
        '010.0.0.0/8',
        '::ffff:10.0.0.0/104',
        '10.0.0.9/24',
        '10.0.0.0/33',
        '10.0.0.0',
        '/8',
        'fe80::1%eth0/64',
        '1/1',
      ],
    ),
  },
  { weight: 1, arbitrary: badText },
);
const peer = fc.oneof(
  nearly({ podSelector: selector, namespaceSelector: selector }),
  nearly({ ipBlock: nearly({ cidr, except: few(cidr) }, ['cidr']) }, ['ipBlock']),
);
const port = nearly({
  protocol: textOr('TCP', 'UDP', 'SCTP'),
  port: fc.oneof<fc.Arbitrary<unknown>[]>(
    fc.constantFrom(0, 1, 80, 65535, 65536, 1e9, -1, 8.5),
    textOr('web', 'dns', '80'),
  ),
  endPort: fc.constantFrom<unknown>(79, 80, 90, 65535, 'web'),
});
const rules = (peers: string) => few(nearly({ ports: few(port), [peers]: few(peer) }));
const spec = nearly(
  {
    podSelector: fc.oneof(fc.constant({}), selector),
    policyTypes: few(textOr('Ingress', 'Egress')),
    ingress: rules('from'),
    egress: rules('to'),
  },
  ['podSelector'],
);

export const hostilePolicy = nearly({ metadata: metadata(textOr(...NAMES)), spec }, ['metadata', 'spec']);

// -------------------------------------------------------------------------------------------------------------- pods

const ADDRESSES = [
  ...['10.0.0.1', '10.0.0.2', '10.0.0.17', '10.0.1.255', '172.18.0.2', '0.0.0.0', '127.0.0.1', '255.255.255.255'],
  ...['fd00::1', 'fd00::2', 'fd00::11', 'FD00:0::00FF', '::', '::1', '::ffff:10.0.0.1', 'fd00:18::2', 'fe80::1%eth0'],
  ...['10.0.0.1/24', '10.0.0.256', '10.0.0', '010.0.0.1', '10.0.0.1\n', ' 10.0.0.1', '0x0a000001'],
];
const address = fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...ADDRESSES) }, { weight: 1, arbitrary: badText });
const container = nearly({
  name: textOr('main'),
  restartPolicy: fc.constantFrom('Always', 'Never'),
  ports: few(
    nearly({
      name: textOr('web', 'dns'),
      protocol: textOr('TCP', 'UDP', 'SCTP'),
      containerPort: fc.constantFrom(0, 1, 53, 80, 65535, 65536, '80'),
    }),
  ),
});

export const hostilePod = nearly(
  {
    metadata: metadata(textOr(...NAMES)),
    spec: nearly(
      {
        nodeName: textOr('node-1', 'node-1', 'node-2'),
        hostNetwork: fc.constantFrom<unknown>(false, false, true, 'true', 1),
        containers: few(container),
        initContainers: few(container),
      },
      ['nodeName'],
    ),
    status: nearly(
      {
        phase: textOr('Running', 'Running', 'Pending', 'Succeeded', 'Failed'),
        podIP: address,
        podIPs: few(nearly({ ip: address }, ['ip']), 1),
      },
      ['podIPs'],
    ),
  },
  ['metadata', 'spec', 'status'],
);

export const hostileNamespace = nearly({ metadata: metadata(textOr(...NAMESPACES)) }, ['metadata']);

export const hostileNode = nearly(
  {
    metadata: metadata(textOr('node-1', 'node-2')),
    status: nearly({ addresses: few(nearly({ type: fc.constant('InternalIP'), address })) }),
  },
  ['metadata'],
);

export interface HostileObjects {
  readonly pods: readonly unknown[];
  readonly namespaces: readonly unknown[];
  readonly policies: readonly unknown[];
  readonly nodes: readonly unknown[];
}

/** As they come off the wire. */
export const hostileObjects: fc.Arbitrary<HostileObjects> = fc
  .record({
    pods: fc.array(mostly(hostilePod), { minLength: 2, maxLength: 6 }),
    namespaces: fc.array(mostly(hostileNamespace), { maxLength: 3 }),
    policies: fc.array(mostly(hostilePolicy), { minLength: 1, maxLength: 4 }),
    nodes: fc.array(mostly(hostileNode), { maxLength: 2 }),
  })
  .map((objects) => JSON.parse(JSON.stringify(objects)) as HostileObjects);
