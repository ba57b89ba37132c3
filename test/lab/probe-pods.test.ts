import assert from 'node:assert/strict';
import { once } from 'node:events';
import { ApiStore } from '../../lab/api/api-store.ts';
import type { ContainerLog } from '../../lab/api/pod-log.ts';
import type { PodObject } from '../../lab/api/objects.ts';
import { ProbePods } from '../../lab/probe-pods.ts';
import type { MatrixProbe, ProbeResult } from '../../lab/network/types.ts';
import { PROBE_CONTAINER, TARGETS_VARIABLE } from '../../src/cli/verify/probe-pods.ts';
import { namespaceObject, podObject } from '../support/api-objects.ts';

const TARGETS = '10.0.0.7:80 10.0.0.8:443';

describe('ProbePods', () => {
  let store: ApiStore;
  let pods: ProbePods;
  let asked: readonly MatrixProbe[];
  let onAsked: EventTarget;

  beforeEach(() => {
    store = new ApiStore();
    store.create('namespaces', namespaceObject('x'));
    onAsked = new EventTarget();
    const probeMatrix = async (probes: readonly MatrixProbe[]): Promise<readonly ProbeResult[]> => {
      asked = probes;
      onAsked.dispatchEvent(new Event('probes'));
      return probes.map(({ port }) => ({ outcome: port === 80 ? 'reached' : 'blocked', sent: 1 }) as ProbeResult);
    };
    pods = new ProbePods(store, { probeMatrix, pods: () => [] });
  });
  afterEach(() => pods.stop());

  function create(name: string, container: object): PodObject {
    const spec = { nodeName: 'node-1', containers: [container] };
    return store.create('pods', podObject(`x/${name}`, { spec })) as PodObject;
  }

  const prober = (name: string): PodObject =>
    create(name, { name: PROBE_CONTAINER, image: 'i', env: [{ name: TARGETS_VARIABLE, value: TARGETS }] });
  const phase = (name: string, to: string): void =>
    void store.setStatus('pods', { namespace: 'x', name }, { phase: to });

  function isOver(log: ContainerLog): boolean {
    let over = false;
    log.follow(
      () => {},
      () => {
        over = true;
      },
    )();
    return over;
  }

  it('sends the probes of a pod once it runs, and keeps what they saw; of no other pod', async () => {
    const pod = prober('a');
    create('b', { name: 'main', image: 'i' });
    phase('b', 'Running');
    assert.equal(pods.log(pod, PROBE_CONTAINER), undefined);
    const probes = once(onAsked, 'probes');
    phase('a', 'Running');
    await probes;
    const log = pods.log(pod, PROBE_CONTAINER)!;
    while (log.lines.length < 3) await once(onAsked, 'probes');
    assert.deepEqual(
      log.lines.slice(0, 3).map(({ text }) => text),
      ['1 10.0.0.7:80 reached', '1 10.0.0.8:443 blocked', '1 done'],
    );
    assert.deepEqual(
      asked.map(({ from, address, port }) => `${from} ${address} ${port}`),
      ['pod/x/a 10.0.0.7 80', 'pod/x/a 10.0.0.8 443'],
    );
    assert.equal(pods.log(pod, 'main'), undefined);
  });

  for (const [title, leave] of [
    ['is deleted', () => void store.delete('pods', { namespace: 'x', name: 'a' }, { gracePeriodSeconds: 0 })],
    ['has finished', () => phase('a', 'Succeeded')],
  ] as const)
    it(`ends the log of a pod that ${title}, and lets others go on`, () => {
      const [pod, other] = [prober('a'), prober('c')];
      for (const name of ['a', 'c']) phase(name, 'Running');
      const logs = [pod, other].map((each) => pods.log(each, PROBE_CONTAINER)!);
      leave();
      assert.deepEqual(logs.map(isOver), [true, false]);
      assert.deepEqual([pods.log(pod, PROBE_CONTAINER), pods.log(other, PROBE_CONTAINER)], [undefined, logs[1]]);
    });
});
