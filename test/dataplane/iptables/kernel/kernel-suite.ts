/** What every Kernel must do; run on the kernel in memory and on real ones, so that neither drifts from the other. */
import assert from 'node:assert/strict';
import type { RunCommand } from '../../../../src/host/command.ts';
import { versionedMap } from '../../../../src/core/versioned-map.ts';
import { type Kernel, StepFailed } from '../../../../src/dataplane/iptables/kernel/kernel.ts';
import { toolName } from '../../../../src/dataplane/iptables/kernel/linux-kernel.ts';
import type { Family } from '../../../../src/core/vocabulary.ts';
import type { ObservedFamily, PlanLine, Step } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { lookingPast } from '../../../../src/dataplane/iptables/plan/interim-rules.ts';
import { teardown } from '../../../../src/dataplane/iptables/plan/teardown.ts';
import { ownRule } from '../../../../src/dataplane/iptables/rules/chain.ts';
import type { IpSet, Match, Rule, Target } from '../../../../src/dataplane/iptables/rules/rule.ts';
import {
  type TextContext,
  addMemberText,
  createSetText,
  deleteMemberText,
  destroySetText,
  ruleText,
  swapSetText,
} from '../../../../src/dataplane/iptables/rules/write-text.ts';
import { FAMILIES } from '../../../support/address-plan.ts';

export interface KernelUnderTest {
  readonly kernel: Kernel;
  /** The same host, for somebody else's hand. */
  readonly run: RunCommand;
  close(): Promise<void>;
}

const MARKS = { mask: 0xff000000 };

const HOST = { 4: '10.0.0.1', 6: 'fd00::1' } as const;
const ADDRESS_SET = { 4: 'PCL4-addresses', 6: 'PCL6-addresses' } as const;
const PREFIX_SET = { 4: 'PCL4-prefixes', 6: 'PCL6-prefixes' } as const;
const BLOCK_PORT_SET = { 4: 'PCL4-blocks', 6: 'PCL6-blocks' } as const;
/** What a rule asks for by itself; of IPv6 also those whose text has an IPv4 address in it. */
const BLOCKS = {
  4: ['10.0.0.0/8', '0.0.0.0/1', '203.0.113.7/32', '198.51.100.128/25'],
  6: [
    ...['2001:db8::/32', '8000::/1', 'fd00::1/128', 'fd00:0:0:1::/64', '::/96'],
    ...['::1.2.3.0/120', '::ffff:0.0.0.0/96', '64:ff9b::/96', '1:0:0:2::/63'],
  ],
} as const;
const ENDPOINT_SET = { 4: 'PCL4-endpoints', 6: 'PCL6-endpoints' } as const;

function set(name: string, family: Family, type: IpSet['type'], members: readonly string[]): IpSet {
  const entries = members.map((member) => [member.replace('!', ''), !member.startsWith('!')] as const);
  return { name, family, type, members: versionedMap(entries), meaning: name };
}

/** Sets of every type, with entries of every form we write. */
function setsOf(family: Family): IpSet[] {
  const [host, other] = family === 4 ? ['10.0.0.1', '10.0.0.200'] : ['fd00::1', 'fd00::a:0:0:1'];
  const prefixes =
    family === 4
      ? ['0.0.0.0/1', '128.0.0.0/1', '!10.0.0.0/8', '10.1.2.0/23', '!10.1.2.3']
      : ['::/1', '8000::/1', '!fd00::/8', 'fd00:1::/33', '!fd00:1::5', '::ffff:10.0.0.0/104'];
  return [
    set(ADDRESS_SET[family], family, 'hash:ip', [host!, other!]),
    set(PREFIX_SET[family], family, 'hash:net', prefixes),
    set(ENDPOINT_SET[family], family, 'hash:ip,port', [`${host},6:80`, `${host},17:0`, `${other},132:65535`]),
    set(
      BLOCK_PORT_SET[family],
      family,
      'hash:net,port',
      prefixes.flatMap((prefix, at) => [`${prefix},6:80`, `${prefix.replace('!', '')},${at % 2 ? 17 : 132}:${at}`]),
    ),
  ];
}

