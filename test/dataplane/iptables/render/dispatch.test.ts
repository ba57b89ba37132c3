/** The chains that find a pod by its address: whatever the addresses, each is found, soon, and nobody else is. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Family } from '../../../../src/core/vocabulary.ts';
import { diff } from '../../../../src/dataplane/iptables/plan/diff.ts';
import type { ObservedState } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { readSavedRules } from '../../../support/read-saved.ts';
import { MAX_BUCKET, dispatchChains } from '../../../../src/dataplane/iptables/render/dispatch.ts';
import { lowBits } from '../../../../src/dataplane/iptables/rules/low-bits.ts';
import { MAX_CHAIN_NAME } from '../../../../src/dataplane/iptables/rules/names.ts';
import type { Layout } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import { ruleText } from '../../../../src/dataplane/iptables/rules/write-text.ts';
import { compileNode, renderNode } from '../../../support/stages.ts';
import { runs } from '../../../property/runs.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { traceRules } from '../../../support/tracer.ts';

const PLAIN: Layout = { mode: 'enforce', trunkInterfacePrefix: '' };

/** The chains for pods of these addresses, ingress only; each endpoint chain drops, so that a trace shows which one was found. */
function stateOf(addresses: readonly string[], family: Family): ObservedState {
  const ingress = new Map(addresses.map((address, index) => [address, `PCL-I-${index}`]));
  const chains = new Map<string, readonly string[]>();
  for (const { name, rules } of dispatchChains({ egress: new Map(), ingress }, 4, PLAIN))
    chains.set(
      name,
      rules.map((rule) => ruleText(rule, { family, epoch: 1 })),
    );
  for (const name of ingress.values()) chains.set(name, ['-j DROP']);
  const hooks = { FORWARD: ['-j PCL-IN'], INPUT: [] };
  return { families: { [family]: { chains, hooks } }, sets: new Map() };
}

function found(state: ObservedState, family: Family, destination: string): string | undefined {
  const source = family === 4 ? '203.0.113.1' : '2001:db8::1';
  const { verdict, matched } = traceRules(state, { family, source, destination, protocol: 6, port: 1 });
  return verdict === 'dropped' ? matched.at(-1)!.split(' ')[0] : undefined;
}

function searched(state: ObservedState, family: Family): number {
  const { chains } = state.families[family]!;
  const longest = (name: string): number => {
    const lines = chains.get(name) ?? [];
    return Math.max(
      0,
      ...lines.map((line, index) => {
        const target = / -g (\S+)$/.exec(line)?.[1] ?? '';
        return index + 1 + (target.startsWith('PCL-IN') ? longest(target) : 0);
      }),
    );
  };
  return longest('PCL-IN');
}

const ipv4 = (low: number): string => `10.1.${low >> 8}.${low & 255}`;
const ipv6 = (low: number): string => (low === 0 ? 'fd00::' : `fd00::${low.toString(16)}`);

describe('dispatch', () => {
  it('reads the last 16 bits of any address in canonical text', () => {
    const cases: readonly (readonly [string, number])[] = [
      ['10.0.0.1', 1],
      ['10.0.255.254', 0xfffe],
      ['fd00::', 0],
      ['::', 0],
      ['fd00::1', 1],
      ['fd00::1:ab', 0xab],
      ['fd00:0:0:1::beef', 0xbeef],
      ['::ffff:10.0.1.2', 0x102],
    ];
    for (const [address, low] of cases) assert.equal(lowBits(address), low, address);
  });

  it('finds the chain of every pod, and none for any other address', () => {
    const spread = fc.uniqueArray(fc.integer({ min: 0, max: 0xffff }), { minLength: 1, maxLength: 400 });
    // All in one bucket of the first kind, so that there are always parts of parts.
    const crowded = fc
      .uniqueArray(fc.integer({ min: 0, max: 0xfff }), { minLength: MAX_BUCKET + 1, maxLength: 400 })
      .map((all) => all.map((each) => each * 16 + 5));
    let parts = 0;
    fc.assert(
      fc.property(fc.oneof(spread, crowded), fc.constantFrom<Family>(4, 6), fc.nat(0xffff), (lows, family, other) => {
        const addressOf = family === 4 ? ipv4 : ipv6;
        const state = stateOf(lows.map(addressOf), family);
        for (const [index, low] of lows.entries())
          assert.equal(found(state, family, addressOf(low)), `PCL-I-${index}`, addressOf(low));
        if (!lows.includes(other)) assert.equal(found(state, family, addressOf(other)), undefined);
        for (const name of state.families[family]!.chains.keys()) {
          assert.ok(name.length <= MAX_CHAIN_NAME, name);
          parts += name.split('-').length > 3 && name.startsWith('PCL-IN') ? 1 : 0;
        }
      }),
      runs(60),
    );
    assert.ok(parts > 0, 'no bucket was ever divided');
  });

  it('the search grows far slower than the pods', () => {
    const lengths = [16, 250, 512, 1_000, 4_000].map((count) =>
      searched(
        stateOf(
          Array.from({ length: count }, (_, index) => ipv4(index)),
          4,
        ),
        4,
      ),
    );
    assert.deepEqual(lengths, [17, 31, 48, 31, 55]);
  });

  it('addresses that share all 16 bits are searched one by one', () => {
    const addresses = Array.from({ length: MAX_BUCKET + 8 }, (_, index) => `10.${index}.0.1`);
    assert.equal(searched(stateOf(addresses, 4), 4), 1 + addresses.length);
  });
});

