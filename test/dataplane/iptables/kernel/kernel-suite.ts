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
import type { IpSet, Match, Rule } from '../../../../src/dataplane/iptables/rules/rule.ts';
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
import { everyRule, matchSamples, SAMPLE_SETS } from '../../../support/rule-samples.ts';

export interface KernelUnderTest {
  readonly kernel: Kernel;
  /** The same host, for somebody else's hand. */
  readonly run: RunCommand;
  close(): Promise<void>;
}

const MARKS = { mask: 0xff000000 };

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
    set(SAMPLE_SETS[family].addresses, family, 'hash:ip', [host!, other!]),
    set(SAMPLE_SETS[family].prefixes, family, 'hash:net', prefixes),
    set(SAMPLE_SETS[family].endpoints, family, 'hash:ip,port', [`${host},6:80`, `${host},17:0`, `${other},132:65535`]),
    set(
      SAMPLE_SETS[family].blocks,
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

const WEB: Match = { kind: 'ports', protocol: 'TCP', ranges: [{ first: 80, last: 80 }] };
const FROM_WEB: Match = { ...WEB, kind: 'source-ports', protocol: 'UDP' };
const MANY_PORTS: Match = {
  kind: 'ports',
  protocol: 'TCP',
  ranges: Array.from({ length: 15 }, (_, index) => ({ first: 1000 + 2 * index, last: 1000 + 2 * index })),
};

/** As the layout combines them. */
function combinedRules(family: Family): readonly Rule[] {
  const { 'source-block': sources, 'destination-block': destinations, ...samples } = matchSamples(family);
  const { addresses, prefixes, endpoints } = SAMPLE_SETS[family];
  const fromAddresses: Match = { kind: 'set', set: addresses, dimensions: 'src' };
  const combinations: readonly (readonly Match[])[] = [
    [{ kind: 'icmp' }, { kind: 'conntrack', states: ['RELATED'] }, { kind: 'denied-flag', set: false }],
    [WEB, fromAddresses],
    [sources[0], MANY_PORTS],
    [destinations[1]!, FROM_WEB],
    [MANY_PORTS, { kind: 'set', set: prefixes, dimensions: 'dst' }],
    [{ kind: 'set', set: endpoints, dimensions: 'dst,dst' }, fromAddresses],
    [samples['in-interface-prefix'][0], { kind: 'source-is-local' }],
    [{ kind: 'conntrack', states: ['RELATED', 'ESTABLISHED'] }, { kind: 'stale-mark' }],
  ];
  return combinations.map((matches) => ({ matches, target: { kind: 'drop' } }));
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
            { kind: 'set', set: SAMPLE_SETS[family].addresses, dimensions: 'src' },
          ],
          target: { kind: 'return' },
        };
        const others = { joining: SAMPLE_SETS[family].prefixes, leaving: SAMPLE_SETS[family].prefixes };
        const written = [
          ...[...everyRule(family), ...combinedRules(family)].map((rule) => ruleText(rule, context)),
          ...lookingPast(ownRule(inSet, context), new Map([[SAMPLE_SETS[family].addresses, others]]), context).map(
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
        for (const missing of [`PCL${own}-missing`, SAMPLE_SETS[other].addresses]) {
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
      const { addresses, prefixes, endpoints, blocks } = SAMPLE_SETS[4];
      const cases: readonly (readonly [line: string, by: 'tool' | 'kernel'])[] = [
        [`add ${addresses} 10.0.0.1,6:80`, 'tool'],
        [`add ${addresses} fd00::1`, 'tool'],
        [`add ${prefixes} 0.0.0.0/0`, 'kernel'],
        [`add ${endpoints} 10.0.0.1`, 'tool'],
        [`add ${blocks} 10.0.0.0/8`, 'tool'],
        [`add ${blocks} 0.0.0.0/0,6:80`, 'kernel'],
        ['add PCL4-missing 10.0.0.1', 'tool'],
        ['del PCL4-missing 10.0.0.1', 'tool'],
        [`create ${addresses} hash:net family inet`, 'kernel'],
        [`create ${addresses} hash:ip family inet maxelem 7`, 'kernel'],
        [`swap ${addresses} ${prefixes}`, 'kernel'],
        [`create PCL4-${'x'.repeat(27)} hash:ip family inet`, 'tool'],
      ];
      for (const [index, [line, by]] of cases.entries()) {
        await kernel.apply(fillStep(...four));
        const [early, late] = [`10.9.9.${2 * index}`, `10.9.9.${2 * index + 1}`];
        const failure = await refused(
          setsStep('add-members', `add ${addresses} ${early}`, line, `add ${addresses} ${late}`),
        );
        assert.equal(failure.object, line.split(' ')[1], line);
        assert.equal(failure.line, 2, line);
        const { members } = (await kernel.readBack()).sets.get(addresses)!;
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
      const name = SAMPLE_SETS[4].prefixes;
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