const lines = (object: string, ...texts: readonly string[]): PlanLine[] => texts.map((text) => ({ text, object }));

function fillStep(...sets: readonly IpSet[]): Step {
  const filled = sets.flatMap((each) =>
    lines(each.name, createSetText(each), ...[...each.members].map(([m, match]) => addMemberText(each.name, m, match))),
  );
  return { kind: 'add-members', lines: filled };
}

const rulesStep = (family: Family, ...texts: readonly string[]): Step => ({
  kind: 'rules',
  family,
  lines: ['*mangle', ...texts, 'COMMIT'].map((text) => ({ text, object: /PCL-\S+/.exec(text)?.[0] ?? 'mangle' })),
});

const setsStep = (kind: 'add-members' | 'remove-members' | 'destroy-sets', ...texts: readonly string[]): Step => ({
  kind,
  lines: texts.map((text) => ({ text, object: text.split(' ')[1]! })),
});

/** At least one of every kind; a kind that is added to ruleset.ts without an example here does not compile. */
function matchesOf(family: Family): Record<Match['kind'], readonly Match[]> {
  const address = HOST[family];
  const bucket = (kind: 'source-bucket' | 'destination-bucket'): Match[] =>
    [
      [0, 15],
      [9, 15],
      [10, 15],
      [15, 15],
      [0, 0x70],
      [0x10, 0x70],
      [0x380, 0x380],
      [0, 0xe000],
      [0xe000, 0xe000],
    ].map(([bits = 0, mask = 0]) => ({ kind, bits, mask }));
  const range = (first: number, last = first) => ({ first, last });
  const fifteen = Array.from({ length: 15 }, (_, index) => range(1000 + 2 * index));
  const seven = Array.from({ length: 7 }, (_, index) => range(100 * (index + 1), 100 * (index + 1) + 50));
  const ranges = [[], [range(80)], [range(1, 65534)], [range(0, 79)], [range(81, 65535)], [range(0)], fifteen];
  return {
    source: [
      { kind: 'source', address },
      ...(family === 6 ? [{ kind: 'source', address: '::ffff:10.0.0.1' } as const] : []),
    ],
    destination: [{ kind: 'destination', address }],
    'source-block': BLOCKS[family].map((cidr) => ({ kind: 'source-block', cidr })),
    'destination-block': BLOCKS[family].map((cidr) => ({ kind: 'destination-block', cidr })),
    'source-bucket': bucket('source-bucket'),
    'destination-bucket': bucket('destination-bucket'),
    conntrack: [
      { kind: 'conntrack', states: ['ESTABLISHED', 'RELATED'] },
      { kind: 'conntrack', states: ['RELATED', 'ESTABLISHED'], direction: 'REPLY' },
      { kind: 'conntrack', states: ['INVALID'] },
      { kind: 'conntrack', states: ['INVALID', 'NEW', 'RELATED', 'ESTABLISHED'] },
    ],
    'conntrack-not': [
      { kind: 'conntrack-not', states: ['NEW'] },
      { kind: 'conntrack-not', states: ['ESTABLISHED', 'RELATED'] },
    ],
    'conntrack-confirmed': [{ kind: 'conntrack-confirmed' }],
    'stale-mark': [{ kind: 'stale-mark' }],
    'denied-flag': [
      { kind: 'denied-flag', set: true },
      { kind: 'denied-flag', set: false },
    ],
    'same-address': [{ kind: 'same-address' }],
    icmp: [{ kind: 'icmp' }],
    'neighbour-discovery': family === 6 ? [{ kind: 'neighbour-discovery' }] : [],
    ports: (['TCP', 'UDP', 'SCTP'] as const).flatMap((protocol) =>
      [...ranges, [...seven, range(9)]].map((each) => ({ kind: 'ports', protocol, ranges: each }) as const),
    ),
    'source-ports': [[], [range(80)], fifteen].map((each) => ({ kind: 'source-ports', protocol: 'UDP', ranges: each })),
    set: [
      { kind: 'set', set: ADDRESS_SET[family], dimensions: 'src' },
      { kind: 'set', set: PREFIX_SET[family], dimensions: 'dst' },
      ...(['dst,dst', 'src,src', 'src,dst', 'dst,src'] as const).map(
        (dimensions) => ({ kind: 'set', set: ENDPOINT_SET[family], dimensions }) as const,
      ),
      { kind: 'set', set: BLOCK_PORT_SET[family], dimensions: 'src,dst' },
    ],
    'not-in-set': [{ kind: 'not-in-set', set: PREFIX_SET[family], dimensions: 'src' }],
    'in-interface-prefix': [{ kind: 'in-interface-prefix', prefix: 'vlan.eth.' }],
    'out-interface-prefix': [{ kind: 'out-interface-prefix', prefix: 'vlan.eth.' }],
    'not-in-interface-prefix': [{ kind: 'not-in-interface-prefix', prefix: 'eni' }],
    'not-out-interface-prefix': [{ kind: 'not-out-interface-prefix', prefix: 'eni' }],
    'in-interface': [{ kind: 'in-interface', name: 'eni0123456789a' }],
    'out-interface': [{ kind: 'out-interface', name: 'veth1' }],
    'in-port': [
      { kind: 'in-port', name: 'veth0123456789a' },
      { kind: 'in-port', name: 'vetha', isPrefix: true },
    ],
    'out-port': [
      { kind: 'out-port', name: 'veth0123456789a' },
      { kind: 'out-port', name: 'vetha', isPrefix: true },
    ],
    dhcp: [
      { kind: 'dhcp', message: 'request' },
      { kind: 'dhcp', message: 'answer' },
    ],
    'destination-is-local': [{ kind: 'destination-is-local' }],
    'source-is-local': [{ kind: 'source-is-local' }],
    limit: [1, 2, 3, 7, 10, 60, 99, 100, 3000, 10_000].flatMap((perSecond) =>
      [1, 5, 20].map((burst) => ({ kind: 'limit', perSecond, burst }) as const),
    ),
    comment: [
      'x/p ingress rules 0,1',
      'word',
      'two-words_9',
      '-j ACCEPT',
      'a/b',
      '$(x) `y` ; # & | < > * ? ! [z] {} ~ ^ % @ = + : , .',
      'quotes " and \\ and \' and \n and \u00fc and \u{1f600}',
      'x'.repeat(300),
      '',
    ].map((text) => ({ kind: 'comment', text })),
  };
}

