import assert from 'node:assert/strict';
import { type DownloadSample, lastArrival, longestPauseMs, throughput } from '../../lab/live-download.ts';

const samples = (...bytes: number[]): DownloadSample[] =>
  bytes.map((each, index) => ({ atMs: 1_000 + 50 * index, bytes: each }));

describe('a live download, by its samples', () => {
  it('the last arrival is the last sample with more than the one before', () => {
    assert.equal(lastArrival(samples(0, 10, 20, 20, 20)), 1_100);
    assert.equal(lastArrival(samples(5)), 1_000);
  });

  it('a pause is time in which nothing arrives', () => {
    assert.equal(longestPauseMs(samples(0, 10, 20, 30), 1_000, 2_000), 0);
    assert.equal(longestPauseMs(samples(0, 10, 10, 10, 20, 20), 1_000, 2_000), 100);
    assert.equal(longestPauseMs(samples(0, 10, 10, 10), 1_000, 1_100), 50);
  });

  it('throughput is bytes a second', () => {
    assert.equal(throughput(samples(0, 50, 100), 0, 2_000), 1_000);
    assert.equal(throughput(samples(7), 0, 2_000), 0);
  });
});
