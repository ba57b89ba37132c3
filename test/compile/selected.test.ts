/** A change costs what it concerns: nothing is asked of other policies and pods, and no list of them is gone through. */
import assert from 'node:assert/strict';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { NAMESPACE_LIMITS, type NamespaceLimits } from '../../src/compile/limits.ts';
import { acceptRules } from '../../src/compile/program.ts';
import type { Labels, Pod, Policy } from '../../src/policy/model.ts';
import { namespace, pod, policy, snapshot } from '../support/builders.ts';
import { countListings } from '../support/count-listings.ts';
import { compileNode } from '../support/stages.ts';

const GROUPS = 60;

let looks = new Map<string, number>();

/** Counts how often anything of it is read. */
function watched<T extends object>(name: string, value: T): T {
  return new Proxy(value, {
    get: (target, key, receiver) => {
      looks.set(name, (looks.get(name) ?? 0) + 1);
      return Reflect.get(target, key, receiver) as unknown;
    },
  });
}

const LABELS: readonly Labels[] = Array.from({ length: GROUPS }, (_, group) => ({ group: `g${group}` }));

/** All name the same peers: a set that comes or goes is compared with all kinds of labels that may be in it. */
function selecting(group: number, port: number, more: object = {}): Policy {
  const name = `x/q${group}`;
  return policy(name, {
    podSelector: { matchLabels: { group: `g${group}` } },
    ingress: [{ from: [{ podSelector: { matchLabels: { peer: 'all' } } }], ports: [{ port }] }],
    ...more,
  });
}

function local(n: number, labels: Labels = LABELS[n % GROUPS]!): Pod {
  return {
    ...pod(`x/p${n}`, { addresses: [`10.0.0.${n}`], namedPorts: [{ name: 'web', protocol: 'TCP', port: 80 }] }),
    labels,
  };
}

