/** What we write is read back as the rule it came from, and nothing else is. */
import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { compileNode } from '../../../../src/compile/compile-node.ts';
import { FAMILIES, type Family } from '../../../../src/core/vocabulary.ts';
import { renderNode } from '../../../../src/dataplane/iptables/render/render-node.ts';
import { reverseMatch } from '../../../../src/dataplane/iptables/rules/reverse.ts';
import { leadsTo, parseRule } from '../../../../src/dataplane/iptables/rules/parse-rule.ts';
import {
  MAX_COMMENT,
  MAX_LOG_PREFIX,
  ruleText,
  safeText,
} from '../../../../src/dataplane/iptables/rules/write-text.ts';
import type { Match, Rule, Target } from '../../../../src/dataplane/iptables/rules/rule.ts';
import type { Layout } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import { cluster, NODE } from '../../../property/clusters.ts';
import { runs } from '../../../property/runs.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';

const MARKS = { mask: 0xff000000 };
const EPOCH = 7;
const ADDRESS: Readonly<Record<Family, string>> = { 4: '10.0.0.1', 6: 'fd00::1' };
const BLOCK: Readonly<Record<Family, string>> = { 4: '10.0.0.0/8', 6: 'fd00::/16' };

type Examples<T extends { readonly kind: string }> = {
  readonly [K in T['kind']]: readonly Extract<T, { readonly kind: K }>[];
};

/** At least one of each kind: a new kind does not compile without one. */
function matchExamples(family: Family): Examples<Match> {
  const address = ADDRESS[family];
  const cidr = BLOCK[family];
  const web = [{ first: 80, last: 80 }];
  return {
    source: [{ kind: 'source', address }],
    destination: [{ kind: 'destination', address }],
    'source-block': [{ kind: 'source-block', cidr }],
    'destination-block': [{ kind: 'destination-block', cidr }],
    'source-bucket': [
      { kind: 'source-bucket', bits: 0, mask: 15 },
      { kind: 'source-bucket', bits: 0x1230, mask: 0x7ff0 },
    ],
    'destination-bucket': [{ kind: 'destination-bucket', bits: 7, mask: 15 }],
    conntrack: [
      { kind: 'conntrack', states: ['NEW'] },
      { kind: 'conntrack', states: ['RELATED', 'ESTABLISHED'], direction: 'REPLY' },
    ],
    'conntrack-not': [{ kind: 'conntrack-not', states: ['RELATED', 'ESTABLISHED'] }],
    'conntrack-confirmed': [{ kind: 'conntrack-confirmed' }],
    'stale-mark': [{ kind: 'stale-mark' }],
    'denied-flag': [
      { kind: 'denied-flag', set: true },
      { kind: 'denied-flag', set: false },
    ],
    'same-address': [{ kind: 'same-address' }],
    icmp: [{ kind: 'icmp' }],
    'neighbour-discovery': family === 6 ? [{ kind: 'neighbour-discovery' }] : [],
    ports: [
      { kind: 'ports', protocol: 'TCP', ranges: [] },
      { kind: 'ports', protocol: 'UDP', ranges: [{ first: 1, last: 65534 }] },
      { kind: 'ports', protocol: 'SCTP', ranges: web, multiport: true },
      { kind: 'ports', protocol: 'TCP', ranges: [...web, { first: 90, last: 99 }] },
    ],
    'source-ports': [
      { kind: 'source-ports', protocol: 'TCP', ranges: web },
      { kind: 'source-ports', protocol: 'TCP', ranges: [...web, { first: 90, last: 99 }] },
    ],
    set: [
      { kind: 'set', set: `PCL${family}-x`, dimensions: 'src' },
      { kind: 'set', set: `PCL${family}-x`, dimensions: 'dst,src' },
    ],
    'not-in-set': [{ kind: 'not-in-set', set: `PCL${family}-x`, dimensions: 'src,dst' }],
    'in-interface-prefix': [{ kind: 'in-interface-prefix', prefix: 'eni' }],
    'out-interface-prefix': [{ kind: 'out-interface-prefix', prefix: 'eni' }],
    'not-in-interface-prefix': [{ kind: 'not-in-interface-prefix', prefix: 'eni' }],
    'not-out-interface-prefix': [{ kind: 'not-out-interface-prefix', prefix: 'eni' }],
    'in-interface': [{ kind: 'in-interface', name: 'veth0' }],
    'out-interface': [{ kind: 'out-interface', name: 'veth0' }],
    'in-port': [
      { kind: 'in-port', name: 'veth0' },
      { kind: 'in-port', name: 've', isPrefix: true },
    ],
    'out-port': [{ kind: 'out-port', name: 'veth0' }],
    dhcp: [
      { kind: 'dhcp', message: 'request' },
      { kind: 'dhcp', message: 'answer' },
    ],
    'source-is-local': [{ kind: 'source-is-local' }],
    'destination-is-local': [{ kind: 'destination-is-local' }],
    limit: [
      { kind: 'limit', perSecond: 10, burst: 5 },
      { kind: 'limit', perSecond: 10, burst: 20 },
    ],
    comment: [
      { kind: 'comment', text: 'word' },
      { kind: 'comment', text: 'a/b: two words -j DROP' },
    ],
  };
}

