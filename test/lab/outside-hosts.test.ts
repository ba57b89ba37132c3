import assert from 'node:assert/strict';
import { outsideHostsFor } from '../../lab/outside-hosts.ts';

function egress(...blocks: readonly { cidr: string; except?: readonly string[] }[]): object {
  return { spec: { egress: [{ to: blocks.map((ipBlock) => ({ ipBlock })) }] } };
}

describe('outsideHostsFor', () => {
  it('gives only world where no policy has an ipBlock', () => {
    const policies = [
      { spec: {} },
      { spec: { ingress: null } },
      { spec: { ingress: [{ from: [{ podSelector: {} }] }] } },
    ];
    assert.deepEqual(outsideHostsFor(policies, [4, 6]), [{ name: 'world' }]);
  });

  it('puts no second host where world already is', () => {
    assert.deepEqual(outsideHostsFor([egress({ cidr: '203.0.113.0/24' }, { cidr: '::/0' })], [4, 6]), [
      { name: 'world' },
    ]);
  });

  it('puts no host where a pod will be', () => {
    const hosts = (pods: readonly string[]) => outsideHostsFor([egress({ cidr: '198.51.100.8/30' })], [4], pods);
    assert.deepEqual(hosts([])[1], { name: 'in-block-1', addresses: ['198.51.100.9'] });
    assert.deepEqual(hosts(['198.51.100.9', '198.51.100.11'])[1]?.addresses, ['198.51.100.8']);
    assert.equal(hosts(['198.51.100.8', '198.51.100.9', '198.51.100.10', '198.51.100.11']).length, 1);
  });

  it('puts a host into each except, one address per family', () => {
    const ingress = {
      spec: {
        ingress: [
          {
            from: [
              { ipBlock: { cidr: '0.0.0.0/0', except: ['203.0.113.128/25'] } },
              { ipBlock: { cidr: '::/0', except: ['2001:db8:bad::/48'] } },
            ],
          },
        ],
      },
    };
    assert.deepEqual(outsideHostsFor([ingress], [4, 6]), [
      { name: 'world' },
      { name: 'in-except-1', addresses: ['203.0.113.138', '2001:db8:bad::a'] },
    ]);
    assert.deepEqual(outsideHostsFor([ingress], [6]).at(-1), { name: 'in-except-1', addresses: ['2001:db8:bad::a'] });
  });

  it('keeps clear of the excepts of a block and of the cluster', () => {
    const hosts = outsideHostsFor([egress({ cidr: '10.0.0.0/8', except: ['10.64.0.0/10', '10.128.0.0/9'] })], [4]);
    // 10.0.0.0/24 are nodes.
    assert.deepEqual(hosts, [
      { name: 'world' },
      { name: 'in-block-1', addresses: ['10.0.1.10'] },
      { name: 'in-except-1', addresses: ['10.64.0.10'] },
      { name: 'in-except-2', addresses: ['10.128.0.10'] },
    ]);
  });

  it('finds a place in small blocks, and none in the cluster or where nothing can be', () => {
    assert.deepEqual(
      outsideHostsFor([egress({ cidr: '198.51.100.7/32' }, { cidr: '198.51.100.8/30' })], [4]).slice(1),
      [
        { name: 'in-block-1', addresses: ['198.51.100.7'] },
        { name: 'in-block-2', addresses: ['198.51.100.9'] },
      ],
    );
    const nowhere = ['10.244.0.0/16', '127.0.0.1/32', '224.0.0.1/32', '169.254.169.254/32'];
    assert.equal(outsideHostsFor([egress(...nowhere.map((cidr) => ({ cidr })))], [4]).length, 1);
    assert.equal(outsideHostsFor([egress({ cidr: '198.51.100.0/24', except: ['198.51.100.0/24'] })], [4]).length, 2);
  });

  it('makes at most four', () => {
    const blocks = Array.from({ length: 9 }, (_, index) => ({ cidr: `198.51.100.${index}/32` }));
    assert.equal(outsideHostsFor([egress(...blocks)], [4]).length, 1 + 4);
  });
});