function targetsOf(): Record<Target['kind'], readonly Target[]> {
  return {
    return: [{ kind: 'return' }],
    drop: [{ kind: 'drop' }],
    jump: [{ kind: 'jump', chain: 'PCL-target' }],
    goto: [{ kind: 'goto', chain: 'PCL-target' }],
    'stamp-epoch': [{ kind: 'stamp-epoch' }],
    'set-denied-flag': [{ kind: 'set-denied-flag' }],
    log: [
      { kind: 'log', group: 0, prefix: 'word' },
      { kind: 'log', group: 1, prefix: 'PCL-E-abcdefghijklmnop drop' },
      { kind: 'log', group: 65535, prefix: 'p'.repeat(100) },
      { kind: 'log', group: 7, prefix: 'with/slash' },
      { kind: 'log', group: 7, prefix: '"\\\' $x' },
    ],
    none: [{ kind: 'none' }],
  };
}

const DROP: Target = { kind: 'drop' };

/** Every match alone, every target alone, and rules as the layout combines them. */
function everyRule(family: Family): Rule[] {
  const matches = matchesOf(family);
  const of = (...parts: Match[]): Rule => ({ matches: parts, target: DROP });
  return [
    ...Object.values(matches)
      .flat()
      .map((match) => of(match)),
    ...Object.values(targetsOf())
      .flat()
      .map((target) => ({ matches: [], target })),
    of(matches.icmp[0]!, { kind: 'conntrack', states: ['RELATED'] }, { kind: 'denied-flag', set: false }),
    of(matches.ports[1]!, matches.set[0]!),
    of(matches['source-block'][0]!, matches.ports[6]!),
    of(matches['destination-block'][1]!, matches['source-ports'][1]!),
    of(matches.ports[6]!, matches.set[1]!),
    of(matches.set[2]!, matches.set[0]!),
    of(matches['in-interface-prefix'][0]!, matches['source-is-local'][0]!),
    of({ kind: 'conntrack', states: ['RELATED', 'ESTABLISHED'] }, { kind: 'stale-mark' }),
  ];
}