const TARGETS: Examples<Target> = {
  return: [{ kind: 'return' }],
  drop: [{ kind: 'drop' }],
  jump: [{ kind: 'jump', chain: 'PCL-EG' }],
  goto: [{ kind: 'goto', chain: 'PCL-E-x' }],
  'stamp-epoch': [{ kind: 'stamp-epoch' }],
  'set-denied-flag': [{ kind: 'set-denied-flag' }],
  log: [
    { kind: 'log', group: 0, prefix: 'plain' },
    { kind: 'log', group: 9, prefix: 'PCL-I-x drop' },
  ],
  none: [{ kind: 'none' }],
};

/** As the text says it: a block of one address is that address; what is only for people is cut to what fits. */
function asWritten({ matches, target }: Rule, family: Family): Rule {
  return {
    matches: matches.map((match) => matchAsWritten(match, family === 4 ? '/32' : '/128')),
    target: target.kind === 'log' ? { ...target, prefix: safeText(target.prefix, MAX_LOG_PREFIX) } : target,
  };
}

function matchAsWritten(match: Match, whole: string): Match {
  if (match.kind === 'comment') return { kind: 'comment', text: safeText(match.text, MAX_COMMENT) };
  if ((match.kind !== 'source-block' && match.kind !== 'destination-block') || !match.cidr.endsWith(whole))
    return match;
  const kind = match.kind === 'source-block' ? 'source' : 'destination';
  return { kind, address: match.cidr.slice(0, -whole.length) };
}

function assertReadsBack(rule: Rule, family: Family): void {
  const line = ruleText(rule, { family, marks: MARKS, epoch: EPOCH });
  const found = parseRule(line, family);
  assert.ok(found.kind === 'own', line);
  assert.deepEqual(found.rule, asWritten(rule, family), line);
  assert.equal(ruleText(found.rule, { family, marks: MARKS, epoch: EPOCH }), line);
}

function rulesOf(family: Family, { families }: ReturnType<typeof renderNode>): readonly Rule[] {
  const { hooks, entry, chains } = families[family];
  return [...Object.values(hooks), ...entry, ...chains.values()].flatMap(({ rules }) => rules);
}

const LAYOUTS: readonly Layout[] = [
  { ...LAYOUT, mode: 'enforce', newPods: { interfacePrefixes: ['eni'] } },
  { ...LAYOUT, mode: 'audit' },
];