const everybody = [
  policy('x/deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
  policy('x/named', { podSelector: {}, ingress: [{ ports: [{ port: 'web' }] }] }),
];

interface Change {
  readonly what: string;
  /** Names of policies and pods that may be looked at. */
  readonly concerned: readonly string[];
  readonly tell: (compiler: NodeCompiler) => void;
  readonly back: (compiler: NodeCompiler) => void;
}

const CHANGES: readonly Change[] = [
  {
    what: 'a policy is edited',
    concerned: ['x/q3'],
    tell: (compiler) => void compiler.policy('x/q3', watched('x/q3', selecting(3, 81))),
    back: (compiler) => void compiler.policy('x/q3', watched('x/q3', selecting(3, 80))),
  },
  {
    what: 'a policy selects other pods',
    concerned: ['x/q3', 'x/q4', 'x/p3', 'x/p4', 'x/p63', 'x/p64'],
    tell: (compiler) => void compiler.policy('x/q3', { ...selecting(4, 80), name: 'q3' }),
    back: (compiler) => void compiler.policy('x/q3', watched('x/q3', selecting(3, 80))),
  },
  {
    what: 'a policy comes and goes',
    concerned: ['x/q3', 'x/another', 'x/p3', 'x/p63'],
    tell: (compiler) => void compiler.policy('x/another', { ...selecting(3, 82), name: 'another' }),
    back: (compiler) => void compiler.policy('x/another', undefined),
  },
  {
    what: 'a local pod is relabelled',
    concerned: ['x/q3', 'x/q4', 'x/p3'],
    tell: (compiler) => void compiler.pod('x/p3', watched('x/p3', local(3, LABELS[4]))),
    back: (compiler) => void compiler.pod('x/p3', watched('x/p3', local(3))),
  },
  {
    what: 'a local pod gets labels that no other has',
    concerned: ['x/q3', 'x/q4', 'x/p3'],
    tell: (compiler) => void compiler.pod('x/p3', watched('x/p3', local(3, { group: 'g4', own: '' }))),
    back: (compiler) => void compiler.pod('x/p3', watched('x/p3', local(3))),
  },
  {
    what: 'a local pod goes and comes',
    concerned: ['x/q3', 'x/p3'],
    tell: (compiler) => void compiler.pod('x/p3', undefined),
    back: (compiler) => void compiler.pod('x/p3', watched('x/p3', local(3))),
  },
];

/** Plain data, sets as lists in an order of their own. */
function plain({ endpoints, programs, localAddresses, addressPortSets, addressSets, problems }: NodeIntent): unknown {
  const sets = [...addressPortSets.values(), ...addressSets.values()];
  const members = sets.map(({ key, members: all }) => JSON.stringify([key, ...[...all].map(String).sort()]));
  return JSON.parse(
    JSON.stringify([endpoints, programs, [...localAddresses].map(String).sort(), members.sort(), problems]),
  );
}

function started(limits: NamespaceLimits = NAMESPACE_LIMITS): NodeCompiler {
  const compiler = new NodeCompiler('node-1', undefined, limits);
  const pods = Array.from({ length: GROUPS * 2 }, (_, n) => watched(`x/p${n}`, local(n)));
  const policies = LABELS.map((_, group) => watched(`x/q${group}`, selecting(group, 80)));
  loadSnapshot(compiler, snapshot({ pods, policies: [...policies, ...everybody], namespaces: [namespace('x')] }));
  compiler.intent();
  return compiler;
}

describe('what a change of a namespace costs', () => {
  for (const { what, concerned, tell, back } of CHANGES) {
    it(`${what}: no other policy and no other pod is looked at, and none of their lists gone through`, async () => {
      const compiler = started();
      const before = compiler.intent();
      for (const change of [tell, back, tell, back]) {
        looks = new Map();
        change(compiler);
        assert.equal(await countListings(GROUPS / 2, () => compiler.intent()), 0);
        assert.deepEqual(
          [...looks.keys()].filter((name) => !concerned.includes(name)),
          [],
        );
        assert.ok(looks.size > 0, 'the count sees nothing');
      }
      assert.deepEqual(plain(compiler.intent()), plain(before));
    });
  }

  it('also of a namespace that is at its limits, however often: what was there before counts no more', async () => {
    const plenty = started();
    const [programs, sets] = [plenty.intent().programs.length, plenty.intent().addressPortSets.size];
    assert.ok(programs > GROUPS && sets > 0);
    // Rules: one of each group, and one of the named port in each; sets: of the peers and of the named ports, in both families.
    const limits = { ...NAMESPACE_LIMITS, rules: 2 * GROUPS + 3, sets: 4, entries: 4 * GROUPS, work: 60_000 };
    const compiler = started(limits);
    assert.deepEqual(plain(compiler.intent()), plain(plenty.intent()));
    for (let round = 0; round < 20; round++) {
      for (const { concerned, tell, back } of CHANGES.filter(({ what }) => !what.includes('comes'))) {
        for (const change of [tell, back]) {
          looks = new Map();
          change(compiler);
          assert.equal(await countListings(GROUPS / 2, () => compiler.intent()), 0);
          assert.deepEqual(
            [...looks.keys()].filter((name) => !concerned.includes(name)),
            [],
          );
        }
      }
    }
    assert.deepEqual(plain(compiler.intent()), plain(plenty.intent()));
  });

  it('what it does not concern stays the same object', () => {
    const compiler = started();
    const before = compiler.intent();
    compiler.policy('x/q3', selecting(3, 81));
    const edited = compiler.intent();
    assert.equal(edited.endpoints, before.endpoints);
    assert.equal(edited.localAddresses, before.localAddresses);
    assert.equal(edited.programs.filter((program) => !before.programs.includes(program)).length, 1);
    compiler.pod('x/p3', local(3, LABELS[4]));
    const relabelled = compiler.intent();
    assert.equal(relabelled.endpoints.filter((endpoint) => !edited.endpoints.includes(endpoint)).length, 1);
    assert.equal(relabelled.localAddresses, before.localAddresses);
    assert.deepEqual(
      relabelled.programs.filter((program) => !edited.programs.includes(program)),
      [],
    );
  });

  it('one that has labels of its own is told the policies that select it by any of them, or by none', () => {
    const compiler = started();
    const absent = {
      matchExpressions: [{ key: 'group', operator: 'NotIn', values: LABELS.map(({ group }) => group) }],
    };
    const others = policy('x/others', { podSelector: absent, ingress: [{ ports: [{ port: 90 }] }] });
    compiler.policy('x/others', others);
    compiler.intent();
    compiler.pod('x/p3', local(3, { group: 'none' }));
    const policies = [...LABELS.map((_, group) => selecting(group, 80)), ...everybody, others];
    const pods = Array.from({ length: GROUPS * 2 }, (_, n) => (n === 3 ? local(3, { group: 'none' }) : local(n)));
    const alone = compileNode(snapshot({ pods, policies, namespaces: [namespace('x')] }), 'node-1');
    assert.deepEqual(plain(compiler.intent()), plain(alone));
    const [endpoint] = compiler.intent().endpoints.filter((each) => each.pod === 'x/p3');
    const program = compiler.intent().programs.find(({ key }) => key === endpoint!.programs.ingress)!;
    assert.deepEqual(
      acceptRules(program).map(({ ports }) => ports.kind),
      ['address-port', 'ranges'],
    );
  });
});