export function kernelSuite(name: string, make: () => Promise<KernelUnderTest>): void {
  describe(`kernel: ${name}`, () => {
    let host: KernelUnderTest;
    let kernel: Kernel;

    before(async () => {
      host = await make();
      kernel = host.kernel;
      await plantForeign(host);
    });
    after(() => host.close());

    async function rulesOf(family: Family): Promise<ObservedFamily> {
      return (await kernel.readBack()).families[family]!;
    }

    async function refused(step: Step): Promise<StepFailed> {
      let failure: unknown;
      await kernel.apply(step).catch((error: unknown) => {
        failure = error;
      });
      assert.ok(failure instanceof StepFailed, `${JSON.stringify(step.lines.map(({ text }) => text))} was not refused`);
      assert.equal(failure.reason, 'refused');
      return failure;
    }

    afterEach(async () => {
      const plan = teardown(await kernel.readBack());
      for (const step of plan.steps) assert.deepEqual(await kernel.apply(step), []);
      const left = await kernel.readBack();
      assert.equal(left.sets.size, 0);
      for (const family of FAMILIES) assert.equal(left.families[family]!.chains.size, 0);
      assert.deepEqual(await foreignText(host), FOREIGN);
    });

    for (const family of FAMILIES) {
      it(`prints every kind of rule as it was written, IPv${family}`, async () => {
        const context: TextContext = { family, marks: MARKS, epoch: 5 };
        const inSet: Rule = {
          matches: [
            { kind: 'ports', protocol: 'TCP', ranges: [{ first: 80, last: 80 }] },
            { kind: 'set', set: ADDRESS_SET[family], dimensions: 'src' },
          ],
          target: { kind: 'return' },
        };
        const others = { joining: PREFIX_SET[family], leaving: PREFIX_SET[family] };
        const written = [
          ...everyRule(family).map((rule) => ruleText(rule, context)),
          ...lookingPast(ownRule(inSet, context), new Map([[ADDRESS_SET[family], others]]), context).map(
            ({ line }) => line,
          ),
        ];
        await kernel.apply(fillStep(...setsOf(family)));
        const body = written.map((text) => `-A PCL-every ${text}`.trimEnd());
        await kernel.apply(rulesStep(family, ':PCL-every - [0:0]', ':PCL-target - [0:0]', ...body));
        assert.deepEqual((await rulesOf(family)).chains.get('PCL-every'), written);
        await assertWrittenAgain(kernel, family, body);
      });

      it(`prints every kind of entry as it was written, IPv${family}`, async () => {
        const sets = setsOf(family);
        await kernel.apply(fillStep(...sets));
        const found = (await kernel.readBack()).sets;
        for (const each of sets) {
          const { type, members, maxElements } = found.get(each.name)!;
          assert.equal(type, each.type);
          assert.equal(found.get(each.name)!.family, family);
          assert.ok(maxElements >= 1_000_000);
          assert.deepEqual(new Map(members), new Map(each.members));
        }
      });

      it(`replaces, empties and deletes chains in one commit, IPv${family}`, async () => {
        await kernel.apply(
          rulesStep(
            family,
            ...[':PCL-A - [0:0]', ':PCL-B - [0:0]', ':PCL-C - [0:0]'],
            ...['-A PCL-A -j PCL-B', '-A PCL-B -g PCL-C', '-A PCL-C -j DROP', '-I FORWARD 1 -j PCL-A'],
          ),
        );
        await kernel.apply(
          rulesStep(
            family,
            ...[':PCL-D - [0:0]', ':PCL-A - [0:0]', ':PCL-B - [0:0]', ':PCL-C - [0:0]'],
            ...['-A PCL-D -j RETURN', '-A PCL-A -j PCL-D', '-X PCL-B', '-X PCL-C'],
          ),
        );
        const { chains, hooks } = await rulesOf(family);
        assert.deepEqual(Object.fromEntries(chains), { 'PCL-A': ['-j PCL-D'], 'PCL-D': ['-j RETURN'] });
        assert.equal(hooks.FORWARD[0], '-j PCL-A');
      });

      it(`puts the jump back in first place, IPv${family}`, async () => {
        await kernel.apply(rulesStep(family, ':PCL-A - [0:0]', '-I FORWARD 1 -j PCL-A'));
        await edit(host, family, '-I FORWARD 1 -p tcp -j RETURN', '-A FORWARD -j PCL-A');
        await kernel.apply(rulesStep(family, '-D FORWARD -j PCL-A', '-D FORWARD -j PCL-A', '-I FORWARD 1 -j PCL-A'));
        const { hooks } = await rulesOf(family);
        assert.deepEqual(hooks.FORWARD.slice(0, 2), ['-j PCL-A', '-p tcp -j RETURN']);
        assert.equal(hooks.FORWARD.filter((line) => line === '-j PCL-A').length, 1);
        await edit(host, family, '-D FORWARD -p tcp -j RETURN');
      });

      it(`refuses a batch as a whole, IPv${family}`, async () => {
        await kernel.apply(rulesStep(family, ':PCL-A - [0:0]', '-A PCL-A -j RETURN'));
        const before = await kernel.readBack();
        const batches = [
          ['-A PCL-A -j PCL-missing'],
          ['-A PCL-A -g PCL-missing'],
          ['-A PCL-A -m set --match-set PCL4-missing src -j RETURN'],
          ['-D PCL-A -j DROP'],
          ['-X PCL-A'],
          [':PCL-B - [0:0]', '-A PCL-A -j PCL-B', '-X PCL-B'],
          ['-A PCL-A -p tcp -m tcp --dport 65536 -j RETURN'],
          [`:PCL-${'x'.repeat(25)} - [0:0]`],
          [':PCL-A - [0:0]', ':PCL-B - [0:0]', '-A PCL-B -j PCL-A', '-A PCL-A -j PCL-B', '-I FORWARD 1 -j PCL-A'],
        ];
        for (const batch of batches) {
          await refused(rulesStep(family, ':PCL-new - [0:0]', '-A PCL-new -j DROP', ...batch));
          assert.deepEqual(await kernel.readBack(), before, batch.join('; '));
        }
      });

      it(`names the chain whose set is missing or of the other family, IPv${family}`, async () => {
        const [own, other] = family === 4 ? ([4, 6] as const) : ([6, 4] as const);
        await kernel.apply(fillStep(...setsOf(other)));
        for (const missing of [`PCL${own}-missing`, ADDRESS_SET[other]]) {
          const step = rulesStep(
            family,
            ...[':PCL-A - [0:0]', ':PCL-B - [0:0]', '-A PCL-A -j DROP'],
            ...[`-A PCL-B -m set --match-set ${missing} src -j RETURN`, '-A PCL-B -j DROP'],
          );
          const failure = await refused(step);
          assert.equal(failure.object, 'PCL-B');
          assert.equal(failure.line, 5);
        }
      });
    }

    it('stops a set step at the line it refuses, and names its set', async () => {
      const four = setsOf(4);
      const cases: readonly (readonly [line: string, by: 'tool' | 'kernel'])[] = [
        [`add ${ADDRESS_SET[4]} 10.0.0.1,6:80`, 'tool'],
        [`add ${ADDRESS_SET[4]} fd00::1`, 'tool'],
        [`add ${PREFIX_SET[4]} 0.0.0.0/0`, 'kernel'],
        [`add ${ENDPOINT_SET[4]} 10.0.0.1`, 'tool'],
        [`add ${BLOCK_PORT_SET[4]} 10.0.0.0/8`, 'tool'],
        [`add ${BLOCK_PORT_SET[4]} 0.0.0.0/0,6:80`, 'kernel'],
        ['add PCL4-missing 10.0.0.1', 'tool'],
        ['del PCL4-missing 10.0.0.1', 'tool'],
        [`create ${ADDRESS_SET[4]} hash:net family inet`, 'kernel'],
        [`create ${ADDRESS_SET[4]} hash:ip family inet maxelem 7`, 'kernel'],
        [`swap ${ADDRESS_SET[4]} ${PREFIX_SET[4]}`, 'kernel'],
        [`create PCL4-${'x'.repeat(27)} hash:ip family inet`, 'tool'],
      ];
      for (const [index, [line, by]] of cases.entries()) {
        await kernel.apply(fillStep(...four));
        const [early, late] = [`10.9.9.${2 * index}`, `10.9.9.${2 * index + 1}`];
        const failure = await refused(
          setsStep('add-members', `add ${ADDRESS_SET[4]} ${early}`, line, `add ${ADDRESS_SET[4]} ${late}`),
        );
        assert.equal(failure.object, line.split(' ')[1], line);
        assert.equal(failure.line, 2, line);
        const { members } = (await kernel.readBack()).sets.get(ADDRESS_SET[4])!;
        // Lines the tool has read but not sent yet are lost when it gives up by itself.
        if (by === 'kernel') assert.ok(members.has(early), line);
        assert.ok(!members.has(late), line);
      }
    });

    it('refuses an entry more than a set has room for', async () => {
      await kernel.apply(setsStep('add-members', 'create PCL4-small hash:ip family inet maxelem 2'));
      const adds = [1, 2, 2, 3, 4].map((last) => `add PCL4-small 10.0.0.${last}`);
      const failure = await refused(setsStep('add-members', ...adds));
      assert.equal(failure.line, 4);
      assert.equal((await kernel.readBack()).sets.get('PCL4-small')?.maxElements, 2);
    });

    it('takes what is there or gone already, and turns nomatch into match and back', async () => {
      const four = setsOf(4);
      await kernel.apply(fillStep(...four));
      await kernel.apply(fillStep(...four));
      const name = PREFIX_SET[4];
      await kernel.apply(
        setsStep(
          'remove-members',
          deleteMemberText(name, '192.0.2.0/24'),
          addMemberText(name, '10.0.0.0/8', true),
          addMemberText(name, '0.0.0.0/1', false),
          destroySetText('PCL4-missing'),
        ),
      );
      const { members } = (await kernel.readBack()).sets.get(name)!;
      assert.equal(members.get('10.0.0.0/8'), true);
      assert.equal(members.get('0.0.0.0/1'), false);
      assert.equal(members.size, four[1]!.members.size);
    });

    it('swaps the contents of two sets, also while a rule refers to one', async () => {
      const small = set('PCL4-a', 4, 'hash:ip', ['10.0.0.1']);
      const large = set('PCL4-a+', 4, 'hash:ip', ['10.0.0.1', '10.0.0.2']);
      await kernel.apply(fillStep(small, large));
      await kernel.apply(rulesStep(4, ':PCL-A - [0:0]', '-A PCL-A -m set --match-set PCL4-a src -j RETURN'));
      await kernel.apply(setsStep('add-members', swapSetText('PCL4-a', 'PCL4-a+'), destroySetText('PCL4-a+')));
      const { sets } = await kernel.readBack();
      assert.deepEqual([...sets.keys()], ['PCL4-a']);
      assert.equal(sets.get('PCL4-a')?.members.size, 2);
    });

    it('leaves sets that rules refer to, and destroys the others', async () => {
      const names = Array.from({ length: 14 }, (_, index) => `PCL4-${String.fromCharCode(97 + index)}`);
      await kernel.apply(fillStep(...names.map((name) => set(name, 4, 'hash:ip', ['10.0.0.1']))));
      const used = names.filter((_, index) => index % 3 === 0);
      const rules = used.map((name) => `-A PCL-A -m set --match-set ${name} src -j RETURN`);
      await kernel.apply(rulesStep(4, ':PCL-A - [0:0]', ...rules));
      const busy = await kernel.apply(setsStep('destroy-sets', ...names.map(destroySetText)));
      assert.deepEqual(busy, used);
      assert.deepEqual([...(await kernel.readBack()).sets.keys()].sort(), used);
    });

    it('reads nothing of others', async () => {
      const { families, sets } = await kernel.readBack();
      assert.equal(sets.size, 0);
      for (const family of FAMILIES) assert.equal(families[family]!.chains.size, 0);
      assert.ok(families[4]!.hooks.FORWARD.some((line) => line.includes('CNI-SUITE')));
    });
  });
}

