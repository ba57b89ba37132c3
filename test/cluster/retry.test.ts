import assert from 'node:assert/strict';
import { backoffMs, reconnectMs, retryAfterMs } from '../../src/cluster/retry.ts';

describe('retry', () => {
  it('backs off between 0.8 s and a ceiling that doubles to 30 s', () => {
    const almostOne = 0.999_999_9;
    assert.deepEqual(
      [1, 2, 3, 4, 5, 6, 7, 1000].map((n) => backoffMs(n, almostOne)),
      [1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000],
    );
    for (let failures = 1; failures < 50; failures++) assert.equal(backoffMs(failures, 0), 800);
    assert.equal(backoffMs(6, 0.5), 15_400);
  });

  it('asks for a server that is away every 0.8 s to 2 s', () => {
    assert.deepEqual([0, 0.5, 0.999_999_9].map(reconnectMs), [800, 1400, 2000]);
  });

  it('reads Retry-After as seconds or date', () => {
    const now = Date.UTC(2026, 10, 1);
    assert.equal(retryAfterMs('3', now), 3_000);
    assert.equal(retryAfterMs(' 0 ', now), 0);
    assert.equal(retryAfterMs(new Date(now + 5_000).toUTCString(), now), 5_000);
    assert.equal(retryAfterMs(new Date(now - 5_000).toUTCString(), now), 0);
    assert.equal(retryAfterMs('86400', now), 30_000);
    for (const text of [undefined, '', 'soon', '-1e999', '1.5s'])
      assert.equal(retryAfterMs(text, now), undefined, text);
  });
});
