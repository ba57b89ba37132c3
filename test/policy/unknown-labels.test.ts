/** Pods and namespaces with more labels than are kept: in doubt isolated, in doubt not let in. */
import assert from 'node:assert/strict';
import { compileNode } from '../support/stages.ts';
import { acceptRules } from '../../src/compile/program.ts';
import { evaluate } from '../../src/policy/evaluate.ts';
import { type Pod, UNKNOWN_LABELS } from '../../src/policy/model.ts';
import { matches, mayMatch } from '../../src/policy/selector.ts';
import { namespace, pod, policy, snapshot } from '../support/builders.ts';

const unknown = pod('x/unknown', { labels: UNKNOWN_LABELS, addresses: ['10.0.0.1'] });
const plain = pod('x/plain', { labels: { app: 'plain' }, addresses: ['10.0.0.2'] });
const app = (name: string): object => ({ matchLabels: { app: name } });

function reaches(from: Pod, to: Pod, ...policies: Parameters<typeof policy>[]): boolean {
  const cluster = snapshot({
    pods: [unknown, plain],
    namespaces: [{ ...namespace('x'), labels: UNKNOWN_LABELS }],
    policies: policies.map((each) => policy(...each)),
  });
  const flow = { source: from.addresses[0]!, destination: to.addresses[0]!, protocol: 6, port: 80 };
  return evaluate(cluster, flow).allowed;
}

describe('labels that are not known', () => {
  it('a selector is sure of them only if it selects everything', () => {
    const selectors = [
      { podSelector: {} },
      { podSelector: app('a') },
      { podSelector: { matchExpressions: [{ key: 'app', operator: 'DoesNotExist' }] } },
      { podSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['a'] }] } },
    ].map((spec) => policy('x/p', spec).podSelector);
    assert.deepEqual(
      selectors.map((each) => matches(each, UNKNOWN_LABELS)),
      [true, false, false, false],
    );
    assert.deepEqual(
      selectors.map((each) => mayMatch(each, UNKNOWN_LABELS)),
      [true, true, true, true],
    );
    assert.equal(mayMatch({ kind: 'nothing', reason: '' }, UNKNOWN_LABELS), false);
  });

  it('fault: each policy of the namespace isolates such a pod, and only one for all pods lets anything in', () => {
    assert.equal(reaches(plain, unknown), true);
    assert.equal(reaches(plain, unknown, ['x/p', { podSelector: app('other'), ingress: [{}] }]), false);
    assert.equal(reaches(plain, unknown, ['x/p', { podSelector: {}, ingress: [{}] }]), true);
    assert.equal(reaches(unknown, plain, ['x/p', { podSelector: app('other'), policyTypes: ['Egress'] }]), false);
    assert.equal(reaches(plain, unknown, ['y/p', { podSelector: app('other') }]), true, 'of another namespace');
  });

  it('fault: such a pod, or one of such a namespace, is no peer by label, whatever the operator', () => {
    const from = (peer: object): Parameters<typeof policy> => [
      'x/p',
      { podSelector: app('plain'), ingress: [{ from: [peer] }] },
    ];
    const absent = { matchExpressions: [{ key: 'app', operator: 'DoesNotExist' }] };
    assert.equal(reaches(unknown, plain, from({ podSelector: {} })), true);
    assert.equal(reaches(unknown, plain, from({ podSelector: absent })), false);
    assert.equal(reaches(unknown, plain, from({ namespaceSelector: {} })), true);
    assert.equal(reaches(unknown, plain, from({ namespaceSelector: absent })), false);
  });

  it('is a class of its own beside pods that the same policies select for sure', () => {
    const p = policy('x/p', { podSelector: app('plain'), ingress: [{}] });
    const { endpoints, programs } = compileNode(snapshot({ pods: [unknown, plain], policies: [p] }), 'node-1');
    assert.equal(new Set(endpoints.map((each) => each.programs.ingress)).size, 2);
    assert.deepEqual(new Set(programs.map((program) => acceptRules(program).length)), new Set([0, 1]));
  });
});