describe('dispatch: divided buckets read back', () => {
  const addresses = Array.from({ length: MAX_BUCKET + 8 }, (_, index) => `10.0.${index}.1`);
  const OPEN = policy('x/p', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] });
  const WIDER = policy('x/p', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }, { ports: [{ port: 81 }] }] });

  const rulesetOf = (pods: readonly string[], policies: readonly ReturnType<typeof policy>[]) =>
    renderNode(
      compileNode(
        snapshot({ pods: pods.map((address, index) => pod(`x/p${index}`, { addresses: [address] })), policies }),
        'node-1',
      ),
      { ...LAYOUT, mode: 'enforce' },
    );
  const empty: ObservedState = {
    families: { 4: { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } } },
    sets: new Map(),
  };
  /** As the kernel would print what was written, so that nothing is known but text. */
  const readBack = ({ families, sets }: ObservedState): ObservedState => {
    const { chains, hooks } = families[4]!;
    const lines = [
      ...[...chains.keys()].map((name) => `:${name} - [0:0]`),
      ...Object.entries(hooks).flatMap(([hook, rules]) => rules.map((rule) => `-A ${hook} ${rule}`)),
      ...[...chains].flatMap(([name, rules]) => rules.map((rule) => `-A ${name} ${rule}`)),
    ];
    return { families: { 4: readSavedRules(`*mangle\n${lines.join('\n')}\nCOMMIT\n`) }, sets };
  };
  const epochs = (plan: ReturnType<typeof diff>): number => plan.summary.epochsAdvanced;

  it('plans nothing where nothing changed, and knows loosening from tightening', () => {
    const first = diff(rulesetOf(addresses, [OPEN]), empty);
    const kernel = readBack(first.after);
    assert.ok([...kernel.families[4]!.chains.keys()].some((name) => /^PCL-IN-1-[0-7]$/.test(name)));
    assert.deepEqual(diff(rulesetOf(addresses, [OPEN]), kernel).steps, []);
    const wider = diff(rulesetOf(addresses, [WIDER]), kernel);
    assert.equal(epochs(wider), 0, 'all pods may only do more');
    assert.equal(epochs(diff(rulesetOf(addresses, [OPEN]), readBack(wider.after))), 1, 'a rule less');
    assert.equal(epochs(diff(rulesetOf([...addresses, '10.0.77.1'], [OPEN]), kernel)), 1, 'a pod more');
    assert.equal(epochs(diff(rulesetOf(addresses.slice(1), [OPEN]), kernel)), 0, 'a pod less');
  });

  it('a rule in a part where no packet for it comes is not taken for the pod being judged', () => {
    const { after } = diff(rulesetOf(addresses, [OPEN]), empty);
    const kernel = readBack(after);
    const chains = new Map(kernel.families[4]!.chains);
    const [name, lines] = [...chains].find(([each]) => /^PCL-IN-1-[0-7]$/.test(each))!;
    const other = [...chains.keys()].find((each) => /^PCL-IN-1-[0-7]$/.test(each) && each !== name)!;
    chains.set(name, lines.slice(1));
    chains.set(other, [...chains.get(other)!, lines[0]!]);
    const moved = { families: { 4: { chains, hooks: kernel.families[4]!.hooks } }, sets: kernel.sets };
    assert.equal(epochs(diff(rulesetOf(addresses, [OPEN]), moved)), 1);
  });
});
