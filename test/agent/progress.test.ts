import assert from 'node:assert/strict';
import { Progress } from '../../src/agent/progress.ts';
import type { ClusterChange } from '../../src/cluster/watch-cluster.ts';

function policy(key: string, generation: number | undefined, arrivedAtMs: number, writtenAtMs?: number): ClusterChange {
  const after =
    generation === undefined ? {} : { after: { generation } as unknown as NonNullable<ClusterChange['after']> };
  const written = writtenAtMs === undefined ? {} : { writtenAtMs };
  return {
    kind: 'networkpolicies',
    key,
    type: generation === undefined ? 'deleted' : 'changed',
    ...after,
    ...written,
    arrivedAtMs,
  };
}

const pod = (arrivedAtMs: number): ClusterChange => ({ kind: 'pods', key: 'x/p', type: 'changed', arrivedAtMs });
const AT = { nowMs: 100, hasChanged: true, waiting: [] } as const;

describe('Progress', () => {
  it('a sync brings in what arrived before it began, and nothing that came meanwhile', () => {
    const progress = new Progress();
    progress.changed(policy('x/a', 1, 10, 9_000), 'rules', true);
    const mark = progress.begin('rules');
    progress.changed(policy('x/b', 1, 20), 'rules', true);
    assert.deepEqual(
      progress.written(mark, AT).map(({ arrivedAtMs, writtenAtMs }) => [arrivedAtMs, writtenAtMs]),
      [[10, 9_000]],
    );
    assert.equal(progress.policies.get('x/a')!.committedAtMs, 100);
    assert.equal(progress.policies.get('x/b')!.committedAtMs, undefined);
  });

  it('a new generation is not in the kernel because the one before it is', () => {
    const progress = new Progress();
    progress.changed(policy('x/a', 1, 10), 'rules', true);
    progress.written(progress.begin('rules'), AT);
    progress.changed(policy('x/a', 2, 110), 'rules', true);
    const { generation, committedAtMs } = progress.policies.get('x/a')!;
    assert.deepEqual([generation, committedAtMs], [2, undefined]);
    progress.changed(policy('x/a', undefined, 120), 'rules', true);
    progress.written(progress.begin('rules'), AT);
    assert.equal(progress.policies.size, 0);
  });

  it('a sync of members leaves what needs rules, and that is told by the next one', () => {
    const progress = new Progress();
    progress.changed(policy('x/a', 1, 10), 'rules', true);
    progress.changed(pod(20), 'members', true);
    const members = progress.written(progress.begin('members'), AT);
    assert.deepEqual(
      members.map(({ kind }) => kind),
      ['pods'],
    );
    assert.equal(progress.policies.get('x/a')!.committedAtMs, undefined);
    const rules = progress.written(progress.begin('rules'), AT);
    assert.deepEqual(
      rules.map(({ kind }) => kind),
      ['networkpolicies'],
    );
  });

  it('policies of a namespace that is still compiled are not in the kernel', () => {
    const progress = new Progress();
    progress.changed(policy('x/a', 1, 10), 'rules', true);
    progress.changed(policy('y/a', 1, 10), 'rules', true);
    progress.written(progress.begin('rules'), { ...AT, waiting: ['x'] });
    assert.equal(progress.policies.get('x/a')!.committedAtMs, undefined);
    assert.equal(progress.policies.get('y/a')!.committedAtMs, 100);
  });

  it('measures no change that concerns nobody here, that the first list told, or that found the kernel right', () => {
    const progress = new Progress();
    progress.changed(pod(10), undefined, true);
    progress.changed(pod(10), 'members', false);
    assert.deepEqual(progress.written(progress.begin('rules'), AT), []);
    progress.changed(pod(10), 'members', true);
    assert.deepEqual(progress.written(progress.begin('rules'), { ...AT, hasChanged: false }), []);
    assert.deepEqual(progress.written(progress.begin('rules'), AT), [], 'once only');
  });

  it('nothing is in the kernel after its rules were removed, and all of it again after the next sync', () => {
    const progress = new Progress();
    progress.changed(policy('x/a', 1, 10), 'rules', true);
    progress.written(progress.begin('rules'), AT);
    progress.removed();
    assert.equal(progress.policies.get('x/a')!.committedAtMs, undefined);
    progress.written(progress.begin('rules'), { ...AT, nowMs: 200 });
    assert.equal(progress.policies.get('x/a')!.committedAtMs, 200);
  });

  it('is bounded: of a storm the first ten thousand are measured', () => {
    const progress = new Progress();
    for (let index = 0; index < 10_500; index++) progress.changed(pod(index), 'members', true);
    assert.equal(progress.written(progress.begin('rules'), AT).length, 10_000);
  });
});
