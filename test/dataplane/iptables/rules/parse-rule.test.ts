/** What we write is read back as the rule it came from, and nothing else is. */
import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { compileNode, renderNode } from '../../../support/stages.ts';
import { FAMILIES, type Family } from '../../../../src/core/vocabulary.ts';
import { reverseMatch } from '../../../../src/dataplane/iptables/rules/reverse.ts';
import { leadsTo, parseRule } from '../../../../src/dataplane/iptables/rules/parse-rule.ts';
import {
  MAX_COMMENT,
  MAX_LOG_PREFIX,
  ruleText,
  safeText,
} from '../../../../src/dataplane/iptables/rules/write-text.ts';
import type { Match, Rule } from '../../../../src/dataplane/iptables/rules/rule.ts';
import type { Layout } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import { cluster, NODE } from '../../../property/clusters.ts';
import { runs } from '../../../property/runs.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { meaningOf } from '../../../support/rule-meaning.ts';
import { EVERY_TARGET, everyMatch, everyRule, matchSamples } from '../../../support/rule-samples.ts';
import { type ParsedMatch, readRule } from '../../../support/rule-text.ts';

const MARKS = { mask: 0xff000000 };
const EPOCH = 7;
const SHOWN = { ...MARKS, epoch: EPOCH };
/** As the text says it: a block of one address is that address; what is only for people is cut to what fits. */
function asWritten({ matches, target }: Rule, family: Family): Rule {
  return {
    matches: matches.map((match) => matchAsWritten(match, family === 4 ? '/32' : '/128')),
    target: target.kind === 'log' ? { ...target, prefix: safeText(target.prefix, MAX_LOG_PREFIX) } : target,
  };
}

const STATES = ['INVALID', 'NEW', 'RELATED', 'ESTABLISHED'] as const;

function matchAsWritten(match: Match, whole: string): Match {
  const { kind } = match;
  if (kind === 'comment') return { kind, text: safeText(match.text, MAX_COMMENT) };
  if (kind === 'source-block' || kind === 'destination-block') {
    if (!match.cidr.endsWith(whole)) return match;
    return { kind: kind === 'source-block' ? 'source' : 'destination', address: match.cidr.slice(0, -whole.length) };
  }
  if (kind === 'conntrack' || kind === 'conntrack-not')
    return { ...match, states: STATES.filter((state) => match.states.includes(state)) };
  if (kind === 'source-ports' && match.ranges.length === 0) return { ...match, kind: 'ports' };
  // The kernel keeps the time between two packets in 1/10,000 s.
  if (kind === 'limit') return { ...match, perSecond: Math.floor(10_000 / Math.floor(10_000 / match.perSecond)) };
  return match;
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
      for (const rule of everyRule(family)) assertReadsBack(rule, family);
      const [first] = matchSamples(family).source;
      for (const target of EVERY_TARGET) assertReadsBack({ matches: [first], target }, family);
      const matches = everyMatch(family);
      for (const match of matches)
        for (const next of matches) assertReadsBack({ matches: [match, next], target: { kind: 'drop' } }, family);
    });

    it(`IPv${family}: the text of every match and target says by the manuals what is meant`, () => {
      for (const rule of everyRule(family)) {
        const text = ruleText(rule, { family, marks: MARKS, epoch: EPOCH });
        assert.deepEqual(readRule(text, family), meaningOf(asWritten(rule, family), family, SHOWN), text);
      }
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

/** The same asked of the packet's other end. */
function otherEnd(asked: ParsedMatch): ParsedMatch {
  switch (asked.kind) {
    case 'address':
    case 'ports':
    case 'is-local':
      return { ...asked, side: asked.side === 'source' ? 'destination' : 'source' };
    case 'interface':
    case 'port':
      return { ...asked, side: asked.side === 'in' ? 'out' : 'in' };
    case 'set':
      return { ...asked, dimensions: asked.dimensions.map((side) => (side === 'src' ? 'dst' : 'src')) };
    case 'protocol':
    case 'confirmed':
    case 'state':
    case 'conntrack-direction':
    case 'connmark':
    case 'bpf':
    case 'limit':
    case 'comment':
      return asked;
  }
}

describe('rules of replies', () => {
  const ONE_WAY: readonly Match['kind'][] = [
    ...(['conntrack', 'conntrack-not', 'conntrack-confirmed', 'stale-mark', 'current-mark', 'denied-flag'] as const),
    ...(['neighbour-discovery', 'dhcp'] as const),
  ];
  for (const family of FAMILIES)
    it(`IPv${family}: ask of the source what was asked of the destination, and the other way round`, () => {
      const asks = (match: Match) => meaningOf({ matches: [match], target: { kind: 'drop' } }, family, SHOWN).matches;
      for (const match of everyMatch(family)) {
        if (ONE_WAY.includes(match.kind)) {
          assert.throws(() => reverseMatch(match), /a reply is not told by/);
          continue;
        }
        const reply = reverseMatch(match);
        assert.deepEqual(asks(reply), asks(match).map(otherEnd), JSON.stringify(match));
        assert.deepEqual(asks(reverseMatch(reply)), asks(match), 'the reverse of the reverse');
      }
    });
});