describe('rules read back', () => {
  for (const family of FAMILIES) {
    it(`IPv${family}: every kind of match and target, alone and together`, () => {
      const matches: readonly Match[] = Object.values(matchExamples(family)).flat();
      for (const match of matches) assertReadsBack({ matches: [match], target: { kind: 'return' } }, family);
      const targets: readonly Target[] = Object.values(TARGETS).flat();
      for (const target of targets) {
        assertReadsBack({ matches: [], target }, family);
        assertReadsBack({ matches: [{ kind: 'source', address: ADDRESS[family] }], target }, family);
      }
      for (const first of matches)
        for (const second of matches) assertReadsBack({ matches: [first, second], target: { kind: 'drop' } }, family);
    });
  }

  it('every rule of any cluster', () => {
    fc.assert(
      fc.property(cluster, (snapshot) => {
        const intent = compileNode(snapshot, NODE);
        for (const layout of LAYOUTS) {
          const ruleset = renderNode(intent, layout);
          for (const family of FAMILIES) for (const rule of rulesOf(family, ruleset)) assertReadsBack(rule, family);
        }
      }),
      runs(60),
    );
  });

  it('every line of the golden nodes', async () => {
    const root = join(import.meta.dirname, '../../../golden');
    const folders = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isDirectory());
    for (const { name } of folders) {
      for (const family of FAMILIES) {
        const lines = (await readFile(join(root, name, `rules${family}.txt`), 'utf8')).split('\n');
        const rules = lines.flatMap((line) => /^-(?:A \S+|I \S+ \d+) ?(.*)$/.exec(line)?.[1] ?? []);
        assert.ok(rules.length > 10);
        for (const line of rules) {
          const found = parseRule(line, family);
          assert.ok(found.kind === 'own', line);
          assert.equal(ruleText(found.rule, { family, marks: MARKS, epoch: found.mark?.epoch ?? EPOCH }), line);
        }
      }
    }
  });

  it('the epoch and the bits that the text shows', () => {
    const shown = (line: string) => {
      const found = parseRule(line, 4);
      return found.kind === 'own' ? found.mark : 'foreign';
    };
    assert.deepEqual(shown('-j CONNMARK --set-xmark 0x6000000/0xff000000'), { mask: 0xff000000, epoch: 3 });
    assert.deepEqual(shown('-m connmark ! --mark 0x6000000/0xff000000 -j PCL-FWD'), { mask: 0xff000000, epoch: 3 });
    assert.deepEqual(shown('-j CONNMARK --set-xmark 0x0/0xff000000'), { mask: 0xff000000, epoch: 0 });
    assert.deepEqual(shown('-j CONNMARK --set-xmark 0x1000000/0x1000000'), { mask: 0x1000000 });
    assert.equal(shown('-j CONNMARK --set-xmark 0x7000000/0xff000000'), 'foreign', 'an epoch with the denied flag');
    assert.equal(shown('-j CONNMARK --set-xmark 0x0/0x0'), 'foreign');
    assert.equal(shown('-j RETURN'), undefined);
  });

  it('what others write is foreign, with the sets it mentions', () => {
    const foreign = [
      '-j ACCEPT',
      '-j REJECT --reject-with icmp-port-unreachable',
      '-m recent --name x -j DROP',
      '-s 10.0.0.1',
      '-p tcp -m tcp --dport',
      '-m comment --comment "a \\" b" -j RETURN',
      '-j DROP -m comment --comment x',
      '-m conntrack --ctstate NEW --ctdir ORIGINAL -j RETURN',
      '! -s 10.0.0.0/8 -j RETURN',
      '-f -j DROP',
      '-m connmark --mark 0x10/0xf0 -j DROP',
      '-m connmark --mark 0x0/0x1000000 -j DROP',
      '-j CONNMARK --set-xmark 0x0/0x1000000',
      '-m mark --mark 0x1/0x1 -j RETURN',
    ];
    for (const line of foreign) assert.deepEqual(parseRule(line, 4), { kind: 'foreign', line, sets: [] }, line);
    const line = '-m set --match-set PCL4-x src -m recent --name x -j DROP';
    assert.deepEqual(parseRule(line, 4), { kind: 'foreign', line, sets: ['PCL4-x'] });
  });

  it('the chain that a rule of anybody leads to', () => {
    assert.equal(leadsTo('-j PCL-FWD'), 'PCL-FWD');
    assert.equal(leadsTo('-m recent --name x -g PCL-OLD'), 'PCL-OLD');
    assert.equal(leadsTo('-m comment --comment "-j PCL-FWD"'), undefined);
    assert.equal(leadsTo('-j NFLOG --nflog-prefix PCL-FWD'), undefined);
    assert.equal(leadsTo(''), undefined);
    assert.equal(leadsTo('-p tcp x-j PCL-FWD'), undefined);
  });
});

describe('rules of replies', () => {
  it('the reverse of the reverse is the match itself', () => {
    const oneWay = new Set(['conntrack', 'conntrack-not', 'conntrack-confirmed', 'stale-mark', 'denied-flag']);
    for (const kind of ['neighbour-discovery', 'dhcp']) oneWay.add(kind);
    for (const family of FAMILIES) {
      for (const match of Object.values<readonly Match[]>(matchExamples(family)).flat()) {
        if (oneWay.has(match.kind)) assert.throws(() => reverseMatch(match));
        else assert.deepEqual(reverseMatch(reverseMatch(match)), match);
      }
    }
  });
});
