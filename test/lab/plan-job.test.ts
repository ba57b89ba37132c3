import assert from 'node:assert/strict';
import type { JobObject, PodObject } from '../../lab/api/objects.ts';
import { planJob } from '../../lab/controllers/plan-workloads.ts';

function plan(spec: object, phases: readonly string[] = []) {
  const template = { metadata: { labels: { app: 'j' } }, spec: { containers: [{ name: 'c' }] } };
  const job = {
    metadata: { namespace: 'x', name: 'j', uid: 'u' },
    spec: { template, ...spec },
  } as unknown as JobObject;
  const pods = phases.map((phase, index) => ({
    metadata: { namespace: 'x', name: `j-${index}`, uid: `${index}` },
    spec: { containers: [] },
    status: { phase },
  })) as unknown as PodObject[];
  return planJob(job, pods);
}

const counts = (spec: object, phases: readonly string[] = []): number[] => {
  const { create, remove } = plan(spec, phases);
  return [create.length, remove.length];
};

describe('planJob', () => {
  it('makes one pod with the labels of its job', () => {
    const { create } = plan({});
    assert.equal(create.length, 1);
    const { metadata } = create[0] as { metadata: { generateName: string; labels: object } };
    assert.equal(metadata.generateName, 'j-');
    assert.deepEqual(metadata.labels, { app: 'j', 'batch.kubernetes.io/job-name': 'j', 'job-name': 'j' });
  });

  it('keeps as many as may run beside each other, until as many as wanted have succeeded', () => {
    assert.deepEqual(counts({ parallelism: 2, completions: 3 }), [2, 0]);
    assert.deepEqual(counts({ parallelism: 2, completions: 3 }, ['Running', 'Succeeded']), [1, 0]);
    assert.deepEqual(counts({ parallelism: 2, completions: 3 }, ['Succeeded', 'Succeeded']), [1, 0]);
    assert.deepEqual(counts({ parallelism: 2, completions: 3 }, ['Succeeded', 'Succeeded', 'Succeeded']), [0, 0]);
    assert.deepEqual(counts({ parallelism: 2 }, ['Succeeded']), [0, 0]);
    assert.deepEqual(counts({}, ['Failed']), [1, 0]);
  });

  it('takes pods away when fewer may run, and all while it is suspended', () => {
    assert.deepEqual(counts({ parallelism: 1, completions: 5 }, ['Running', 'Running']), [0, 1]);
    assert.deepEqual(counts({ parallelism: 2, suspend: true }, ['Running']), [0, 1]);
  });
});
