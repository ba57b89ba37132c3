/** Whether an address that had lost its pod has got another one. */
import assert from 'node:assert/strict';
import { GivenUpAddresses } from '../../src/compile/given-up.ts';

const MANY = 20_001;

describe('addresses that were given up', () => {
  it('only their return shows, and once', () => {
    const givenUp = new GivenUpAddresses();
    const first = givenUp.ownership;
    givenUp.take('10.0.0.1');
    givenUp.giveUp('10.0.0.1');
    givenUp.take('10.0.0.2');
    assert.equal(givenUp.ownership, first);
    givenUp.take('10.0.0.1');
    const second = givenUp.ownership;
    assert.notEqual(second, first);
    givenUp.take('10.0.0.1');
    assert.equal(givenUp.ownership, second);
  });

  it('where there were too many to remember, any address may be one of them', () => {
    const givenUp = new GivenUpAddresses();
    for (let n = 0; n < MANY; n++) givenUp.giveUp(`fd00::${n.toString(16)}`);
    const before = givenUp.ownership;
    givenUp.take('fd00::1');
    assert.notEqual(givenUp.ownership, before);
  });
});
