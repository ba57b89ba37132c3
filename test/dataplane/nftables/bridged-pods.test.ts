/** Which bridges matter to a table that does not see their ports. */
import assert from 'node:assert/strict';
import { bridgesInUse, bridgesOfPods } from '../../../src/dataplane/nftables/bridged-pods.ts';

const DOCKER = { name: 'docker0', isOnlyPods: true, isEmpty: true } as const;
const CNI = { name: 'cni0', isOnlyPods: true } as const;
const ROUTED = { name: 'eni1', via: 'route', pod: 'x/a' } as const;
const PORT = { name: 'veth1', via: 'bridge', pod: 'x/a' } as const;

describe('bridges that a table of family inet would have to see the ports of', () => {
  it('are those in use, where a pod is a port', () => {
    const bridges = [CNI, DOCKER];
    assert.deepEqual(bridgesOfPods({ pods: [ROUTED], bridges, broadcasts: [] }, false), []);
    assert.deepEqual(bridgesOfPods({ pods: [ROUTED, PORT], bridges, broadcasts: [] }, false), ['cni0']);
    assert.deepEqual(bridgesInUse(bridges), ['cni0']);
  });

  it('are all, where new pods are kept out: one may come to any', () => {
    assert.deepEqual(bridgesOfPods({ pods: [], bridges: [DOCKER], broadcasts: [] }, true), ['docker0']);
    assert.deepEqual(bridgesOfPods({ pods: [ROUTED], bridges: [], broadcasts: [] }, true), []);
  });
});