/** A rule that went in is also found again by its text: what `-D` needs. */
async function assertWrittenAgain(kernel: Kernel, family: Family, body: readonly string[]): Promise<void> {
  await kernel.apply(rulesStep(family, ...body.map((text) => text.replace('-A ', '-D '))));
  assert.deepEqual((await kernel.readBack()).families[family]!.chains.get('PCL-every'), []);
}

const FOREIGN_RULES = [
  '-A CNI-SUITE -p tcp -m tcp --dport 9 -j RETURN',
  '-A FORWARD -j CNI-SUITE',
  '-A INPUT -m set --match-set CNI-SUITE src -j CNI-SUITE',
];
const FOREIGN = [
  ...FOREIGN_RULES,
  ...FOREIGN_RULES.filter((line) => !line.includes('match-set')),
  'add CNI-SUITE 192.0.2.1',
].sort();

async function plantForeign(host: KernelUnderTest): Promise<void> {
  const request = { argv: ['ipset', 'restore', '-exist'], timeoutMs: 10_000 } as const;
  await host.run({ ...request, stdin: 'create CNI-SUITE hash:ip family inet\nadd CNI-SUITE 192.0.2.1\n' });
  for (const family of FAMILIES) {
    const rules = FOREIGN_RULES.filter((line) => family === 4 || !line.includes('match-set'));
    await edit(host, family, ':CNI-SUITE - [0:0]', ...rules);
  }
}

async function edit(host: KernelUnderTest, family: Family, ...texts: readonly string[]): Promise<void> {
  const argv = [toolName(host.kernel.backend, family, 'restore'), '--noflush', '-w', '5'] as const;
  await host.run({ argv, stdin: `${['*mangle', ...texts, 'COMMIT'].join('\n')}\n`, timeoutMs: 10_000 });
}

async function foreignText(host: KernelUnderTest): Promise<string[]> {
  const texts: string[] = [];
  for (const family of FAMILIES) {
    const argv = [toolName(host.kernel.backend, family, 'save'), '-t', 'mangle'] as const;
    texts.push((await host.run({ argv, timeoutMs: 10_000 })).stdout);
  }
  texts.push((await host.run({ argv: ['ipset', 'save'], timeoutMs: 10_000 })).stdout);
  return texts
    .flatMap((text) => text.split('\n'))
    .filter((line) => /^(-A|add) .*CNI-SUITE/.test(line))
    .sort();
}
